"""What is known of a run's long tail. `TailPage` prints as its tables and sentences; `plain()` is JSON."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.text import counted
from espalier.evaluate.score_records import json_line
from espalier.evaluate.sheet import figure, interval, ranged, shown, signed
from espalier.explain.record import as_text, plain_of

if TYPE_CHECKING:
    from collections.abc import Iterator

    from espalier.core.records import Estimate, Metric


@dataclass(frozen=True, slots=True)
class Group:
    """Rows of a kind, or of several that are too rare to be looked at alone.

    Attributes:
        name: the kind; of several, how many they are.
        rows, sources: test rows.
        seen: training rows of the kind, of several the mean over the rows; None where it is not known.
        tuned, base, gap: what the models reach, and the paired difference; None where there is no base.
        shrunken: the tuned model's value after shrinkage, with its interval; `weight` is what is left of its
            own distance from the mean.
        chance: how often chance makes one as bad, for all that the page asks together.
        worse: whether it is named as worse than the others.
    """

    name: str
    rows: int
    sources: int
    seen: float | None
    tuned: Estimate
    base: Estimate | None
    gap: Estimate | None
    shrunken: Estimate
    weight: float
    chance: float
    worse: bool


@dataclass(frozen=True, slots=True)
class Slope:
    """Score against training: points for each doubling of training rows (+1), or for all words shared.

    `sources` draws the rows' sources, `kinds` whole kinds: whether it would be so with others. `chance` is
    for all that the page asks together, and `holds` whether it is claimed: where all three allow it,
    whichever kind is left out.
    """

    sources: Estimate
    kinds: Estimate
    chance: float
    holds: bool


@dataclass(frozen=True, slots=True)
class Told:
    """A facet: its groups, from the most seen in training on, and how the score goes with that.

    `spread` is the standard deviation between the groups' true values as it is estimated.
    """

    name: str
    groups: tuple[Group, ...]
    spread: float
    slope: Slope | None
    pooled: str = ""


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class TailPage:
    """The long-tail page of a run.

    Attributes:
        name: of the run.
        measure, metric: that the rows are judged by.
        rows, sources, train: test rows, their sources, and training rows.
        tuned, base: of all rows.
        facets: with what is known of each; `left` are those that tell nothing, and why.
        cvar: the mean of the worst tenth of the rows: tuned, then base and the difference where there is one.
        sentences: of what the numbers bear.
    """

    name: str
    measure: str
    metric: Metric
    rows: int
    sources: int
    train: int
    tuned: Estimate
    base: Estimate | None
    facets: tuple[Told, ...]
    left: dict[str, str]
    cvar: tuple[Estimate, ...]
    sentences: tuple[str, ...] = ()
    page: str = ""

    plain = plain_of
    to_json = json_line

    @property
    def notes(self) -> list[str]:
        """What was pooled, and what was left out."""
        pooled = [f"{one.name}: {one.pooled}" for one in self.facets if one.pooled]
        return [*pooled, *(f"{name}: {why}" for name, why in self.left.items())]

    @property
    def footing(self) -> str:
        """What the numbers are."""
        return (
            "Intervals at 95 %, by source. * marks groups that are worse in a test for the whole page. Other "
            "groups' intervals are each by itself: one of twenty misses."
        )

    def tables(self) -> Iterator[list[list[str]]]:
        """Yield a table for each facet: the columns' names, then the rows."""
        for told in self.facets:
            both = ["base", "difference"] if self.base else []
            head = [told.name, "training rows", "test rows", self.metric.title, "shrunken", *both]
            yield [head, *(self._row(one) for one in told.groups)]

    def _row(self, one: Group) -> list[str]:
        both = [ranged(one.base), signed(one.gap)] if one.base and one.gap else []
        reached = [ranged(one.tuned), ranged(one.shrunken)]
        name = f"{one.name}{' *' if one.worse else ''}"
        return [name, seen(one.seen), str(one.rows), *reached, *both]

    __str__ = as_text
    __repr__ = as_text


def sentences(found: TailPage) -> tuple[str, ...]:
    """Return what the numbers bear: on groups, on training frequency, and on the worst rows."""
    return (_worst(found), _slope(found), _cvar(found))


def seen(rows: float | None) -> str:
    """Return how many training rows there are, or what share of words; a dash where nobody knows."""
    return "–" if rows is None else f"{rows:.0f}" if rows == int(rows) else f"{rows:.2g}"


def _worst(found: TailPage) -> str:
    """Name the groups that are worse than the others, one a facet; or none."""
    every = [group for told in found.facets for group in told.groups]
    if not every:
        return f"No kinds of rows can be told apart among {counted(found.rows, 'row')}."
    sign, whole = found.metric.sign, figure(found.metric, found.tuned)
    named: list[str] = []
    for told in found.facets:
        worse = [group for group in told.groups if group.worse]
        if worse:
            one = min(worse, key=lambda group: sign * group.shrunken.value)
            trained = "" if one.seen is None else f", {seen(one.seen)} in training"
            named.append(
                f"{told.name} “{one.name}” ({counted(one.rows, 'test row')}{trained}): {shown(one.tuned)}, "
                f"and {shown(one.shrunken)} ({interval(one.shrunken)}) after shrinkage"
            )
    if named:
        return f"Worse than the other rows, of which all together reach {whole}: {'; '.join(named)}."
    least = min(group.chance for group in every)
    return (
        f"That any group of rows is worse than the others cannot be seen: of {len(every)} groups one is as "
        f"far behind as the furthest in {100 * least:.0f} of 100 tables in which all are alike."
    )


def _slope(found: TailPage) -> str:
    told = [(one.name, one.slope) for one in found.facets if one.slope]
    if not found.train:
        return "How the score goes with training cannot be told: no training rows are known."
    if not told:
        return "How the score goes with training cannot be told: no kinds differ in their training rows."
    held = [(name, slope) for name, slope in told if slope.holds]
    if not held:
        return (
            f"That {found.metric.within} goes with how much training had of a kind cannot be seen with "
            f"{counted(found.rows, 'row')}."
        )
    parts = [f"{name}: {signed(slope.sources)} points {_each(name)}" for name, slope in held]
    return f"{found.metric.title} goes with what training had: {'; '.join(parts)}."


def _each(name: str) -> str:
    return "from nothing to all words shared" if "nearest" in name else "for each doubling of training rows"


def _cvar(found: TailPage) -> str:
    ours, *rest = found.cvar
    told = (
        f"The worst tenth of the rows reach {figure(found.metric, ours)} ({interval(ours) or 'no interval'})"
    )
    if len(rest) == 2:
        told += f"; of the base model it is {shown(rest[0])}, the difference {signed(rest[1])}"
    end = 0.0 if found.metric.sign > 0 else found.metric.ceiling
    if ours.value == end:
        told += "; a tenth of them or more have the worst value that there is"
    return f"{told}."
