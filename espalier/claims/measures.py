"""What number answers a claim: kinds of measuring, by `[measured] kind`.

A kind is a factory that returns a `Measuring`; to add one, decorate it here or name `my_module:function`. Of
a "study" it reads the finished cells, of a "run" the runs of the study's recipe, one a seed. All numbers are
in points, as shown. Statistics are those of every comparison: rows by source, and seeds beside them.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from espalier.comparison.entries import entry_of
from espalier.comparison.records import Side, Training
from espalier.comparison.sides import compare_sides
from espalier.comparison.significance import Spread, retrained
from espalier.core.errors import RecipeError, nearest
from espalier.core.registry import Registry
from espalier.core.text import counted
from espalier.evaluate.measures import FLOORS
from espalier.evaluate.statistics import detectable, score_mean
from espalier.study.effects import averaged
from espalier.tasks.abilities import abilities

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from espalier.comparison.entries import Entry
    from espalier.comparison.records import Compared
    from espalier.core.records import Estimate
    from espalier.design.designs import Layout
    from espalier.design.factors import Varied
    from espalier.design.record import Findings
    from espalier.explain.explain import Explanation
    from espalier.study.cells import Planned


@dataclass(frozen=True, slots=True)
class Measured:
    """The number that answers a claim.

    Attributes:
        value, low, high: it and its 95 % interval, in points.
        visible: the true effect that such a study would show in 80 of 100 repetitions; NaN is not known.
        what: it in words.
        page: what shows where it comes from, from the claim's folder.
        equal: p-value of two one-sided tests within the rule's margin; None where that was not tested.
    """

    value: float
    low: float
    high: float
    visible: float
    what: str
    page: str
    equal: float | None = None


@dataclass(frozen=True)
class Work:
    """What was carried out for a claim.

    Attributes:
        plan: of a study, and `found` what it came to.
        runs: folders of the runs, where it is no study.
        metric: by which it is judged; '' is what the runs lead with.
        margin: within which two are as good as each other; None: not asked.
        cache: folder of converted models.
    """

    plan: Planned | None
    found: Findings | None
    runs: Sequence[Path]
    metric: str
    margin: float | None
    cache: Path


@dataclass(frozen=True)
class Weights:
    """How cells make up a number: the sum of their squared weights, and between how many sides seeds vary."""

    squares: float
    sides: int = 1


@dataclass(frozen=True)
class Measuring:
    """A kind of number.

    Attributes:
        of: a study, or its recipe's runs.
        read: the number, when all is done.
        weights: for the plan; raises RecipeError where the study has no such thing. None of a run.
        squares: of a run, in place of weights.
        extra: seconds that each row takes besides, by the bundled model.
        asked: rows that it is read on, where these are not the test set's.
    """

    of: Literal["study", "run"]
    read: Callable[[Work], Measured]
    weights: Callable[[Sequence[Varied], Layout], Weights] | None = None
    squares: float = 1.0
    extra: float = 0.0
    asked: int = 0


measures: Registry[Measuring] = Registry("measure")


@measures.register("effect")
def effect(*, factor: str, level: str = "") -> Measuring:
    """What a level of a factor does against its first one; `level` may be left out where there are two."""

    def weights(factors: Sequence[Varied], layout: Layout) -> Weights:
        number = _number(factors, factor)
        labels = factors[number].labels
        if (level or len(labels) > 2) and level not in labels[1:]:
            raise RecipeError(
                f"'{factor}' has no level '{level}' to be set against '{labels[0]}'.",
                where="measured.level",
                hint=nearest(level, labels[1:]),
            )
        wanted = labels.index(level) if level else 1
        found = next(one for one in layout.contrasts if (one.factors, one.levels) == ((number,), (wanted,)))
        return Weights(1 / len(found.plus) + 1 / len(found.minus), 2)

    def read(work: Work) -> Measured:
        assert work.found is not None
        one = next(
            e
            for e in work.found.effects
            if e.sort == "main" and e.factor == factor and level in ("", e.level)
        )
        return _of_compared(one.compared, f"{one.compared.metric.title}, {one.name}", "study.html")

    return Measuring("study", read, weights)


@measures.register("slope")
def slope(*, factor: str, at: tuple[float, ...]) -> Measuring:
    """How much the score rises each time that what `at` counts doubles, over the levels of a factor."""

    def tilt(factors: Sequence[Varied], layout: Layout) -> dict[tuple[int, ...], float]:
        number = _number(factors, factor)
        levels = len(factors[number].labels)
        if len(at) != levels or min(at) <= 0 or len({*at}) < 2:
            raise RecipeError(
                f"A slope over {counted(levels, 'level')} of '{factor}' needs as many numbers above 0, "
                f"not all the same, and has {at}.",
                where="measured.at",
            )
        x = [math.log2(at[cell[number]]) for cell in layout.cells]
        centre = sum(x) / len(x)
        squares = sum((one - centre) ** 2 for one in x)
        return {cell: (one - centre) / squares for cell, one in zip(layout.cells, x, strict=True)}

    def weights(factors: Sequence[Varied], layout: Layout) -> Weights:
        return Weights(sum(one**2 for one in tilt(factors, layout).values()))

    def read(work: Work) -> Measured:
        plan = work.plan
        assert plan is not None
        weighed = tilt(plan.factors, plan.layout)
        cells = {(cell.levels, cell.seed): entry_of(plan.folder(cell.name).path) for cell in plan.cells}
        seeds = [[(weighed[cell], cells[cell, seed]) for cell in weighed] for seed in plan.study.seeded]
        spread, name, scale = tilted(seeds, work.metric)
        low, high = spread.interval()
        equal = None if work.margin is None else spread.within(work.margin / scale)
        ends = scale * spread.value, scale * low, scale * high, scale * spread.detectable()
        return Measured(*ends, f"{name} a doubling of {factor}", "study.html", equal)

    return Measuring("study", read, weights)


def tilted(seeds: Sequence[Sequence[tuple[float, Entry]]], metric: str = "") -> tuple[Spread, str, float]:
    """Return a weighed sum of cells' scores, its measure's title and scale.

    Each row has a sum of its own, a mean over the seeds, so that rows count by source; seeds vary beside.

    Args:
        seeds: of each seed all cells with their weights.
        metric: by which they are scored; by default what leads.

    Raises:
        RecipeError: the measure is no mean of rows.
    """
    first = seeds[0][0][1]
    measure = metric or first.measures[0]
    known = first.side.metric(measure)
    if known.fold:
        raise RecipeError(f"{known.title} is no mean of rows, so it has no slope here.", where="study.metric")
    rows: list[dict[str, float]] = []
    for cells in seeds:
        scores = [(weight, averaged([entry], measure)) for weight, entry in cells]
        sums: dict[str, float] = {}
        for row in scores[0][1]:
            values = [(weight, column[row].value) for weight, column in scores if row in column]
            if len(values) == len(scores) and all(value is not None for _, value in values):
                sums[row] = sum(weight * value for weight, value in values if value is not None)
        rows.append(sums)
    kept = [row for row in rows[0] if all(row in one for one in rows)]
    means = [sum(one[row] for one in rows) / len(rows) for row in kept]
    over = score_mean(means, [first.side.sources[row] for row in kept])
    reached = [sum(one[row] for row in kept) / len(kept) for one in rows] if kept else []
    arms = over.value - over.low, over.high - over.value
    return Spread(over.value, *arms, *retrained([reached])), known.title, known.scale


@measures.register("floor")
def floor(*, floor: str = "random") -> Measuring:
    """What tuning reaches beyond something that needs no model: constant, copy, random, example."""
    if floor not in FLOORS:
        raise RecipeError(
            f"No floor is called '{floor}'.", where="measured.floor", hint=nearest(floor, FLOORS)
        )

    def read(work: Work) -> Measured:
        entries = [entry_of(run) for run in work.runs]
        first = entries[0]
        measure = work.metric or first.measures[0]
        if floor not in first.side.floors or measure not in first.side.floors[floor]:
            raise RecipeError(
                f"The runs have no scores of {FLOORS[floor]} by {measure}: is the label space closed?",
                where="measured.floor",
            )
        plain = Training(floor, {measure: first.side.floors[floor][measure]})
        tuned = tuple(replace(entry.side.trainings[0], name=entry.name) for entry in entries)
        sides = [
            Side(name, trainings, first.side.sources, first.side.metrics)
            for name, trainings in ((FLOORS[floor], (plain,)), ("tuned", tuned))
        ]
        one = compare_sides(sides, [measure], margin=work.margin)[measure]
        what = f"{one.metric.title}, tuned against {FLOORS[floor]}"
        return _of_compared(one, what, f"runs/{work.runs[0].name}/report.html")

    return Measuring("run", read, squares=2.0)


@measures.register("share")
def share(*, tokens: Literal["unshifted", "marginal", "shifted"] = "shifted") -> Measuring:
    """The share of a tuned model's tokens that its base ranks first, second or third, or beyond."""

    def read(work: Work) -> Measured:
        found = _explained(work, "shift").shift
        assert found is not None
        name = f"share of {tokens} tokens, of {found.tokens}"
        return _of_estimate(found.shares[tokens], name, work)

    return Measuring("run", read, extra=0.4)


@measures.register("style_less_facts")
def style_less_facts() -> Measuring:
    """How much more the style of answers to general questions moved than right choices did."""

    def read(work: Work) -> Measured:
        found = _explained(work, "style").style
        if found is None:
            raise RecipeError("The run's models cannot be asked the general questions.", where="measured")
        style, facts = found.style.gap, found.facts.gap
        # Arms are squared and added, as of two that have nothing to do with each other (Zou and Donner 2008).
        below = math.hypot(style.value - style.low, facts.high - facts.value)
        above = math.hypot(style.high - style.value, facts.value - facts.low)
        gap = style.value - facts.value
        both = replace(style, value=gap, low=gap - below, high=gap + above)
        return _of_estimate(both, "style score less right choices, tuned less base", work)

    return Measuring("run", read, squares=4.0, extra=1.0, asked=len(abilities()))


def _explained(work: Work, part: str) -> Explanation:
    from espalier.explain.explain import explain

    return explain(work.runs[0], work.cache, [part])


def _of_estimate(found: Estimate, what: str, work: Work) -> Measured:
    return _points(found, detectable(found), what, f"runs/{work.runs[0].name}/explain/explain.html")


def _of_compared(one: Compared, what: str, page: str) -> Measured:
    found = replace(one.difference, scale=one.metric.scale)
    return replace(_points(found, one.detectable, what, page), equal=one.equal)


def _points(one: Estimate, visible: float, what: str, page: str) -> Measured:
    ends = one.scale * one.value, one.scale * one.low, one.scale * one.high
    return Measured(*ends, one.scale * visible, what, page)


def _number(factors: Sequence[Varied], name: str) -> int:
    names = [one.name for one in factors]
    if name not in names:
        raise RecipeError(
            f"The study varies no '{name}'.", where="measured.factor", hint=nearest(name, names)
        )
    return names.index(name)
