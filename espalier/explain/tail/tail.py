"""A run's long tail: what its kinds of rows reach, and how that goes with how often training had them.

No model is loaded: rows and scores are those of the run's files.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.errors import DataError
from espalier.core.run import find_run
from espalier.core.text import counted
from espalier.data.table import read_examples
from espalier.evaluate.compare import compare_scores, estimate
from espalier.evaluate.measures import AS_IS
from espalier.evaluate.tails import LEVEL, chances, shrunken, slopes, tail_means
from espalier.explain.record import keep
from espalier.explain.subject import FOLDER
from espalier.explain.tail.kinds import NEIGHBOUR, Facet, facets
from espalier.explain.tail.page import render
from espalier.explain.tail.record import Group, Slope, TailPage, Told, sentences
from espalier.runs.run import Run

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from espalier.core.records import Estimate, Example, Metric, Score
    from espalier.evaluate.scores import Scores
    from espalier.evaluate.statistics import Floats

    Verdicts = Mapping[str, Score]

LEAST = 5  # sources of a kind that is looked at alone
OFTEN, RARE = "rare kinds that training had", "rare kinds that training had not"


def tail(path: Path, cache: Path) -> TailPage:
    """Return a run's long tail; write `explain/tail.json` and `explain/tail.html` in it.

    Raises:
        RunError: it is no run, or has no scores.
        DataError: its measures judge no single rows.
    """
    folder = find_run(path)
    scores = Run(folder.path, cache).scores
    train = folder.data / "train.parquet"
    trained = read_examples(train) if train.exists() else []
    found = of_rows(folder.path.name, scores, read_examples(folder.data / "test.parquet"), trained)
    place = folder.path / FOLDER
    found = replace(found, page=str(place / "tail.html"))
    keep(place, "tail", found, render(found))
    return found


def of_rows(name: str, scores: Scores, test: Sequence[Example], train: Sequence[Example]) -> TailPage:
    """Return the long tail of test rows and their scores. Raises DataError where no row has one."""
    ours = AS_IS if AS_IS in scores.systems else "tuned"
    measure = next((one for one in scores.measures if not scores.metric(one).fold), None)
    verdicts = scores.of_rows(ours, measure) if measure else {}
    test = [row for row in test if row.id in verdicts and verdicts[row.id].value is not None]
    if measure is None or not test:
        raise DataError(
            "No measure of this run judges single rows, so groups of rows cannot be told apart.",
            where=f"{name}/scores.json",
            hint="Add a scorer of single answers to [[evaluate]], such as exact_match or rouge_l.",
        )
    metric, tuned = scores.metric(measure), {row.id: verdicts[row.id] for row in test}
    base = scores.of_rows("base", measure) if "base" in scores.systems else None
    base = {row.id: base[row.id] for row in test} if base else None
    whole = estimate(metric, [*tuned.values()], [row.source for row in test])
    told, left = _facets(test, train, (tuned, base), metric, closed=scores.closed)
    found = TailPage(
        name=name,
        measure=measure,
        metric=metric,
        rows=len(test),
        sources=len({row.source for row in test}),
        train=len(train),
        tuned=whole,
        base=estimate(metric, [*base.values()], [row.source for row in test]) if base else None,
        facets=tuple(told),
        left=left,
        cvar=tuple(_cvar(test, tuned, base, metric)),
    )
    return replace(found, sentences=sentences(found))


def _cvar(test: Sequence[Example], tuned: Verdicts, base: Verdicts | None, metric: Metric) -> list[Estimate]:
    rows = [row for row in test if base is None or base[row.id].value is not None]
    sides = [[side[row.id].value or 0.0 for row in rows] for side in (tuned, base) if side]
    found = tail_means(sides, [row.source for row in rows], metric.sign) if rows else []
    return [replace(one, scale=metric.scale) for one in found]


def _facets(
    test: Sequence[Example],
    train: Sequence[Example],
    sides: tuple[Verdicts, Verdicts | None],
    metric: Metric,
    *,
    closed: bool,
) -> tuple[list[Told], dict[str, str]]:
    """Return each facet's groups and slope, all tested together, and those that tell nothing."""
    values = [sides[0][row.id].value or 0.0 for row in test]
    sources = [row.source for row in test]
    made: list[tuple[Facet, list[Group], str]] = []
    left: dict[str, str] = {}
    for facet in facets(test, train, closed=closed):
        names, pooled = _pooled(facet, sources)
        if len({*names}) < 2:
            left[facet.name] = f"All rows are one group{f' ({pooled})' if pooled else f', “{names[0]}”'}."
            continue
        made.append((facet, _groups(test, replace(facet, kinds=tuple(names)), sides, metric), pooled))
    kinds = {facet.name: _pooled(facet, sources)[0] for facet, _, _ in made}
    contrasts = [
        -metric.sign * _share(kinds[facet.name], group.name) for facet, groups, _ in made for group in groups
    ]
    sloping = [facet for facet, _, _ in made if facet.seen is not None and len({*facet.seen}) > 1]
    for facet in sloping:
        contrasts += [_along(facet), -_along(facet)]
    found = iter(chances(values, np.array(contrasts), sources) if contrasts else [])
    told: list[Told] = []
    for facet, groups, pooled in made:
        named, spread = _named([replace(one, chance=next(found)) for one in groups], metric)
        told.append(Told(facet.name, tuple(named), spread, None, pooled))
    for facet in sloping:
        place = next(i for i, one in enumerate(told) if one.name == facet.name)
        slope = _slope(values, facet, sources, min(next(found), next(found)), metric)
        told[place] = replace(told[place], slope=slope)
    return told, left


def _pooled(facet: Facet, sources: Sequence[str]) -> tuple[list[str], str]:
    """Return the group of each row: its kind, or with other kinds of few sources; and a sentence on these."""
    of: dict[str, set[str]] = {}
    for kind, source in zip(facet.kinds, sources, strict=True):
        of.setdefault(kind, set()).add(source)
    few = {kind for kind, held in of.items() if len(held) < LEAST}
    seen = facet.seen or [1.0] * len(facet.kinds)
    pools = [(OFTEN if had else RARE) if facet.seen else "rare kinds" for had in seen]
    names = [pool if kind in few else kind for kind, pool in zip(facet.kinds, pools, strict=True)]
    held = {pool: {s for s, name in zip(sources, names, strict=True) if name == pool} for pool in {*pools}}
    if any(0 < len(one) < LEAST for one in held.values()):
        names = ["rare kinds" if kind in few else kind for kind in facet.kinds]
    told = f"{counted(len(few), 'kind')} of fewer than {LEAST} sources" if few else ""
    return names, f"{told} {'is' if len(few) == 1 else 'are'} put together" if few else ""


def _groups(
    test: Sequence[Example], facet: Facet, sides: tuple[Verdicts, Verdicts | None], metric: Metric
) -> list[Group]:
    """Return the groups as they are, the one that training had most of first."""
    made: list[Group] = []
    for name in Counter(facet.kinds):
        places = [place for place, kind in enumerate(facet.kinds) if kind == name]
        rows = [test[place] for place in places]
        sources = {row.id: row.source for row in rows}
        tuned, base = ({row.id: side[row.id] for row in rows} if side else None for side in sides)
        reached, before = (
            estimate(metric, [*side.values()], [*sources.values()]) if side else None
            for side in (tuned, base)
        )
        assert tuned
        assert reached
        gap = compare_scores(tuned, base, sources, metric).estimate if base else None
        seen = float(np.mean([facet.seen[place] for place in places])) if facet.seen else None
        count = len({*sources.values()})
        made.append(Group(name, len(rows), count, seen, reached, before, gap, reached, 1.0, 1.0, False))
    return sorted(made, key=lambda one: (-(one.seen or 0.0), -one.rows, one.name))


def _named(groups: Sequence[Group], metric: Metric) -> tuple[list[Group], float]:
    """Return the groups with what shrinkage leaves, those named that both test and interval call worse."""
    found = shrunken([one.tuned for one in groups])
    made: list[Group] = []
    for one, value, weight in zip(groups, found.values, found.weights, strict=True):
        end = value.high if metric.sign > 0 else value.low
        behind = value.bounded and metric.sign * (found.mean - end) > 0
        worse = one.chance < LEVEL and behind
        made.append(replace(one, shrunken=value, weight=weight, worse=worse))
    return made, found.spread


def _slope(
    values: Sequence[float], facet: Facet, sources: Sequence[str], chance: float, metric: Metric
) -> Slope:
    x = _at(facet).tolist()
    by_source, by_kind = (
        replace(slopes(values, x, clusters), scale=metric.scale) for clusters in (sources, facet.kinds)
    )
    holds = chance < LEVEL and by_source.excludes_zero
    if facet.name != NEIGHBOUR:  # its kinds are bands of the same number
        holds = holds and by_kind.excludes_zero
    return Slope(by_source, by_kind, chance, holds and _without_any(values, x, facet, sources))


def _without_any(values: Sequence[float], x: Sequence[float], facet: Facet, sources: Sequence[str]) -> bool:
    """Whether the slope is there, and goes the same way, whichever kind is left out: one kind is no law."""
    rows = [*zip(values, x, sources, facet.kinds, strict=True)]
    ways: set[bool] = set()
    for kind in {*facet.kinds}:
        rest = [row[:3] for row in rows if row[3] != kind]
        found = slopes(*map(list, zip(*rest, strict=True))) if rest else None
        if found is None or not found.excludes_zero:
            return False
        ways.add(found.value > 0)
    return len(ways) == 1


def _at(facet: Facet) -> Floats:
    """Return where a row stands: the logarithm to base 2 of training rows + 1, or the share of words."""
    assert facet.seen
    seen = np.array(facet.seen)
    return seen if facet.name == NEIGHBOUR else np.log2(1 + seen)


def _along(facet: Facet) -> Floats:
    x = _at(facet)
    return (x - x.mean()) / (x.std() or 1.0)


def _share(kinds: Sequence[str], name: str) -> Floats:
    own = np.array([kind == name for kind in kinds], dtype=np.float64)
    return own / own.sum()
