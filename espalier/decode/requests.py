"""What is to be generated: distinct requests with their keys, in groups that share and fit the memory."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any

from espalier.core.errors import GenerationError
from espalier.core.files import content_hash
from espalier.decode.strategy import require
from espalier.encode.tree import common_prefix

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from espalier.core.records import Example
    from espalier.decode.strategy import Strategy
    from espalier.encode.template import Template


@dataclass(frozen=True, slots=True)
class Penalties:
    """What is held against a token before one is chosen; false where nothing is.

    Attributes:
        repetition_penalty: the score of a token that is in the prompt or the answer is divided by it where
            it is above 0, and else multiplied (Keskar et al. 2019, arXiv 1909.05858).
        presence_penalty: taken from the score of a token that is in the answer.
        frequency_penalty: taken from it for each time that it is there.
        no_repeat: no run of so many tokens comes twice in prompt and answer; 0 lets them.

    Raises:
        RecipeError: a number that does not fit.
    """

    repetition_penalty: float = 1.0
    presence_penalty: float = 0.0
    frequency_penalty: float = 0.0
    no_repeat: int = 0

    def __post_init__(self) -> None:
        penalty = self.repetition_penalty
        require(penalty > 0, "repetition_penalty", "must be above 0 (1 is none)", penalty)
        require(self.no_repeat >= 0, "no_repeat", "must not be below 0 (0 is none)", self.no_repeat)

    def __bool__(self) -> bool:
        return self != NONE

    @property
    def settings(self) -> dict[str, Any]:
        """What differs from none, for the keys of generations."""
        return {name: value for name, value in asdict(self).items() if value != getattr(NONE, name)}


NONE = Penalties()


@dataclass(frozen=True, slots=True)
class Draw:
    """How a token is drawn: see `strategies.sample`; at temperature 0 the likeliest is taken.

    Raises:
        RecipeError: a number that does not fit.
    """

    temperature: float = 1.0
    top_p: float = 1.0
    seed: int = 0
    top_k: int = 0
    min_p: float = 0.0
    typical: float = 1.0
    epsilon: float = 0.0
    eta: float = 0.0
    penalties: Penalties = NONE

    def __post_init__(self) -> None:
        require(self.top_k >= 0, "top_k", "must not be below 0 (0 is all)", self.top_k)
        require(0 <= self.min_p <= 1, "min_p", "must be from 0 to 1", self.min_p)
        for key, value in (("top_p", self.top_p), ("typical", self.typical)):
            require(0 < value <= 1, key, "must be above 0 and at most 1", value)
        for key, value in (("epsilon", self.epsilon), ("eta", self.eta)):
            require(0 <= value < 1, key, "must be from 0 to below 1", value)

    @property
    def settings(self) -> dict[str, Any]:
        """What beside temperature, nucleus and seed differs from the usual, for the keys of generations."""
        own = {key: getattr(self, key) for key in ("top_k", "min_p", "typical", "epsilon", "eta")}
        changed = {key: value for key, value in own.items() if value != getattr(USUAL, key)}
        return {**changed, **self.penalties.settings}


USUAL = Draw()


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
    """

    key: str
    prompt: tuple[int, ...]
    sample: int
    examples: tuple[str, ...]
    limit: int | None = None
    stop_ids: frozenset[int] | None = None
    stops: tuple[str, ...] = ()
    draw: Draw | None = None

    def size(self, limit: int) -> int:
        """Return how many tokens prompt and answer have at most, where `limit` is the strategy's."""
        return len(self.prompt) + (limit if self.limit is None else self.limit)


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
