"""Instruction sensitivity: a run's test rows asked in many wordings, all in one batch on one prompt tree."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.errors import DataError, RecipeError
from espalier.core.files import read_text
from espalier.core.run import open_run
from espalier.core.text import unpunctuated
from espalier.evaluate.baselines import labels_to_draw
from espalier.evaluate.compare import estimate
from espalier.evaluate.components import ahead, components, noise_of_spread
from espalier.evaluate.statistics import mean, paired_difference
from espalier.evaluate.tails import shrunken
from espalier.explain.record import keep
from espalier.explain.subject import FOLDER, explained
from espalier.explain.variations import asked_as, is_asked
from espalier.explain.wording.page import render
from espalier.explain.wording.record import Asked, Rank, Sensitivity, Worded, sentences
from espalier.explain.wording.writing import write
from espalier.generate.rewording import Told
from espalier.runs.prepare import prepare
from espalier.tasks.wordings import FORMATS, ORIGINAL, PARAPHRASES, WORDINGS, with_wording, written

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from espalier.core.records import Completion, Example, Score, Task
    from espalier.data.mixture import Part
    from espalier.evaluate.components import Component
    from espalier.evaluate.statistics import Floats
    from espalier.explain.subject import Explained, System
    from espalier.generate.rewording import Writing
    from espalier.trials.who import Who

    Rows = Mapping[str, Sequence[Example]]  # of each wording

LEVEL = 0.05
WRITTEN = "written"
REWORDED = "reworded"
PARAPHRASED = 10


def wording(
    path: Path,
    cache: Path,
    rows: int | None = None,
    against: Sequence[Path] = (),
    definitions: Path | None = None,
    *,
    writer: Who | None = None,
    paraphrases: int = PARAPHRASED,
) -> Sensitivity:
    """Ask a run in many wordings; write `explain/wording.json` and `explain/wording.html` in it.

    What was answered before is not asked again, and an interrupted call goes on.

    Args:
        path: the run's folder.
        cache: folder of converted models.
        rows: most test rows that are asked, by whole sources.
        against: other runs on the same test rows, which are asked the same.
        definitions: a file with a definition in each line, which are wordings too.
        writer: a model that puts each definition into other words, which are wordings too.
        paraphrases: how many of each definition it is asked for.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    subject = explained(path, cache, rows)
    others = [explained(one, cache, rows) for one in against]
    ids = {row.id for row in subject.test}
    for other in others:
        if {row.id for row in other.test} != ids:
            raise RecipeError("It was scored on other test rows.", where=str(other.run.path))
    parts = prepare(subject.recipe).parts
    texts = _of_file(definitions, parts) if definitions else {}
    writing = _written(subject, parts, writer, paraphrases) if writer else None
    asked, left = in_wordings(parts, subject.test, {**texts, **(_by_number(writing) if writing else {})})
    verdicts: dict[str, Mapping[str, Mapping[str, Score]]] = {}
    models: list[tuple[str, Explained, System]] = [("tuned", subject, "tuned"), ("base", subject, "base")]
    for other in others:
        models.append((other.run.path.name, other, "tuned"))
    for name, whose, system in models:
        with open_run(whose.run.path / FOLDER):
            local = whose.local(system)
            named = [replace(row, id=f"{word}/{row.id}") for word, own in asked.items() for row in own]
            answers = whose.answers(
                local, named, subject.recipe.decode, f"Answers of {name}, in all wordings"
            )
            del local
        verdicts[name] = _judged(subject, asked, answers)
    alike = [other.run.path.name for other in others if _another_seed(other, subject)]
    found = of_verdicts(subject, asked[ORIGINAL], verdicts, left, alike)
    found = replace(found, writing=writing)
    place = subject.run.path / FOLDER
    found = replace(found, page=str(place / "wording.html"))
    keep(place, "wording", found, render(found))
    return found


def _another_seed(one: Explained, other: Explained) -> bool:
    """Whether two runs differ by their seed, and by nothing else that is trained."""
    a, b = one.recipe, other.recipe
    alike = (a.task, a.data, a.model, a.train) == (b.task, b.data, b.model, b.train)
    return alike and a.seed != b.seed


def _of_file(file: Path, parts: Sequence[Part]) -> dict[str, dict[str, str]]:
    """Return the definitions of a file, by wording and task. Raises DataError: there are several tasks."""
    lines = [line for line in read_text(file).splitlines() if line.strip()]
    if lines and len(parts) > 1:
        raise DataError("Written wordings are of one task, and the run has several.", where=str(file))
    return {f"{WRITTEN} {n + 1}": {part.name: line for part in parts} for n, line in enumerate(lines)}


def _written(subject: Explained, parts: Sequence[Part], writer: Who, count: int) -> Writing:
    """Have a model write the definitions of all tasks that are asked in words. Raises as `write`."""
    told: dict[str, Told] = {}
    for part in parts:
        if part.task and part.task.definition.strip() and _own(subject.test, part):
            rows = [row for row in (*subject.train, *subject.test) if row.task == part.name]
            shown = [one.output for one in (*part.task.positive, *part.task.negative)]
            answers = [*shown, *(one for row in rows for one in (*row.references, row.answer))]
            folds = frozenset(map(unpunctuated, answers))
            told[part.name] = Told(part.task.definition, labels_to_draw(rows), folds - {""})
    if not told:
        raise DataError(
            "No task of the run has a definition that could be put in other words.", where="--writer"
        )
    folder = subject.run.path / FOLDER
    with open_run(folder):
        return write(told, writer, count, folder, subject.cache, subject.recipe.seed)


def _by_number(writing: Writing) -> dict[str, dict[str, str]]:
    """Return what a model wrote by wording and task: as many as there are of the task with the fewest."""
    kept = writing.kept
    return {
        f"{REWORDED} {number + 1}": dict(zip(kept, texts, strict=True))
        for number, texts in enumerate(zip(*kept.values(), strict=False))
    }


def _own(test: Sequence[Example], part: Part) -> list[Example]:
    return [row for row in test if row.task == part.name and part.task and is_asked(row, part)]


def in_wordings(
    parts: Sequence[Part], test: Sequence[Example], texts: Mapping[str, Mapping[str, str]] | None = None
) -> tuple[Rows, dict[str, str]]:
    """Return the test rows in each wording that all tasks can be asked in, and why others are left out.

    Args:
        parts: the run's tasks.
        test: its test rows.
        texts: definitions that were written, by wording and task.

    Raises:
        DataError: no row has a task's words.
    """
    own = {part.name: _own(test, part) for part in parts}
    if not any(own.values()):
        raise DataError(
            "The run's rows are not asked in a task's words, so these cannot be varied.",
            where="task.path",
            hint="Run on a task's file, whose definition is in the prompt.",
        )
    given = texts or {}
    asked: dict[str, list[Example]] = {}
    left: dict[str, str] = {}
    for name in [*WORDINGS, *given]:
        try:
            made = [
                asked_as(row, _worded(part.task, name, given.get(name, {}).get(part.name)), part)
                for part in parts
                for row in own[part.name]
                if part.task
            ]
        except DataError as error:
            left[name] = error.message
            continue
        if any([r.messages for r in made] == [r.messages for r in rows] for rows in asked.values()):
            left[name] = "It changes nothing that the prompts show."
        else:
            asked[name] = made
    return asked, left


def _worded(task: Task, name: str, text: str | None) -> Task:
    if name in WORDINGS:
        return with_wording(task, name)
    return task if text is None else written(task, text)  # a task without a definition has no other


def _judged(
    subject: Explained, asked: Rows, answers: Mapping[str, Completion]
) -> dict[str, Mapping[str, Score]]:
    rows = asked[ORIGINAL]
    ids = {row.id for row in rows}
    systems = {name: [replace(answers[f"{name}/{row}"], example=row) for row in ids] for name in asked}
    whole = [row for row in subject.test if row.id in ids]
    scores = subject.judged(whole, systems)
    return {name: scores.of_rows(name, subject.scores.leading) for name in asked}


def of_verdicts(
    subject: Explained,
    rows: Sequence[Example],
    verdicts: Mapping[str, Mapping[str, Mapping[str, Score]]],
    left: Mapping[str, str],
    alike: Sequence[str] = (),
) -> Sensitivity:
    """Return what scores by model, wording and row come to; `alike` are runs that differ by seed alone.

    Raises:
        DataError: the measure judges no single rows.
    """
    metric, scores = subject.scores.metric(subject.scores.leading), subject.scores
    kept = [
        row for row in rows
        if all(s[row.id].value is not None for own in verdicts.values() for s in own.values())
    ]  # fmt: skip
    if not kept:
        raise DataError("No row has a score of its own in all wordings.", where=scores.leading)
    sources = [row.source for row in kept]
    tables = {
        name: np.array([[one[row.id].value for row in kept] for one in own.values()], dtype=np.float64)
        for name, own in verdicts.items()
    }
    words = [*verdicts["tuned"]]
    systems = [_asked(name, tables[name], words, verdicts[name], kept, subject) for name in tables]
    systems = [replace(one, matters=one.chance * len(systems) < LEVEL) for one in systems]  # Bonferroni
    ours = tables["tuned"]
    ranks: list[Rank] = []
    for other in [*tables][1:]:
        share, gap = ahead(ours - tables[other], sources, metric.sign, scores.seed)
        ranks.append(Rank(other, share, replace(gap, scale=metric.scale)))
    found = Sensitivity(
        name=subject.run.path.name,
        measure=scores.leading,
        metric=metric,
        rows=len(kept),
        sources=len({*sources}),
        systems=tuple(systems),
        parts=tuple(_parts([ours, *(tables[name] for name in alike)], words, kept)),
        seeds=1 + len(alike),
        ranks=tuple(ranks),
        left=left,
    )
    return replace(found, sentences=sentences(found))


def _asked(
    name: str,
    table: Floats,
    words: Sequence[str],
    verdicts: Mapping[str, Mapping[str, Score]],
    rows: Sequence[Example],
    subject: Explained,
) -> Asked:
    metric, sources = subject.scores.metric(subject.scores.leading), [row.source for row in rows]
    middle = table.mean(0)
    away = [
        replace(paired_difference(own.tolist(), middle.tolist(), sources), scale=metric.scale)
        for own in table
    ]
    made = [
        Worded(
            word, kind_of(word), estimate(metric, [verdicts[word][r.id] for r in rows], sources), own, less
        )
        for word, own, less in zip(words, away, shrunken(away).values, strict=True)
    ]
    usual, high, chance = noise_of_spread(table, sources, subject.scores.seed)
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, row in enumerate(rows):
        places[row.task].append(place)
    return Asked(
        name,
        replace(mean(middle.tolist(), sources), scale=metric.scale),
        float(table.mean(1).std(ddof=1)) if len(table) > 1 else 0.0,
        tuple(sorted(made, key=lambda one: -metric.sign * one.reached.value)),
        (usual, high),
        chance,
        False,
        {task: tuple(map(float, table[:, held].mean(1))) for task, held in places.items()},
    )


def _parts(tables: Sequence[Floats], words: Sequence[str], rows: Sequence[Example]) -> list[Component]:
    cells = [
        (float(table[w, r]), row.task, word, f"{row.task}/{word}", seed, row.id)
        for seed, table in enumerate(tables)
        for w, word in enumerate(words)
        for r, row in enumerate(rows)
    ]
    values, *levels = zip(*cells, strict=True)
    names = ("task", "wording", "wording in its task", "seed", "row")
    return components(values, dict(zip(names, levels, strict=True)))


def kind_of(word: str) -> str:
    """Return what a wording is: the original, a paraphrase or a format by rule, or a written one."""
    if word == ORIGINAL:
        return ""
    return "paraphrase" if word in PARAPHRASES else "format" if word in FORMATS else word.split()[0]
