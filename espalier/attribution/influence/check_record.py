"""What came of training without some rows: what a score is worth, beside floors and retraining's noise."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from espalier.core.text import counted
from espalier.evaluate.score_records import plain
from espalier.evaluate.sheet import interval, points

if TYPE_CHECKING:
    from collections.abc import Mapping

    from espalier.comparison.records import Compared
    from espalier.core.records import Estimate

BM25 = "bm25"


@dataclass(frozen=True, slots=True)
class Arm:
    """A training without the rows that a score names, beside those of all rows.

    Attributes:
        name: of the score.
        rows, tokens: that were taken away.
        metric: what that did to the measure that leads.
        logprob: what it did to the queries' log-probability, in nats.
        ahead: how much more than this one the score that is checked took from it; None of that one itself.
    """

    name: str
    rows: int
    tokens: int
    metric: Compared
    logprob: Compared
    ahead: Estimate | None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "name": self.name,
            "rows": self.rows,
            "tokens": self.tokens,
            "metric": {"measure": self.metric.measure, **self.metric.plain()},
            "logprob": self.logprob.plain(),
            "ahead": plain(self.ahead) if self.ahead else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Checked:
    """A score checked by removal and retraining.

    Attributes:
        name: of the run.
        by: the score that is checked.
        arms: without the rows that it names, and without those of the floors.
        queries: how many.
        trainings: of all rows: their spread is the noise of retraining.
        halves: random halves that were trained on.
        lds: by the name of a score, the mean over queries of the rank correlation, over the halves, of what
            it says of a half and what training on it came to; empty without halves.
        gap: that of `by` less that of BM25.
        noise: standard deviation of a query's log-probability over trainings of the same rows, in nats.
        spread: the same over halves; NaN without.
    """

    name: str
    by: str
    arms: tuple[Arm, ...]
    queries: int
    trainings: int
    halves: int
    lds: Mapping[str, Estimate]
    gap: Estimate | None
    noise: float
    spread: float

    @property
    def sentence(self) -> str:
        """What is said first."""
        first = self.arms[0]
        change = first.logprob.difference
        what = f"Without the {counted(first.rows, 'row')} that {self.by} names, the queries' log-probability"
        random = next((arm.ahead for arm in self.arms if arm.name == "random"), None)
        seen = "changes by" if change.excludes_zero else "is not seen to change:"
        said = f"{what} {seen} {_span(change, 2, signed=True)} nats"
        if random is None:
            return f"{said}."
        more = random.excludes_zero and random.value < 0
        return (
            f"{said}, {'more than' if more else 'not surely more than'} without random rows of equal tokens."
        )

    @property
    def lines(self) -> list[str]:
        """What is said besides."""
        said = [
            f"Noise: {counted(self.trainings, 'training')} of the same rows differ by {self.noise:.3f} nats "
            "a query (standard deviation)."
        ]
        if self.gap is not None:
            told = ", ".join(f"{name} {_span(one, 2)}" for name, one in self.lds.items())
            ends = "" if self.gap.excludes_zero else "; they are not told apart"
            said.append(f"Linear datamodelling score over {self.halves} random halves: {told}.")
            said.append(f"{self.by} less BM25: {_span(self.gap, 2, signed=True)}{ends}.")
            said.append(
                f"Halves differ by {self.spread:.3f} nats a query. They share a seed, so that the noise "
                "between seeds is not in them, and the score is that of this seed's order and first weights."
            )
        return said

    @property
    def footing(self) -> str:
        """What the numbers are."""
        return (
            "Differences are of the model without those rows less that of all rows; intervals at 95 % count "
            "rows, and seeds by Student's t. Ahead: the checked score's loss less this one's."
        )

    def table(self) -> list[list[str]]:
        """Return the columns' names, then a row for each arm."""
        head = ["without", "rows", "tokens", f"points of {self.arms[0].metric.metric.title}", "nats", "ahead"]
        return [
            head,
            *(
                [
                    arm.name,
                    str(arm.rows),
                    f"{arm.tokens:,}",
                    _cell(points(arm.metric.difference), interval(arm.metric.difference, signed=True)),
                    _span(arm.logprob.difference, 3, signed=True),
                    _span(arm.ahead, 3, signed=True) if arm.ahead else "–",
                ]
                for arm in self.arms
            ),
        ]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "name": self.name,
            "by": self.by,
            "sentence": self.sentence,
            "arms": [arm.plain() for arm in self.arms],
            "queries": self.queries,
            "trainings": self.trainings,
            "halves": self.halves,
            "lds": {name: plain(one) for name, one in self.lds.items()},
            "lds_less_bm25": plain(self.gap) if self.gap else None,
            "noise": self.noise,
            "spread": self.spread if self.spread == self.spread else None,
        }

    def __repr__(self) -> str:
        """Return what is said first."""
        return self.sentence


def _span(one: Estimate, digits: int, *, signed: bool = False) -> str:
    form = f"{'+' if signed else ''}.{digits}f"
    ends = f"{one.low:{form}} to {one.high:{form}}" if one.bounded else ""
    return _cell(f"{one.value:{form}}", ends).replace("-", "−")


def _cell(value: str, ends: str) -> str:
    return f"{value} ({ends})" if ends else value
