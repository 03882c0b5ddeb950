"""What is to be generated: distinct requests with their keys, in groups that share and fit the memory."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from espalier.core.errors import GenerationError
from espalier.core.files import content_hash
from espalier.encode.media import named
from espalier.encode.tree import common_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from espalier.core.records import Example
    from espalier.decode.draws import Draw
    from espalier.decode.strategy import Strategy
    from espalier.encode.template import Template


@dataclass(frozen=True, slots=True)
class Request:
    """One answer to make: for the examples that ask for it with the same prompt, only once.

    What is its own, and is None where it takes what is usual, lets requests of different settings be decoded
    together.

    Attributes:
        key: see `request_key`.
        prompt: token ids.
        sample: which of several answers to the prompt.
        examples: ids of the examples.
        limit: its own limit; None for the strategy's.
        stop_ids: its own tokens that end it; None for the template's.
        stops: texts that end it, each wherever it comes to stand in the answer; see `before`.
        draw: its own way to draw; None for the strategy's. Strategies that draw nothing ignore it.
        own: what else its answer depends on (`Strategy.own`); None for nothing.
    """

    key: str
    prompt: tuple[int, ...]
    sample: int
    examples: tuple[str, ...]
    limit: int | None = None
    stop_ids: frozenset[int] | None = None
    stops: tuple[str, ...] = ()
    draw: Draw | None = None
    own: Any = None

    def size(self, limit: int) -> int:
        """Return how many tokens prompt and answer have at most, where `limit` is the strategy's."""
        return len(self.prompt) + (limit if self.limit is None else self.limit)


def request_key(
    weights: str,
    template: str,
    settings: Mapping[str, Any],
    prompt: Sequence[int],
    sample: int,
    own: Any = None,
) -> str:
    """Return the hash of all that determines a generation.

    Args:
        weights: hash of the weights and the adapter, with the number format they are computed in.
        template: hash of the tokenizer and its chat template.
        settings: of the decoding strategy.
        prompt: token ids of the prompt.
        sample: which of several answers to the prompt.
        own: what else it depends on (`Strategy.own`); None for nothing.
    """
    besides = [] if own is None else [own]
    return content_hash([weights, template, dict(settings), named(prompt), sample, *besides])


def requests_of(
    template: Template, examples: Sequence[Example], strategy: Strategy, weights: str
) -> list[Request]:
    """Return the distinct requests of the examples, in their order; `weights` as in `request_key`.

    Raises:
        GenerationError: an example whose prompt has no tokens.
    """
    asked: dict[str, tuple[tuple[int, ...], Any, list[str]]] = {}
    for example in examples:
        prompt = template.prompt_ids(example.prompt)
        if not prompt:
            raise GenerationError("The prompt has no tokens.", where=f"example {example.id}")
        own = strategy.own(example)
        asked.setdefault(content_hash([list(prompt), own]), (prompt, own, []))[2].append(example.id)
    key = partial(request_key, weights, template.hash, strategy.settings)
    return [
        Request(key(prompt, sample, own), prompt, sample, tuple(ids), own=own)
        for prompt, own, ids in asked.values()
        for sample in range(strategy.samples)
    ]


def before(text: str, stops: Sequence[str]) -> str:
    """Return the text before the first of the stop strings in it; all of it where there is none."""
    return text[: min((text.find(stop) for stop in stops if stop in text), default=len(text))]


def unfinished(text: str, stops: Sequence[str]) -> str:
    """Return the text without what may be the beginning of a stop string at its end."""
    ends = (stop[:size] for stop in stops for size in range(1, len(stop)))
    return text[: len(text) - max((len(end) for end in ends if text.endswith(end)), default=0)]


def groups_of(
    requests: Sequence[Request], limit: int, tokens: int, *, rows: int = 1
) -> Iterator[list[Request]]:
    """Cut the requests into groups that share, each within the budget of tokens held where one row fits it.

    Sorted by their tokens, requests with a common prefix are neighbours. A group is taken to hold the prefix
    common to all of it once, and for each of a request's `rows` as much as its longest needs beside it: an
    upper bound. `limit` is that of requests with none of their own.
    """
    group: list[Request] = []
    common, longest = 0, 0
    previous: tuple[int, ...] = ()
    for request in sorted(requests, key=lambda request: request.prompt):
        prompt = request.prompt
        size = request.size(limit)
        shared = min(common, common_prefix(previous, prompt)) if group else len(prompt)
        wide = max(longest, size)
        if group and shared + (len(group) + 1) * rows * (wide - shared) > tokens:
            yield group
            group, shared, wide = [], len(prompt), size
        group.append(request)
        common, longest, previous = shared, wide, prompt
    if group:
        yield group
