"""What is to be generated: distinct requests with their keys, in groups that share and fit the memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from espalier.core.errors import GenerationError
from espalier.core.files import content_hash
from espalier.encode.tree import common_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from espalier.core.records import Example
    from espalier.decode.strategies import Strategy
    from espalier.encode.template import Template


@dataclass(frozen=True, slots=True)
class Request:
    """One answer to make: for the examples that ask for it with the same prompt, only once.

    Attributes:
        key: see `request_key`.
        prompt: token ids.
        sample: which of several answers to the prompt.
        examples: ids of the examples.
    """

    key: str
    prompt: tuple[int, ...]
    sample: int
    examples: tuple[str, ...]


def request_key(
    weights: str, template: str, settings: Mapping[str, Any], prompt: Sequence[int], sample: int
) -> str:
    """Return the hash of all that determines a generation.

    Args:
        weights: hash of the weights and the adapter, with the number format they are computed in.
        template: hash of the tokenizer and its chat template.
        settings: of the decoding strategy.
        prompt: token ids of the prompt.
        sample: which of several answers to the prompt.
    """
    return content_hash([weights, template, dict(settings), list(prompt), sample])


def requests_of(
    template: Template, examples: Sequence[Example], strategy: Strategy, weights: str
) -> list[Request]:
    """Return the distinct requests of the examples, in their order; `weights` as in `request_key`.

    Raises:
        GenerationError: an example whose prompt has no tokens.
    """
    prompts: dict[tuple[int, ...], list[str]] = {}
    for example in examples:
        prompt = template.prompt_ids(example.prompt)
        if not prompt:
            raise GenerationError("The prompt has no tokens.", where=f"example {example.id}")
        prompts.setdefault(prompt, []).append(example.id)
    return [
        Request(
            request_key(weights, template.hash, strategy.settings, prompt, sample), prompt, sample, tuple(ids)
        )
        for prompt, ids in prompts.items()
        for sample in range(strategy.samples)
    ]


def groups_of(requests: Sequence[Request], limit: int, tokens: int) -> Iterator[list[Request]]:
    """Cut the requests into groups that share, each within the budget of tokens held where one row fits it.

    Sorted by their tokens, requests with a common prefix are neighbours. A group is taken to hold the prefix
    common to all of it once, and for each row as much as its longest needs beside it: an upper bound.
    """
    group: list[Request] = []
    common, longest = 0, 0
    before = np.empty(0, np.int64)
    for request in sorted(requests, key=lambda request: request.prompt):
        prompt = np.array(request.prompt, np.int64)
        size = len(prompt)
        shared = min(common, common_prefix(before, prompt)) if group else size
        wide = max(longest, size)
        if group and shared + (len(group) + 1) * (wide - shared + limit) > tokens:
            yield group
            group, shared, wide = [], size, size
        group.append(request)
        common, longest, before = shared, wide, prompt
    if group:
        yield group
