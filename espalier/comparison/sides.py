"""Several sides, each of one training or more, compared with the first: the numbers."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from espalier.comparison.records import Compared, Comparison, Pair, Side
from espalier.comparison.significance import (
    Chance,
    Spread,
    holm,
    own_share,
    retrained,
    swapped,
    swapped_folds,
)
from espalier.comparison.verdicts import judged
from espalier.core.errors import DataError
from espalier.core.records import Estimate, Metric, Score
from espalier.core.scoring import value_of
from espalier.core.text import counted
from espalier.evaluate.measures import FLOORS, metric_of
from espalier.evaluate.sheet import figure
from espalier.evaluate.statistics import folded, folded_difference, mean, paired_difference
from espalier.tasks.checks import checks

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

    from espalier.core.scoring import Fold
    from espalier.evaluate.statistics import Floats, Ints


@dataclass(frozen=True)
class _Column:
    """What a side's rows got by one measure: trainings together and each, what it came to and is made of."""

    values: list[float | None]
    parts: list[tuple[float, ...]]
    reached: list[float]
    fold: Fold | None
    models: list[str]
    each: list[list[Score]]
    of_one: Fold | None


def compare_sides(
    sides: Sequence[Side],
    measures: Sequence[str],
    *,
    margin: float | None = None,
    looks: int = 1,
    alike: Sequence[str] = (),
    spoiled: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    seed: int = 0,
) -> Comparison:
    """Compare each other side with the first on the examples that all have, aligned by id.

    Args:
        sides: two or more.
        measures: what to compare by; what leads comes first.
        margin: within how many points, as shown, two are as good as each other.
        looks: how often the rows were used to choose what is compared: intervals and p hold for all of these.
        alike: names of the sides that differ from the first by seed alone, of which none can win.
        spoiled: why sides' numbers are not to be believed, by name, such as test rows that were trained on.
        notes: what a reader has to know first.
        seed: of what is drawn at random.

    Raises:
        DataError: the sides share no example.
    """
    first, *others = sides
    return compare_pairs(
        [(first, other) for other in others],
        measures,
        margin=margin,
        looks=looks,
        alike=alike,
        spoiled=spoiled,
        notes=notes,
        seed=seed,
    )


def compare_pairs(
    pairs: Sequence[tuple[Side, Side]],
    measures: Sequence[str],
    *,
    margin: float | None = None,
    looks: int = 1,
    alike: Sequence[str] = (),
    spoiled: Mapping[str, str] | None = None,
    notes: Sequence[str] = (),
    seed: int = 0,
    only: Sequence[Collection[str] | None] | None = None,
) -> Comparison:
    """Compare the second side of each pair with its first one, all pairs as one family; see `compare_sides`.

    `only` are each pair's own rows, where it is not compared on all that are shared.

    Raises:
        DataError: the sides share no example.
    """
    first, *others = {side.name: side for pair in pairs for side in pair}.values()
    ids = [one for one in first.sources if all(one in side.sources for side in others)]
    if not ids:
        theirs = [f"'{next(iter(side.sources), '')}'" for side in (first, others[0])]
        raise DataError(
            f"{first.name} and {others[0].name} share no row: their ids are like {' and '.join(theirs)}.",
            hint="Compare what was scored on the same test rows.",
        )
    clusters = [first.sources[one] for one in ids]
    found = [
        [
            _compared(one, other, name, own, [first.sources[row] for row in own], (margin, looks, seed))
            for name in measures
        ]
        for (one, other), rows in zip(pairs, only or [None] * len(pairs), strict=True)
        for own in ([row for row in ids if rows is None or row in rows],)
    ]
    beside = [side for side in others if side.floors or not first.floors]
    told = [*notes, *_floors(first, beside, measures, ids, clusters)]
    many = {side.name: len(side.trainings) for side in (first, *others)}
    comparison = Comparison((), len(ids), len(set(clusters)), many, tuple(told), margin, looks)
    return judged(replace(comparison, pairs=_corrected(pairs, found, looks)), alike, spoiled or {})


def _corrected(
    pairs: Sequence[tuple[Side, Side]], found: Sequence[Sequence[Compared]], looks: int
) -> tuple[Pair, ...]:
    """Return what is compared, with probabilities that hold for all measures, sides and looks together."""
    every = {f"{i} {one.measure}": one for i, row in enumerate(found) for one in row}
    ps = holm({name: one.p for name, one in every.items()}, looks)
    equals = holm({name: one.equal for name, one in every.items() if one.equal is not None}, looks)
    done = {name: replace(one, corrected=ps[name], equal=equals.get(name)) for name, one in every.items()}
    return tuple(
        Pair(first.name, other.name, {one.measure: done[f"{i} {one.measure}"] for one in row})
        for i, ((first, other), row) in enumerate(zip(pairs, found, strict=True))
    )


def _compared(
    first: Side,
    other: Side,
    measure: str,
    ids: Sequence[str],
    clusters: Sequence[str],
    settings: tuple[float | None, int, int],
) -> Compared:
    margin, looks, seed = settings
    metric = first.metrics.get(measure) or other.metrics.get(measure) or metric_of(measure)
    a, b = (_column(side, measure, ids, metric) for side in (first, other))
    spread, n = _difference(a, b, clusters, seed)
    difference = _stated(spread, n, len(ids) - n, looks, metric.scale)
    chance = _chance(a, b, clusters, spread, seed)
    gaps = [metric.sign * gap for gap, _ in _gaps(a, b, clusters)]
    return Compared(
        measure=measure,
        metric=metric,
        first=_side(a, clusters, looks, metric.scale, seed),
        other=_side(b, clusters, looks, metric.scale, seed),
        difference=difference,
        method=_method(a, b, clusters, spread),
        p=chance.p,
        test=chance.test,
        corrected=chance.p,
        detectable=spread.detectable(0.05 / looks),
        won=sum(gap > 0 for gap in gaps),
        lost=sum(gap < 0 for gap in gaps),
        tied=sum(gap == 0 for gap in gaps),
        equal=None if margin is None else spread.within(margin / metric.scale),
    )


def _column(side: Side, measure: str, ids: Sequence[str], metric: Metric) -> _Column:
    """Return a measure's verdicts in the order of the ids; a row that a training has none on has none."""
    found = [[training.scores[measure].get(one, Score(None)) for one in ids] for training in side.trainings]
    models = [training.model for training in side.trainings]
    rows = list(zip(*found, strict=True))
    values = [_mean([score.value for score in row]) for row in rows]
    parts = [
        tuple(part for score in row for part in score.parts) if all(score.parts for score in row) else ()
        for row in rows
    ]
    if not metric.fold:
        kept = [
            [score.value for score in row]
            for row, value in zip(rows, values, strict=True)
            if value is not None
        ]
        reached = [_mean(each) or 0.0 for each in zip(*kept, strict=True)] or [math.nan] * len(found)
        return _Column(values, parts, reached, None, models, found, None)
    fold = metric.fold if len(found) == 1 else partial(mean_of_folds, metric.fold, len(found))
    sums = [
        [sum(part) for part in zip(*(score.parts for score in each if score.parts), strict=True)]
        for each in found
    ]
    reached = [value_of(metric.fold, one) for one in sums]
    return _Column(values, parts, reached, fold, models, found, metric.fold)


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None and math.isfinite(value)]
    return sum(known) / len(known) if known and len(known) == len(values) else None


def mean_of_folds(fold: Fold, count: int, sums: Sequence[float]) -> float:
    """Return the mean of what `count` trainings fold to, whose sums stand one behind the other."""
    width = len(sums) // count
    return sum(fold(sums[i * width : (i + 1) * width]) for i in range(count)) / count


def _side(column: _Column, clusters: Sequence[str], looks: int, scale: float, seed: int) -> Estimate:
    rows = folded(column.parts, clusters, column.fold, seed) if column.fold else mean(column.values, clusters)
    spread = _spread(rows, [column.reached], lambda: _moved([column], clusters))
    stated = _stated(spread, rows.n, rows.missing, looks, scale)
    bounded = column.fold is None and all(value is None or 0 <= value <= 1 for value in column.values)
    return (
        replace(stated, low=max(0.0, stated.low), high=min(1.0, stated.high))
        if bounded and stated.bounded
        else stated
    )


def _difference(a: _Column, b: _Column, clusters: Sequence[str], seed: int) -> tuple[Spread, int]:
    """Return b − a, and over how many rows."""
    if b.fold:
        rows = folded_difference(b.parts, a.parts, clusters, b.fold, seed)
    else:
        rows = paired_difference(b.values, a.values, clusters)
    return _spread(rows, _retrained(a, b), lambda: _moved([a, b], clusters)), rows.n


def _spread(rows: Estimate, reached: Sequence[Sequence[float]], moved: Callable[[], list[Floats]]) -> Spread:
    """Return what rows and trainings together are uncertain by; see `Spread`.

    Args:
        rows: the estimate with its interval over rows.
        reached: what varies by seed, of each side.
        moved: of each side how far sources move each training; where there are two, it is the second's less
            the first's.
    """
    error, freedom = retrained(reached)
    arms = rows.value - rows.low, rows.high - rows.value
    if not freedom:
        return Spread(rows.value, *arms)
    sides = moved()
    means = [side.mean(0) for side in sides]
    gap = means[0] if len(means) == 1 else means[1] - means[0]
    if len(sides) > len(reached):  # the same models on both sides
        sides = [sides[1] - sides[0]]
    return Spread(rows.value, *arms, error, freedom, own_share(sides, gap))


def _moved(columns: Sequence[_Column], clusters: Sequence[str]) -> list[Floats]:
    """Return of each side how far every source moves what each training reached: (trainings, sources)."""
    rows = range(len(clusters))
    kept = [
        i for i in rows if all((one.parts[i] if one.fold else one.values[i] is not None) for one in columns)
    ]
    if not kept:
        return [np.zeros((len(one.each), 1)) for one in columns]
    _, groups = np.unique([clusters[i] for i in kept], return_inverse=True)
    return [
        np.array([moved_by([each[i] for i in kept], groups, one.of_one) for each in one.each])
        for one in columns
    ]


def moved_by(scores: Sequence[Score], groups: Ints, fold: Fold | None) -> Floats:
    """Return how far every source moves one training's value: what it is with it less without."""
    if fold is None:
        y = np.array([score.value for score in scores], dtype=np.float64)
        return np.bincount(groups, weights=y - y.mean()) / y.size
    table = np.array([score.parts for score in scores], dtype=np.float64)
    sums = np.zeros((int(groups.max()) + 1, table.shape[1]))
    np.add.at(sums, groups, table)
    total = sums.sum(0)
    whole = value_of(fold, total.tolist())
    found = np.array([whole - value_of(fold, (total - one).tolist()) for one in sums])
    return np.nan_to_num(found, posinf=0.0, neginf=0.0)


def _retrained(a: _Column, b: _Column) -> list[list[float]]:
    """Return what vary by seed: both sides, or where both are of the same models their differences."""
    if all(a.models) and a.models == b.models:
        return [[y - x for x, y in zip(a.reached, b.reached, strict=True)]]
    return [a.reached, b.reached]


def _stated(spread: Spread, n: int, missing: int, looks: int, scale: float) -> Estimate:
    low, high = spread.interval(0.05 / looks)
    return Estimate(spread.value, low, high, n, missing, scale)


def _chance(a: _Column, b: _Column, clusters: Sequence[str], spread: Spread, seed: int) -> Chance:
    """Return how easily chance does it: of several trainings by Student's t, of one a side by swaps."""
    if spread.freedom:
        alone = len(_retrained(a, b)) == 1
        trainings = f"{len(a.reached)}{'' if alone else f' and {len(b.reached)}'} trainings"
        return Chance(spread.chance(), f"Student's t of {trainings}, beside the rows")
    if not b.fold:
        gaps = _gaps(a, b, clusters)
        return swapped([gap for gap, _ in gaps], [name for _, name in gaps], seed)
    kept = [i for i in range(len(clusters)) if a.parts[i] and b.parts[i]]
    if not kept:
        return Chance(math.nan, "no row to test on")
    _, groups = np.unique([clusters[i] for i in kept], return_inverse=True)
    tables = tuple(np.array([column.parts[i] for i in kept]) for column in (b, a))
    return swapped_folds((tables[0], tables[1]), groups.astype(np.int64), b.fold, spread.value, seed)


def _gaps(a: _Column, b: _Column, clusters: Sequence[str]) -> list[tuple[float, str]]:
    """Return b − a of the rows that both have a value of, each with its source."""
    rows = zip(a.values, b.values, clusters, strict=True)
    return [(y - x, name) for x, y, name in rows if x is not None and y is not None]


def _method(a: _Column, b: _Column, clusters: Sequence[str], spread: Spread) -> str:
    """Return how the difference's interval is made, in words."""
    rates = all(value in (0, 1, None) for column in (a, b) for value in column.values)
    way = (
        "bootstrap (BCa) of both folded"
        if b.fold
        else "Newcombe's interval"
        if rates
        else "Hall's interval of paired differences"
    )
    by = " by source" if len(set(clusters)) < len(clusters) else ""
    seeds = (
        f", with Student's t for the seeds ({counted(spread.freedom, 'degree')} of freedom)"
        if spread.freedom
        else ""
    )
    return f"{way}{by}{seeds}"


def _floors(
    first: Side, others: Sequence[Side], measures: Sequence[str], ids: Sequence[str], clusters: Sequence[str]
) -> Iterator[str]:
    """Name, for each measure of whole answers, the sides that the best floor is not surely below."""
    for measure in measures:
        metric = first.metrics.get(measure) or metric_of(measure)
        if metric.fold or measure in checks.names():
            continue
        floors = {name: _values(columns, measure, ids) for name, columns in first.floors.items()}
        floors = {name: values for name, values in floors.items() if set(values) != {None}}
        reached = {name: mean(values, clusters) for name, values in floors.items()}
        best = max(reached, key=lambda name: metric.sign * reached[name].value, default="")
        if not best:
            continue
        losers = [
            side.name
            for side in (first, *others)
            if not _beats(_column(side, measure, ids, metric).values, floors[best], clusters, metric.sign)
        ]
        if losers:
            value = figure(metric, replace(reached[best], scale=metric.scale))
            yield f"{_none_of(losers, 1 + len(others))} {FLOORS.get(best, best)} ({value}) by {metric.title}."


def _values(
    columns: Mapping[str, Mapping[str, Score]], measure: str, ids: Sequence[str]
) -> list[float | None]:
    found = columns.get(measure, {})
    return [found[one].value if one in found else None for one in ids]


def _beats(
    values: Sequence[float | None], floor: Sequence[float | None], clusters: Sequence[str], sign: int
) -> bool:
    gap = paired_difference(values, floor, clusters)
    return gap.excludes_zero and sign * gap.value > 0


def _none_of(losers: Sequence[str], count: int) -> str:
    if len(losers) == count == 2:
        return f"Neither {losers[0]} nor {losers[1]} beats"
    names = " and ".join([", ".join(losers[:-1]), losers[-1]]) if len(losers) > 1 else losers[0]
    return f"{names} {'does' if len(losers) == 1 else 'do'} not beat"
