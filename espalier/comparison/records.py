"""What comes of comparing: for each measure the difference from the first side, and what may be said of it.

A difference is always the other side's value less the first one's; won are the rows that the other does
better. `Comparison` prints as a table with the sentences, and `plain()` is the same as JSON.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from espalier.core.text import counted
from espalier.evaluate.measures import metric_of
from espalier.evaluate.score_records import json_line, plain
from espalier.evaluate.sheet import figure, in_columns, interval, points

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from espalier.core.records import Estimate, Metric, Score

Verdict: TypeAlias = Literal[
    "better", "worse", "as good", "not told apart", "tie", "same recipe", "not judged"
]


@dataclass(frozen=True, slots=True)
class Training:
    """One training's answers, judged: by measure and example id.

    `model` says what wrote them, where sides may have answers of the same model: they are then told apart on
    that model, whatever another seed would have made of it. '' where each side has its own.
    """

    name: str
    scores: Mapping[str, Mapping[str, Score]]
    model: str = ""


@dataclass(frozen=True, slots=True)
class Side:
    """What is compared: one training, or several of one recipe that differ by seed.

    Attributes:
        name: for a person.
        trainings: each with its verdicts.
        sources: of each example, what its rows are counted by.
        metrics: of the measures, as far as they are known.
        floors: verdicts on what needs no model, by its name, measure and example id.
    """

    name: str
    trainings: tuple[Training, ...]
    sources: Mapping[str, str]
    metrics: Mapping[str, Metric]
    floors: Mapping[str, Mapping[str, Mapping[str, Score]]] = field(
        default_factory=dict[str, "Mapping[str, Mapping[str, Score]]"]
    )

    def metric(self, measure: str) -> Metric:
        """Return what a measure is: what its scorer said, or what is known of it, as of all checks."""
        return self.metrics.get(measure) or metric_of(measure)


@dataclass(frozen=True, slots=True)
class Compared:
    """One measure of one side beside the first.

    Attributes:
        measure: its name.
        metric: what it is.
        first: what the first side reached.
        other: what the other reached.
        difference: other − first, over the rows that both have a verdict on.
        method: how its interval is made.
        p: probability of such a difference where there is none; `test` says which test.
        corrected: the same for all measures together (Holm), times the looks.
        detectable: the smallest true difference that so many rows would mostly show.
        won, lost, tied: rows on which the other is better, worse, as good.
        equal: p-value of the claim that both are as good within the margin, corrected alike; None: not asked.
        verdict: what may be said, and `said` the sentence.
    """

    measure: str
    metric: Metric
    first: Estimate
    other: Estimate
    difference: Estimate
    method: str
    p: float
    test: str
    corrected: float
    detectable: float
    won: int
    lost: int
    tied: int
    equal: float | None = None
    verdict: Verdict = "not told apart"
    said: str = ""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it; NaN, which means "not known", becomes None."""
        numbers = {
            name: _known(self.__getattribute__(name)) for name in ("p", "corrected", "detectable", "equal")
        }
        return {
            "title": self.metric.title,
            "better": self.metric.better,
            "scale": self.metric.scale,
            "first": plain(self.first),
            "other": plain(self.other),
            "difference": {**plain(self.difference), "method": self.method},
            **numbers,
            "test": self.test,
            **{name: self.__getattribute__(name) for name in ("won", "lost", "tied", "verdict", "said")},
        }


@dataclass(frozen=True, slots=True)
class Pair:
    """Another side beside the first, by measure."""

    first: str
    other: str
    measures: Mapping[str, Compared]


@dataclass(frozen=True, slots=True, repr=False)
class Comparison:
    """Sides compared with the first, measure by measure.

    `comparison["rouge_l"].difference` is that of the second side; `pairs` has those of all.

    Attributes:
        pairs: each other side beside the first.
        rows: examples that all sides answered.
        sources: what these are made of.
        trainings: of each side, how many trainings.
        notes: what a reader has to know before the numbers.
        margin: in points, within which two count as good as each other; None: not asked.
        looks: how often the rows were used to choose; the intervals hold for all of these.
        seen: looks at the rows that are known of.
    """

    pairs: tuple[Pair, ...]
    rows: int
    sources: int
    trainings: Mapping[str, int]
    notes: tuple[str, ...] = ()
    margin: float | None = None
    looks: int = 1
    seen: int = 0

    def __getitem__(self, measure: str) -> Compared:
        return self.pairs[0].measures[measure]

    def __iter__(self) -> Iterator[str]:
        return iter(self.pairs[0].measures)

    def __len__(self) -> int:
        return len(self.pairs[0].measures)

    def items(self) -> Sequence[tuple[str, Compared]]:
        """Return each measure with what the second side does by it."""
        return [*self.pairs[0].measures.items()]

    @property
    def sentence(self) -> str:
        """What may be said by the measure that leads, of each other side."""
        return " ".join(next(iter(pair.measures.values())).said for pair in self.pairs)

    @property
    def level(self) -> float:
        """Per cent that each interval holds by itself."""
        return 100 - 5 / self.looks

    def table(self, pair: Pair) -> list[list[str]]:
        """Return the columns' names, then a row for each measure."""
        head = ["", pair.first, pair.other, "difference", "p", "could see", "won", "lost", "tied"]
        rows = [
            [
                one.metric.title,
                *(f"{figure(one.metric, side)} ({interval(side) or '–'})" for side in (one.first, one.other)),
                f"{points(one.difference)} ({interval(one.difference, signed=True) or '–'})",
                shown_p(one.corrected),
                least(one),
                *(str(count) for count in (one.won, one.lost, one.tied)),
            ]
            for one in pair.measures.values()
        ]
        return [head, *rows]

    @property
    def footing(self) -> str:
        """What the table's numbers are, in a sentence or two."""
        family = len(self.pairs) * len(self)
        over = f"{counted(self.rows, 'row')} of {counted(self.sources, 'source')}"
        looks = f", {self.level:.4g} % each for {self.looks} looks" if self.looks > 1 else ""
        methods = sorted(
            {f"{one.method}; {one.test}" for pair in self.pairs for one in pair.measures.values()}
        )
        holm = f", p corrected for {family} comparisons (Holm)" if family > 1 else ""
        return f"On {over}. Intervals at 95 %{looks}{holm}. {' · '.join(methods)}."

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "sentence": self.sentence,
            "rows": self.rows,
            "sources": self.sources,
            "trainings": dict(self.trainings),
            "notes": list(self.notes),
            "margin": self.margin,
            "looks": self.looks,
            "seen": self.seen,
            "level": self.level,
            "pairs": [
                {
                    "first": pair.first,
                    "other": pair.other,
                    "measures": {name: one.plain() for name, one in pair.measures.items()},
                }
                for pair in self.pairs
            ],
        }

    to_json = json_line

    def __str__(self) -> str:
        """Return the sentence, a table for each other side, and the notes."""
        parts = [self.sentence]
        for pair in self.pairs:
            parts.append(in_columns(self.table(pair)))
        return "\n\n".join([*parts, "\n".join([self.footing, *self.notes])])

    __repr__ = __str__


def shown_p(p: float) -> str:
    """Return a probability as '0.032', '< 0.001' or '–'."""
    return "–" if math.isnan(p) else "< 0.001" if p < 0.001 else f"{p:.3f}"


def least(one: Compared) -> str:
    """Return the smallest difference that could be seen, as '5.3'."""
    return f"{one.metric.scale * one.detectable:.1f}" if one.detectable > 0 else "–"


def _known(value: float | None) -> float | None:
    return None if value is None or math.isnan(value) else value
