"""The records of judging: what a scorer thinks of a completion, what it measures, and what comes of it.

An `Estimate` is the only form in which a number reaches a report.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, runtime_checkable

if TYPE_CHECKING:
    from espalier.core.records import Completion, Example

Fold: TypeAlias = Callable[[Sequence[float]], float]


@dataclass(frozen=True, slots=True)
class Score:
    """A scorer's verdict on one completion.

    Attributes:
        value: of this row alone; None means "not scored", which is never 0.
        why: the reason, in words.
        answer: what was taken out of the text to be judged; '' where nothing was.
        parts: what a measure of the whole set is made of, summed over rows; see `Metric.fold`.
    """

    value: float | None
    why: str = ""
    answer: str = ""
    parts: tuple[float, ...] = ()

    @property
    def scored(self) -> bool:
        """Whether it says anything."""
        return self.value is not None or bool(self.parts)


def value_of(fold: Fold, sums: Sequence[float]) -> float:
    """Return what a fold makes of sums; NaN where there is nothing, as of no row."""
    try:
        return float(fold(sums))
    except (ArithmeticError, ValueError, IndexError):
        return math.nan


@dataclass(frozen=True, slots=True)
class Metric:
    """What a measure is: the one place where its name stands. A scorer says it of itself as `metric`.

    Attributes:
        title: its name.
        phrase: its name within a sentence; '' where that is the title.
        unit: behind a value as it is shown: "%" for a share.
        better: whether higher or lower values are.
        note: what a reader should know before trusting it.
        ceiling: the best value that is possible.
        scale: what a value is shown times: 100 for what goes from 0 to 1.
        floors: what is reached without a model, by name: {"guessing": 0.5}.
        fold: from the sums of the rows' `parts` to the value of all rows, for what is no mean of theirs, such
            as BLEU or perplexity. Its interval is that of a bootstrap that folds anew. None: the mean.
        counts: what the `parts` count, by name, where a reader is told their sums; the last is what of.
        leans: of a mean, that a row's value depends on the other rows: its one part is what the row moves the
            mean of all by, which its interval takes in (see `evaluate/compare.py`).
    """

    title: str
    phrase: str = ""
    unit: str = ""
    better: Literal["higher", "lower"] = "higher"
    note: str = ""
    ceiling: float = 1.0
    scale: float = 100.0
    floors: Mapping[str, float] = field(default_factory=dict[str, float])
    fold: Fold | None = None
    counts: tuple[str, ...] = ()
    leans: bool = False

    @property
    def within(self) -> str:
        """Its name within a sentence."""
        return self.phrase or self.title

    @property
    def sign(self) -> int:
        """1 where higher values are better, and -1 where lower ones are."""
        return -1 if self.better == "lower" else 1


@dataclass(frozen=True, slots=True)
class Estimate:
    """A number with its 95 % interval: the only form in which a number reaches a report.

    `n` counts what was scored, `missing` what was not; `scale` is what it is shown times. NaN is "not known".
    """

    value: float
    low: float
    high: float
    n: int
    missing: int = 0
    scale: float = 100.0

    @property
    def known(self) -> bool:
        """Whether there is a value."""
        return self.value == self.value

    @property
    def bounded(self) -> bool:
        """Whether there is an interval."""
        return self.low == self.low and self.high == self.high

    @property
    def excludes_zero(self) -> bool:
        """Whether the interval is known and lies on one side of zero."""
        return self.bounded and (self.low > 0 or self.high < 0)

    def __str__(self) -> str:
        """Return it as it is shown, with its interval: 62.3 (58.9 to 65.6)."""
        value, low, high = (
            "–" if end != end else f"{self.scale * end:.1f}" for end in (self.value, self.low, self.high)
        )
        return f"{value} ({low} to {high})"


@runtime_checkable
class Scorer(Protocol):
    """Something that judges completions, all of a system's at once: some can be judged only together."""

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return the verdict on each completion, in their order; None as value where it cannot judge.

        `examples` has the one that each completion answers, so that one may come several times.
        """
        ...


@runtime_checkable
class Fitted(Protocol):
    """A scorer that settles something by the rows that are to be judged, for every system alike."""

    def fitted(self, examples: Sequence[Example]) -> Scorer:
        """Return the scorer for these rows."""
        ...


@runtime_checkable
class Weighing(Protocol):
    """A scorer of how likely the model that answered holds each example's first reference."""

    @property
    def weighs(self) -> bool:
        """Whether it is one."""
        ...


@runtime_checkable
class Measured(Protocol):
    """A scorer that says what it measures; of others the name in the recipe is shown."""

    @property
    def metric(self) -> Metric:
        """What it measures."""
        ...
