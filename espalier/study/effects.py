"""From cells to effects: each contrast is two sides of a comparison, by the statistics of every comparison.

A side is a setting averaged over the levels of all other factors: of each seed the rows' scores are averaged
over its cells, which makes as many pseudo-trainings as there are seeds. So the interval counts rows by source
and, beside them, seeds by Student's t; where both sides are answers of the same models, as they are of what
is varied at test time only, seeds pair. All effects of a study are one family (Holm). Of an interaction the
sides are the cells where both factors are at the same level and those where they are not; twice their
difference is what one factor adds to what the other does (Yates 1937).
"""

from __future__ import annotations

import math
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from espalier.comparison.alike import spoiled_by
from espalier.comparison.entrants import RETRAINED
from espalier.comparison.entries import entry_of
from espalier.comparison.records import Side, Training
from espalier.comparison.sides import compare_pairs, mean_of_folds
from espalier.core.errors import DataError, RecipeError, nearest
from espalier.core.files import content_hash, read_jsonl
from espalier.core.records import Score
from espalier.core.text import some
from espalier.data.table import read_examples
from espalier.design.blocks import Reading
from espalier.design.record import CellScore, Effect, Findings
from espalier.evaluate.measures import AS_IS, FLOORS
from espalier.evaluate.scores import Scores
from espalier.evaluate.sheet import between
from espalier.study.carrying_out import steps_of, trained_here

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.comparison.entries import Entry
    from espalier.comparison.records import Compared, Comparison
    from espalier.core.records import Metric
    from espalier.design.blocks import Floats
    from espalier.design.designs import Contrast
    from espalier.study.cells import Cell, Planned

SYSTEMS = ("base", *FLOORS)  # beside a cell's own


def findings(plan: Planned) -> Findings:
    """Return what a finished study's cells come to.

    Raises:
        RunError: a cell has no scores.
        RecipeError: the metric is none that the runs have.
    """
    entries = {(cell.levels, cell.seed): _entry(plan, cell) for cell in plan.cells}
    measure = _measure(plan, next(iter(entries.values())))
    metric = next(iter(entries.values())).side.metric(measure)
    models = {(cell.levels, cell.seed): cell.training for cell in plan.cells}
    sides = [
        sides_of(plan, contrast, entries, models, (measure, metric)) for contrast in plan.layout.contrasts
    ]
    only = [_only(plan, contrast, entries) for contrast in plan.layout.contrasts]
    spoiled = {
        side.name: why
        for contrast, pair in zip(plan.layout.contrasts, sides, strict=True)
        for side, cells in zip(pair, (contrast.minus, contrast.plus), strict=True)
        if (
            why := next(
                filter(None, (spoiled_by(entries[c, s]) for c in cells for s in plan.study.seeded)), ""
            )
        )
    }
    notes = [*plan.layout.notes, *([RETRAINED] if len(plan.study.seeded) == 1 else [])]
    compared = compare_pairs(
        sides, [measure], margin=plan.study.margin, spoiled=spoiled, notes=notes, only=only
    )
    effects = [
        _effect(plan, contrast, pair.measures[measure], one)
        for contrast, pair, one in zip(plan.layout.contrasts, compared.pairs, sides, strict=True)
    ]
    found = _findings(plan, measure, metric, tuple(effects), compared)
    return replace(found, blocks=tuple(plan.layout.read(_reading(plan, found, entries))))


def reached(plan: Planned) -> dict[tuple[int, ...], float]:
    """Return what each cell came to, the mean over its seeds; higher is better. Raises as `findings`."""
    entry = _entry(plan, plan.cells[0])
    measure = _measure(plan, entry)
    sign = entry.side.metric(measure).sign
    found: dict[tuple[int, ...], list[float]] = {}
    for cell in plan.cells:
        found.setdefault(cell.levels, []).append(sign * _score(plan, cell, measure).score.value)
    return {cell: sum(values) / len(values) for cell, values in found.items()}


def _findings(
    plan: Planned, measure: str, metric: Metric, effects: tuple[Effect, ...], compared: Comparison
) -> Findings:
    scores = tuple(_score(plan, cell, measure) for cell in plan.cells)
    requests = [
        line["request"]
        for name in sorted({one.name for one in (*plan.trainings, *plan.cells)})
        for _, line in read_jsonl(plan.folder(name).outputs)
        if line["system"] not in FLOORS
    ]
    steps, taken = zip(*steps_of(plan), strict=True)
    names = some([factor.name for factor in plan.factors], len(plan.factors))
    asked = f"{'Does' if len(plan.factors) == 1 else 'Do'} {names} make a difference?"
    return Findings(
        name=plan.study.name,
        question=plan.study.question or asked,
        measure=measure,
        metric=metric,
        effects=effects,
        cells=scores,
        rows=compared.rows,
        sources=compared.sources,
        seeds=plan.study.seeded,
        trainings=len(plan.trainings),
        trained=trained_here(plan),
        asked=len(requests),
        written=len({*requests}),
        margin=plan.study.margin,
        notes=compared.notes,
        footing=compared.footing,
        command=f"espalier study {plan.study.path / 'study.toml'}",
        steps=sum(steps),
        steps_taken=sum(taken),
    )


def _entry(plan: Planned, cell: Cell) -> Entry:
    """Return a cell as a comparison knows it, with the inputs that its model was trained on."""
    entry = entry_of(plan.folder(cell.name).path)
    if cell.run:
        return entry
    name = next(one.name for one in plan.trainings if one.key == cell.training)
    learned = read_examples(plan.folder(name).data / "train.parquet")
    return replace(entry, trained=frozenset(e.input for e in learned if e.input))


def _measure(plan: Planned, entry: Entry) -> str:
    """Return what the study is judged by. Raises RecipeError where the runs have no such measure."""
    if plan.study.metric and plan.study.metric not in entry.measures:
        raise RecipeError(
            f"The runs have no measure '{plan.study.metric}'.",
            where="metric",
            hint=nearest(plan.study.metric, entry.measures),
        )
    return plan.study.metric or entry.measures[0]


def sides_of(
    plan: Planned,
    contrast: Contrast,
    entries: Mapping[tuple[tuple[int, ...], int], Entry],
    models: Mapping[tuple[tuple[int, ...], int], str],
    by: tuple[str, Metric],
) -> tuple[Side, Side]:
    """Return both sides of a contrast, by cell and seed of `entries` and of `models`, the trainings' keys."""
    measure, metric = by
    count = len(contrast.plus)
    fold = partial(mean_of_folds, metric.fold, count) if metric.fold and count > 1 else metric.fold
    scale = metric.scale * (2 if len(contrast.factors) > 1 else 1)
    metric = replace(metric, fold=fold, scale=scale)

    def side(name: str, cells: Sequence[tuple[int, ...]]) -> Side:
        first = entries[cells[0], plan.study.seeded[0]].side
        trainings = tuple(
            Training(
                f"{name}, seed {seed}",
                {measure: averaged([entries[cell, seed] for cell in cells], measure)},
                content_hash(sorted(models[cell, seed] for cell in cells)),
            )
            for seed in plan.study.seeded
        )
        whole = len(contrast.factors) == 1 and contrast.only is None
        floors = first.floors if whole else {}
        return Side(name, trainings, first.sources, {measure: metric}, floors)

    minus, plus = _names(plan, contrast)
    other = side(plus, contrast.plus)
    if not contrast.minus:
        return _untuned(plan, minus, contrast.plus[0], metric, measure), other
    return side(minus, contrast.minus), other


def _untuned(plan: Planned, name: str, beside: tuple[int, ...], metric: Metric, measure: str) -> Side:
    """Return the model before any training as a side; a run beside asked it the same rows."""
    cell = next(one for one in plan.cells if one.levels == beside)
    training = next(one.name for one in plan.trainings if one.key == cell.training)
    side = entry_of(plan.folder(training).path, "base").side
    return replace(side, name=name, metrics={measure: metric}, floors={})


def _only(
    plan: Planned, contrast: Contrast, entries: Mapping[tuple[tuple[int, ...], int], Entry]
) -> frozenset[str] | None:
    """Return the rows of the one level that a contrast looks at; None for all. Raises RunError."""
    if contrast.only is None:
        return None
    cell = next(one for one in plan.cells if one.levels == contrast.plus[0])
    made = next(factor.group for factor in plan.factors if factor.group)(cell.recipe)
    rows = entries[cell.levels, cell.seed].examples.values()
    own = frozenset(row.id for row in rows if made(row) == contrast.only)
    if not own:
        raise DataError(f"No row that is scored is of '{contrast.only}'.", where=str(plan.study.path))
    return own


def _reading(plan: Planned, found: Findings, entries: Mapping[tuple[tuple[int, ...], int], Entry]) -> Reading:
    """Return what the design reads its own findings from."""
    reached: dict[tuple[int, ...], list[float]] = {}
    for cell, score in zip(plan.cells, found.cells, strict=True):
        reached.setdefault(cell.levels, []).append(score.score.value)

    def rows(cells: Sequence[tuple[int, ...]]) -> tuple[dict[tuple[int, ...], Floats], list[str]]:
        sides = {cell: [entries[cell, seed].side for seed in plan.study.seeded] for cell in cells}
        every = [side for group in sides.values() for side in group]
        ids = [one for one in every[0].sources if all(one in side.sources for side in every)]
        values = {
            cell: np.array(
                [[_value(side.trainings[0].scores[found.measure], one) for one in ids] for side in group]
            )
            for cell, group in sides.items()
        }
        return values, [every[0].sources[one] for one in ids]

    return Reading(found.effects, reached, rows, found.metric, plan.study.margin)


def _value(scores: Mapping[str, Score], row: str) -> float:
    value = scores[row].value if row in scores else None
    return math.nan if value is None else value


def averaged(entries: Sequence[Entry], measure: str) -> dict[str, Score]:
    """Return each row's score over several cells: their mean, and their parts one behind the other."""
    columns = [entry.side.trainings[0].scores[measure] for entry in entries]
    if len(columns) == 1:
        return dict(columns[0])
    found: dict[str, Score] = {}
    for row in columns[0]:
        scores = [column.get(row, Score(None)) for column in columns]
        values = [score.value for score in scores if score.value is not None]
        parts = tuple(part for score in scores for part in score.parts)
        whole = all(score.parts for score in scores)
        mean = sum(values) / len(values) if len(values) == len(scores) else None
        found[row] = Score(mean, parts=parts if whole else ())
    return found


def _names(plan: Planned, contrast: Contrast) -> tuple[str, str]:
    if contrast.names:
        return contrast.names
    chosen = [plan.factors[number] for number in contrast.factors]
    if len(chosen) == 1:
        (factor,), (level,) = chosen, contrast.levels
        return f"{factor.name} {factor.labels[0]}", f"{factor.name} {factor.labels[level]}"
    crossed = " × ".join(factor.name for factor in chosen)
    return f"{crossed} apart", f"{crossed} together"


def _effect(plan: Planned, contrast: Contrast, compared: Compared, sides: tuple[Side, Side]) -> Effect:
    chosen = [plan.factors[number] for number in contrast.factors]
    minus, plus = (
        [one.name for one in plan.cells if one.levels in cells] for cells in (contrast.minus, contrast.plus)
    )
    same = [t.model for t in sides[0].trainings] == [t.model for t in sides[1].trainings]
    level = " and ".join(f.labels[level] for f, level in zip(chosen, contrast.levels, strict=True))
    against = " and ".join(factor.labels[0] for factor in chosen)
    if contrast.names:
        against, level = contrast.names
    elif len(chosen) > 1:
        compared = replace(compared, said=_crossed(plan, contrast, compared))
    return Effect(
        factor=" × ".join(factor.name for factor in chosen),
        level=level,
        against=against,
        sort="main" if len(chosen) == 1 else "interaction",
        compared=compared,
        plus=tuple(plus),
        minus=tuple(minus),
        same=same,
    )


def _crossed(plan: Planned, contrast: Contrast, compared: Compared) -> str:
    """Return what may be said of an interaction."""
    first, other = (plan.factors[number] for number in contrast.factors)
    what = f"what {other.name} does at {first.name} {first.labels[1]} less what it does at {first.labels[0]}"
    told = between(compared.difference)
    match compared.verdict:
        case "better" | "worse":
            return f"{other.name} and {first.name} do something together: {what} is {told}."
        case "as good":
            within = f"within {plan.study.margin:g} points"
            return f"{other.name} does the same whatever {first.name} is, {within}: {told}."
        case "tie" | "not judged":
            return f"Nothing can be said of {other.name} and {first.name} together: all rows tie."
        case _:
            both = f"{other.name} and {first.name}"
            return f"It cannot be seen that {both} do anything together: {what} is {told}."


def _score(plan: Planned, cell: Cell, measure: str) -> CellScore:
    scores = Scores.read(plan.folder(cell.name).scores)
    system = "tuned" if cell.run else AS_IS
    floors = {name: scores.estimate(name, measure) for name in SYSTEMS if name in scores.systems}
    name = next(one.name for one in plan.trainings if one.key == cell.training)
    return CellScore(
        name=cell.name,
        levels=cell.labels,
        seed=cell.seed,
        run=cell.run,
        training=name,
        score=scores.estimate(system, measure),
        floors={**floors, **scores.floors(measure)},
    )
