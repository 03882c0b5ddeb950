"""How answers are decoded: a strategy takes one token for each row, greedily, by a draw, or as it likes.

A strategy sees the rows with all that is known of each, and their logits; it returns tokens, and which row
each of them continues. So a row can be continued twice or not at all, and what is kept of it goes along. See
docs/decisions/strategies.md.

Sampling draws no numbers from a generator's state: each is a hash of seed, request and step. So what is
sampled for a prompt does not depend on which other prompts are decoded with it, nor on their order.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

import torch

from espalier.core.errors import GenerationError, RecipeError
from espalier.core.registry import Registry
from espalier.decode.requests import Draw

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from torch import Tensor

    from espalier.core.records import Finish
    from espalier.decode.requests import Request

    ToText: TypeAlias = Callable[[Sequence[int]], str]


@dataclass(slots=True, eq=False)
class Row:
    """What a request is answered with so far: one of its rows, where a strategy lets it have several.

    Attributes:
        number: of the request, in the order in which requests join.
        request: what is answered.
        limit: most tokens of the answer, its stop token included.
        stop_ids: each of them ends the answer.
        text: from ids to text, for the request's stop strings.
        ended: the rows of this request that have ended: one list, which all of its rows refer to.
        ids: tokens taken.
        logprobs: of each token under the model, in nats.
        state: what the strategy keeps with the row, None at first.
        finish: why the row has ended; None where more tokens follow.
    """

    number: int
    request: Request
    limit: int
    stop_ids: Collection[int]
    text: ToText | None = None
    ended: list[Row] = field(default_factory=list["Row"])
    ids: list[int] = field(default_factory=list[int])
    logprobs: list[float] = field(default_factory=list[float])
    state: Any = None
    finish: Finish | None = None

    def copy(self) -> Row:
        """Return a row that can be continued otherwise."""
        return replace(self, ids=[*self.ids], logprobs=[*self.logprobs])

    def take(self, token: int, logprob: float) -> None:
        """Add a token; where it ends the row, `finish` says why."""
        self.ids.append(token)
        self.logprobs.append(logprob)
        if token in self.stop_ids or self._says_stop():
            self.finish = "stop"
        elif len(self.ids) == self.limit:
            self.finish = "length"
        if self.finish is not None:
            self.ended.append(self)

    def _says_stop(self) -> bool:
        if not self.request.stops or self.text is None:
            return False
        text = self.text(self.ids)
        return any(stop in text for stop in self.request.stops)


class Step(NamedTuple):
    """The tokens that R rows are continued with.

    Attributes:
        ids: a token for each row from now on [R'].
        parents: which of the R rows each of them continues [R']; None where every row continues itself.
        states: what is kept with each of them [R']; None leaves what its parent has.
    """

    ids: Tensor
    parents: Tensor | None = None
    states: Sequence[Any] | None = None


def _first(ended: Sequence[Row]) -> Row:
    return ended[0]


@dataclass(frozen=True, slots=True)
class Strategy:
    """How answers are decoded.

    A request begins as one row. When none of its rows goes on, `choose` takes its answer from those that have
    ended.

    Attributes:
        settings: all that distinguishes this strategy from another, for the keys of generations.
        limit: most new tokens of an answer, its stop token included.
        samples: answers per prompt.
        step: (rows, logits [R, V]) to the `Step`. Of a strategy without parents, rows that have ended may be
            among the rows, with a `finish`; what is taken for them is ignored.
        rows: most rows that a request has at a time. Of one, tokens are told as they are taken.
        choose: from the rows of a request that have ended to its answer.
    """

    settings: Mapping[str, Any]
    limit: int
    samples: int
    step: Callable[[Sequence[Row], Tensor], Step]
    rows: int = 1
    choose: Callable[[Sequence[Row]], Row] = _first

    def begin(
        self,
        number: int,
        request: Request,
        stop_ids: Collection[int],
        text: ToText | None = None,
    ) -> Row:
        """Return the first row of a request, with its own limit and stops where it has any; see `Row`.

        Raises:
            GenerationError: the request has stop strings, and there is no `text`.
        """
        if request.stops and text is None:
            raise GenerationError("Stop strings need the tokenizer's text: pass `text`.", where=request.key)
        limit = self.limit if request.limit is None else request.limit
        return Row(number, request, limit, stop_ids if request.stop_ids is None else request.stop_ids, text)


strategies: Registry[Strategy] = Registry("decoding strategy")


@strategies.register("greedy")
def greedy(*, limit: int = 64) -> Strategy:
    """Take the likeliest token each time: deterministic, and the best choice where one answer is right."""
    _require(limit >= 1, "limit", "must be at least 1", limit)
    return Strategy({"kind": "greedy", "limit": limit}, limit, 1, _taking(Draw(temperature=0.0)))


@strategies.register("sample")
def sample(
    *, limit: int = 64, temperature: float = 1.0, top_p: float = 1.0, samples: int = 1, seed: int = 0
) -> Strategy:
    """Draw each token from the distribution, sharpened by `temperature` and cut to the nucleus `top_p`.

    The nucleus is the smallest set of likeliest tokens with at least the probability `top_p`
    (Holtzman et al. 2020, arXiv 1904.09751), after temperature.
    """
    _require(limit >= 1, "limit", "must be at least 1", limit)
    _require(samples >= 1, "samples", "must be at least 1", samples)
    _require(temperature > 0, "temperature", "must be above 0 (use kind = 'greedy' for 0)", temperature)
    _require(0 < top_p <= 1, "top_p", "must be above 0 and at most 1", top_p)

    settings = {"kind": "sample", "limit": limit, "temperature": temperature, "top_p": top_p, "seed": seed}
    return Strategy(settings, limit, samples, _taking(Draw(temperature, top_p, seed)))


def _taking(usual: Draw) -> Callable[[Sequence[Row], Tensor], Step]:
    """Return the step of a strategy whose rows each take a token as their request says, or as usual."""

    def step(rows: Sequence[Row], logits: Tensor) -> Step:
        alike: dict[tuple[float, float], list[int]] = defaultdict(list)
        draws = [row.request.draw or usual for row in rows]
        for place, draw in enumerate(draws):
            alike[draw.temperature, draw.top_p].append(place)
        if len(alike) == 1:
            return Step(_take(rows, draws, logits))
        ids = torch.empty(len(rows), dtype=torch.long, device=logits.device)
        for places in alike.values():
            some = [rows[place] for place in places]
            ids[places] = _take(some, [draws[place] for place in places], logits[places])
        return Step(ids)

    return step


def _take(rows: Sequence[Row], draws: Sequence[Draw], logits: Tensor) -> Tensor:
    """Return the token of each row [R], for rows of one temperature and one nucleus."""
    temperature, top_p = draws[0].temperature, draws[0].top_p
    if temperature == 0:
        return likeliest(logits)
    numbers = [
        _uniform(draw.seed, row.request.key, len(row.ids)) for draw, row in zip(draws, rows, strict=True)
    ]
    return _draw(logits.float() / temperature, top_p, torch.tensor(numbers, device=logits.device))


def likeliest(logits: Tensor) -> Tensor:
    """Return the index of each row's largest logit, the first one of equals: [R, V] to [R]."""
    return logits.max(dim=-1).indices


def _draw(logits: Tensor, top_p: float, draws: Tensor) -> Tensor:
    """Return the token of each row at which the cumulated probability passes the row's draw from [0, 1)."""
    if top_p == 1:
        cumulated = logits.double().softmax(-1).cumsum(-1)
        return _passed(cumulated, draws)
    probabilities, tokens = _likely(logits.double().softmax(-1), top_p)
    probabilities, order = probabilities.sort(dim=-1, descending=True, stable=True)
    cumulated = probabilities.cumsum(-1)
    inside = cumulated - probabilities < top_p
    nucleus = (probabilities * inside).cumsum(-1)
    return tokens.gather(1, order.gather(1, _passed(nucleus, draws)[:, None]))[:, 0]


def _likely(probabilities: Tensor, top_p: float) -> tuple[Tensor, Tensor]:
    """Return what of each row can be in its nucleus, with its tokens, in their order: [R, V] to twice [R, K].

    All others together have at most half of what the nucleus leaves out. To sort the few that are left spares
    most of the time; a row of fewer than K is filled up with 0.
    """
    inside = probabilities > (1 - top_p) / (2 * probabilities.shape[1])
    counts = inside.sum(-1)
    rows, tokens = inside.nonzero(as_tuple=True)
    places = torch.arange(len(rows), device=rows.device) - (counts.cumsum(0) - counts)[rows]
    found = probabilities.new_zeros(len(counts), max(1, int(counts.max())))
    found[rows, places] = probabilities[rows, tokens]
    named = torch.zeros_like(found, dtype=torch.long)
    named[rows, places] = tokens
    return found, named


def _passed(cumulated: Tensor, draws: Tensor) -> Tensor:
    """Return the first index of each row whose cumulated weight is above draw × total."""
    wanted = (draws.double() * cumulated[:, -1])[:, None]
    return torch.searchsorted(cumulated, wanted, right=True)[:, 0].clamp(max=cumulated.shape[1] - 1)


def _uniform(seed: int, request: str, step: int) -> float:
    digest = hashlib.sha256(f"{seed}:{request}:{step}".encode()).digest()
    return (int.from_bytes(digest[:8], "big") >> 11) / 2**53


def _require(fits: bool, key: str, rule: str, value: object) -> None:
    if not fits:
        raise RecipeError(f"{key} = {value} does not fit: it {rule}.", where=f"decode.{key}")
