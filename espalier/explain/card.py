"""What a run's score is worth: beside floors and the base model, and when both are asked otherwise."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from espalier.comparison.significance import Spread, holm
from espalier.core.errors import DataError
from espalier.evaluate.compare import compare_scores, estimate
from espalier.evaluate.measures import FLOORS
from espalier.explain.record import Card, Cell, Line
from espalier.explain.variations import USUAL, Variations, named, variations
from espalier.runs.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Mapping

    from espalier.core.records import Completion, Metric, Score
    from espalier.decode.local import Local
    from espalier.evaluate.score_records import Difference
    from espalier.explain.subject import Explained, System
    from espalier.explain.variations import Levels

    Verdicts = Mapping[str, Score]

LEVEL = 0.05


@dataclass(frozen=True)
class Asked:
    """The run's rows asked otherwise, with the answers so far."""

    variations: Variations
    answers: dict[System, dict[str, Completion]]


def to_ask(subject: Explained) -> Asked:
    """Return the variants of the run's rows; where its task is not there any more, there are none."""
    try:
        parts = prepare(subject.recipe).parts
    except DataError as error:
        return Asked(Variations({}, {"all variants": f"The task cannot be read again: {error}"}), {})
    return Asked(variations(parts, subject.test, subject.train, subject.recipe.seed), {})


def ask(subject: Explained, asked: Asked, local: Local, system: System) -> None:
    """Have a model answer all variants in one batch."""
    rows = asked.variations.named()
    if rows:
        title = f"Answers of the {system} model, asked otherwise"
        asked.answers[system] = subject.answers(local, rows, subject.recipe.decode, title)


def card_of(subject: Explained, asked: Asked) -> Card:
    """Return the lines and the cells; every model has answered."""
    metric = subject.scores.metric(subject.scores.leading)
    verdicts = _verdicts(subject, asked)
    sources = {row.id: row.source for row in subject.test}
    cells: list[Cell] = []
    for system in asked.answers:
        own = {levels: found for (name, levels), found in verdicts.items() if name == system}
        cells += _cells(system, own, sources, metric)
    usual = {row.id for rows in asked.variations.rows.values() for row in rows}
    return Card(
        lines=tuple(_lines(subject, verdicts, sources, metric)),
        cells=tuple(cells),
        rows=len(usual),
        sources=len({sources[row] for row in usual}),
        left=_left(subject, asked.variations),
    )


def _verdicts(subject: Explained, asked: Asked) -> dict[tuple[System, Levels], Verdicts]:
    """Return what each model's answers to each variant score by the leading measure, by row."""
    measure = subject.scores.leading
    groups: dict[tuple[str, ...], dict[str, tuple[System, Levels]]] = {}
    for system in asked.answers:
        for levels, rows in asked.variations.rows.items():
            called = f"{system} {'/'.join(levels)}"
            groups.setdefault(tuple(row.id for row in rows), {})[called] = system, levels
    examples = {row.id: row for row in subject.test}
    found: dict[tuple[System, Levels], Verdicts] = {}
    for ids, systems in groups.items():
        answers = {
            name: [replace(asked.answers[system][named(levels, row)], example=row) for row in ids]
            for name, (system, levels) in systems.items()
        }
        scores = subject.judged([examples[one] for one in ids], answers)
        found.update({key: scores.of_rows(name, measure) for name, key in systems.items()})
    return found


def _cells(
    system: System, verdicts: Mapping[Levels, Verdicts], sources: Mapping[str, str], metric: Metric
) -> list[Cell]:
    """Return a model's cells with their changes, all of which are tested together."""
    usual = verdicts[USUAL]
    made: list[Cell] = []
    for levels, own in verdicts.items():
        reached = estimate(metric, [*own.values()], [sources[row] for row in own])
        change = None if levels == USUAL else _gap(own, usual, sources, metric)
        made.append(Cell(system, *levels, reached, change))
    chances = holm({f"{c.definition}/{c.examples}": _chance(c.change) for c in made if c.change is not None})
    return [replace(c, apart=chances.get(f"{c.definition}/{c.examples}", 1.0) < LEVEL) for c in made]


def _chance(change: Difference) -> float:
    gap = change.estimate
    return Spread(gap.value, gap.value - gap.low, gap.high - gap.value).chance()


def _gap(ours: Verdicts, theirs: Verdicts, sources: Mapping[str, str], metric: Metric) -> Difference:
    """Return ours less theirs over the rows that both have."""
    shared = [row for row in ours if row in theirs]
    a, b = ({row: side[row] for row in shared} for side in (ours, theirs))
    return compare_scores(a, b, sources, metric)


def _lines(
    subject: Explained,
    verdicts: Mapping[tuple[System, Levels], Verdicts],
    sources: Mapping[str, str],
    metric: Metric,
) -> list[Line]:
    """Return the tuned and the base model, that without examples, and the floors, all on the run's rows."""
    scores, measure = subject.scores, subject.scores.leading
    lines = [Line("tuned", scores.estimate("tuned", measure))]
    if "base" in scores.systems:
        lines.append(Line("base", scores.estimate("base", measure), scores.difference("base", measure)))
    ours = verdicts.get(("tuned", USUAL))
    for name, levels in (("base, few-shot", USUAL), ("base, zero-shot", ("original", "none"))):
        theirs = verdicts.get(("base", levels))
        if ours and theirs and ("base", ("original", "none")) in verdicts:
            reached = estimate(metric, [*theirs.values()], [sources[row] for row in theirs])
            lines.append(Line(name, reached, _gap(ours, theirs, sources, metric)))
    for name, reached in scores.floors(measure).items():
        gap = scores.difference(name, measure) if name in FLOORS else None
        lines.append(Line(FLOORS.get(name, name), reached, gap, floor=True))
    return lines


def _left(subject: Explained, found: Variations) -> dict[str, str]:
    left = dict(found.left)
    if "random" not in subject.scores.systems:
        left["random label"] = "Answers are free text or numbers: there are no labels to draw from."
    if "example" not in subject.scores.systems:
        left["first demonstration's answer"] = "Not every row's task has a worked example."
    if ("original", "none") not in found.rows:
        left["few-shot against zero-shot"] = "The prompts show no worked example that could be left out."
    return left
