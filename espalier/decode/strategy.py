"""What a decoding strategy is: it takes one token for each row, greedily, by a draw, or as it likes.

A strategy sees the rows with all that is known of each, and their logits; it returns tokens, and which row
each of them continues. So a row can be continued twice or not at all, and what is kept of it goes along. See
docs/decisions/strategies.md.
"""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, NamedTuple, TypeAlias

from espalier.core.errors import GenerationError, RecipeError

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Mapping, Sequence

    from torch import Tensor

    from espalier.core.records import Completion, Example, Finish
    from espalier.decode.requests import Request
    from espalier.encode.template import Template
    from espalier.tasks.options import Normalise

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
        further: how many places the answer begins behind the prompt's number of tokens (`models.media`).
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
    further: int = 0

    @property
    def end(self) -> int:
        """The place of the next token."""
        return len(self.request.prompt) + self.further + len(self.ids)

    def copy(self) -> Row:
        """Return a row that can be continued otherwise."""
        return replace(self, ids=[*self.ids], logprobs=[*self.logprobs])

    def take(self, token: int, logprob: float) -> None:
        """Add a token; where it ends the row, `finish` says why."""
        self.finish = self.ending(token)
        self.ids.append(token)
        self.logprobs.append(logprob)
        if self.finish is not None:
            self.ended.append(self)

    def ending(self, token: int) -> Finish | None:
        """Return why this token would end the row; None where more tokens would follow."""
        if token in self.stop_ids or self._says_stop(token):
            return "stop"
        return "length" if len(self.ids) + 1 >= self.limit else None

    def _says_stop(self, token: int) -> bool:
        if not self.request.stops or self.text is None:
            return False
        text = self.text([*self.ids, token])
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


class Look(NamedTuple):
    """A look at what the likeliest tokens lead to, before one of them is taken.

    Attributes:
        count: tokens of each row that are looked at.
        take: from the rows, the probabilities of their likeliest tokens [R, count] and what the last layer
            says at each [R, count, D] to the place of the token that each row takes [R]. A row's `state` is
            what that layer says at its tokens before, the prompt's first [T, D].
    """

    count: int
    take: Callable[[Sequence[Row], Tensor, Tensor], Tensor]


class Pick(NamedTuple):
    """A choice among several finished answers to a prompt.

    Attributes:
        of: how they are written: its `samples` are what is chosen among.
        choose: from the answers, by their `sample`, and what `by` says of each, to one of them.
        by: the name of a reward (`evaluate.rewards`) that judges them; '' for none.
    """

    of: Strategy
    choose: Callable[[Sequence[Completion], Sequence[float | None]], Completion]
    by: str = ""


def _first(ended: Sequence[Row]) -> Row:
    return ended[0]


def _nothing(example: Example) -> Any:
    return None


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
        rank: the same of a strategy one of whose searches gives all `samples` of a prompt, the best first; so
            that the prompt is searched once. None where each sample is made for itself.
        draft: from the rows to guesses at what follows each one's last token. They are run in one go with it,
            and then each step takes what it would have taken, at once as long as that is the guess: answers
            are the same with any guesses. Only of a strategy without parents.
        bind: from a template to the `step` that knows its tokens; None where `step` need not know any.
        own: what of an example its answer depends on besides the prompt, as a JSON value: `Request.own`.
        look: takes tokens by what they lead to; `step` is not asked then.
        pick: where the answer is one of several: what chooses. Of such a strategy nothing else is asked but
            `settings`, `limit` and `samples`, which is 1.
        weighs: of a strategy that takes no tokens but one of the row's options: by what; see `choosing.py`.
    """

    settings: Mapping[str, Any]
    limit: int
    samples: int
    step: Callable[[Sequence[Row], Tensor], Step]
    rows: int = 1
    choose: Callable[[Sequence[Row]], Row] = _first
    rank: Callable[[Sequence[Row]], Sequence[Row]] | None = None
    draft: Callable[[Sequence[Row]], Sequence[Sequence[int]]] | None = None
    bind: Callable[[Template], Callable[[Sequence[Row], Tensor], Step]] | None = None
    own: Callable[[Example], Any] = _nothing
    look: Look | None = None
    pick: Pick | None = None
    weighs: Normalise | None = None

    def bound(self, template: Template) -> Strategy:
        """Return the strategy as it decodes with this template's tokenizer. Raises what `bind` does."""
        return self if self.bind is None else replace(self, step=self.bind(template))

    def answers(self, ended: Sequence[Row]) -> Sequence[Row]:
        """Return the answers to a request none of whose rows goes on: one, or as many as `rank` gives."""
        return [self.choose(ended)] if self.rank is None else self.rank(ended)[: self.samples]

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


def watched(found: object, kind: str) -> Strategy:
    """Return what somebody else's factory gives as a strategy whose steps are looked at first.

    Raises:
        RecipeError: it gives something else.
    """
    if not isinstance(found, Strategy):
        raise RecipeError(
            f"'{kind}' gives no decoding strategy, but {type(found).__name__}.",
            where="decode.kind",
            hint="docs/seams.md shows one.",
        )
    bind = found.bind
    return replace(
        found,
        step=_looked_at(found.step, kind),
        bind=None if bind is None else lambda template: _looked_at(bind(template), kind),
    )


def _looked_at(
    step: Callable[[Sequence[Row], Tensor], Step], kind: str
) -> Callable[[Sequence[Row], Tensor], Step]:
    def looked_at(rows: Sequence[Row], logits: Tensor) -> Step:
        taken: object = step(rows, logits)
        wrong = "" if isinstance(taken, Step) else f"it gives no Step, but {type(taken).__name__}"
        if isinstance(taken, Step):
            wrong = _wrong(taken, len(logits), logits.shape[-1])
            if not wrong:
                return taken
        raise GenerationError(
            f"A step of '{kind}' cannot be taken: {wrong}.",
            where="decode.kind",
            hint="docs/seams.md shows one.",
        )

    return looked_at


def _wrong(taken: Step, rows: int, size: int) -> str:
    """Say what is wrong with a step from so many rows, with tokens below `size`; '' where nothing is."""
    wanted = rows if taken.parents is None else len(taken.parents)
    ids = taken.ids
    if ids.dim() != 1 or len(ids) != wanted or ids.is_floating_point():
        kind = str(ids.dtype).removeprefix("torch.")
        return f"{wanted} tokens are wanted, and its ids are {kind} {list(ids.shape)}"
    if wanted and not 0 <= int(ids.min()) <= int(ids.max()) < size:
        return f"the model's tokens are 0 to {size - 1}, and its ids {int(ids.min())} to {int(ids.max())}"
    return ""


def require(fits: bool, key: str, rule: str, value: object) -> None:
    """Raise RecipeError where a setting does not fit."""
    if not fits:
        raise RecipeError(f"{key} = {value} does not fit: it {rule}.", where=f"decode.{key}")
