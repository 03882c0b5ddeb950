"""A judge's grades of single answers, 1 to 10, and what they are of besides the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.records import Estimate
from espalier.evaluate.agreement import alpha
from espalier.evaluate.statistics import Floats, mean, paired_difference, refitted, score_mean
from espalier.judge.prompts import MOST

if TYPE_CHECKING:
    from collections.abc import Iterable


@dataclass(frozen=True, slots=True)
class Single:
    """An answer to a request; `gold` is the grade of a person, where there is one."""

    id: str
    source: str
    request: str
    answer: str
    gold: float | None = None


@dataclass(frozen=True, slots=True)
class Grades:
    """What a judge gave, and of some answers without the request, or with padding behind the answer."""

    full: Sequence[int | None]
    blind: Mapping[int, int | None] = field(default_factory=dict[int, "int | None"])
    padded: Mapping[int, int | None] = field(default_factory=dict[int, "int | None"])


@dataclass(frozen=True, slots=True)
class GradeScore:
    """What grades come to, in grades where nothing else is said.

    Attributes:
        grades: of each answer; None where none can be read.
        rate: their mean.
        kinds: how many different grades were given.
        slope: grades more for an answer that is longer by a standard deviation; None where it is not known.
        blind: answers with the same grade without the request.
        padded: how much padding adds.
        agreed: Krippendorff's alpha with the gold grades, as numbers.
    """

    grades: Sequence[int | None]
    rate: Estimate
    kinds: int
    slope: Estimate | None
    blind: Estimate
    padded: Estimate
    agreed: Estimate | None = None


def score_grades(singles: Sequence[Single], said: Grades, seed: int = 0) -> GradeScore:
    """Return what a judge's grades come to; `seed` is that of the bootstrap."""
    sources = [one.source for one in singles]
    known = [place for place, grade in enumerate(said.full) if grade is not None]

    def over(found: Mapping[int, int | None]) -> tuple[list[int | None], list[int | None], list[str]]:
        return [*found.values()], [said.full[place] for place in found], [sources[place] for place in found]

    blind, full, blind_sources = over(said.blind)
    same = [None if None in (a, b) else float(a == b) for a, b in zip(blind, full, strict=True)]
    return GradeScore(
        said.full,
        replace(score_mean(said.full, sources), scale=1.0),
        len({*said.full} - {None}),
        _slope(
            [(float(len(singles[place].answer)), float(said.full[place] or 0)) for place in known],
            [sources[place] for place in known],
            seed,
        ),
        mean(same, blind_sources),
        replace(paired_difference(*_shares(*over(said.padded))), scale=float(MOST - 1)),
        _agreed(singles, said.full),
    )  # fmt: skip


def _shares(
    one: Sequence[int | None], other: Sequence[int | None], sources: list[str]
) -> tuple[list[float | None], list[float | None], list[str]]:
    """Return grades as shares of the way to the best, of which intervals know the ends."""

    def of(grades: Sequence[int | None]) -> list[float | None]:
        return [None if grade is None else (grade - 1) / (MOST - 1) for grade in grades]

    return of(one), of(other), sources


def _slope(rows: Sequence[tuple[float, float]], sources: Sequence[str], seed: int) -> Estimate | None:
    """Return the slope of grades on lengths in standard deviations, refitted in each draw of sources."""
    if len({length for length, _ in rows}) < 2 or len({grade for _, grade in rows}) < 2:
        return None
    table = np.array(rows)
    x, y = (table[:, 0] - table[:, 0].mean()) / table[:, 0].std(), table[:, 1]

    def fit(weights: Floats) -> Floats:
        total = weights.sum(1)
        middle, level = weights @ x / total, weights @ y / total
        spread = weights @ (x * x) / total - middle**2
        with np.errstate(divide="ignore", invalid="ignore"):
            return ((weights @ (x * y) / total - middle * level) / spread)[:, None]

    (found,) = refitted(fit, sources, (np.inf,), seed)
    return replace(found, scale=1.0)


def _agreed(singles: Iterable[Single], grades: Iterable[int | None]) -> Estimate | None:
    told = [(one.gold, grade) for one, grade in zip(singles, grades, strict=True) if one.gold is not None]
    if not told:
        return None
    return alpha([[gold, *([] if grade is None else [grade])] for gold, grade in told], "interval")
