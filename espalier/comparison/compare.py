"""`compare`: runs, groups of seeds and other tools' files side by side, and their page."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from espalier.comparison.entrants import compare_entries
from espalier.comparison.entries import Entry, entry_of, entry_on_dev, leading
from espalier.comparison.page import render
from espalier.comparison.predictions import MEASURES, UNKNOWN, Answers, answers_in, entry_of_answers
from espalier.core.errors import DataError
from espalier.core.files import write_atomic
from espalier.core.run import find_run, run_at
from espalier.core.text import counted
from espalier.data.references import references_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.comparison.looks import Looks, Split
    from espalier.comparison.records import Comparison
    from espalier.core.records import Task

    One: TypeAlias = str | os.PathLike[str]  # a Run is one: its folder
    Group: TypeAlias = One | Sequence[One]


def compare(
    groups: Sequence[Group],
    *,
    measures: Sequence[str] = (),
    allow: Sequence[str] = (),
    margin: float | None = None,
    looks: Looks = 1,
    split: Split = "test",
    confirm: bool = False,
    references: str | None = None,
    report: Path | None = None,
) -> Comparison:
    """Compare sides with the first; see `espalier.compare`.

    Raises:
        EspalierError: what is compared is not there, or not comparable; see `compare_entries`.
    """
    if margin is not None and not 0 < margin < float("inf"):
        raise DataError(f"A margin of {margin} points holds nothing.", hint="Give more than 0, such as 2.")
    listed: list[list[One]] = [[g] if isinstance(g, str | os.PathLike) else [*g] for g in groups]
    every = [Path(one) for group in listed for one in group]
    for path in every:
        if path.suffix in (".jsonl", ".json") and not os.path.exists(path):
            raise DataError("There is no such file.", where=str(path))
    files = references is not None or any(os.path.isfile(path) for path in every)
    if files and split == "dev":
        raise DataError("Only runs have development rows.", where="--split", hint="Leave it, and files, out.")
    of_one = entry_on_dev if split == "dev" else _of_run
    entries = iter(_of_files(every, references, measures) if files else map(of_one, every))
    grouped: list[list[Entry]] = [[next(entries) for _ in group] for group in listed]
    comparison = compare_entries(
        grouped, measures=measures, allow=allow, margin=margin, looks=looks, split=split, confirm=confirm
    )
    if report is not None:
        write_atomic(report, render(comparison, grouped))
    return comparison


def _of_run(path: Path) -> Entry:
    folder, system = named_side(path)
    return entry_of(folder, system)


def named_side(path: Path) -> tuple[Path, str]:
    """Return the folder and the system of RUN:SYSTEM, of a run alone its tuned model."""
    folder, colon, system = str(path).rpartition(":")
    if colon and run_at(path) is None and run_at(Path(folder)) is not None:
        return Path(folder), system
    return path, leading(path)


def _of_files(paths: Sequence[Path], references: str | None, measures: Sequence[str]) -> list[Entry]:
    """Return other tools' files, and runs beside them by what they answered, all judged alike."""
    runs = [named_side(path) for path in paths if not os.path.isfile(path)]
    for folder, _ in runs:
        find_run(folder)
    if references is None and not runs:
        raise DataError(
            "What the answers are scored against is not known.",
            where=str(paths[0]),
            hint="Name it with --references: a task file, or rows with ids.",
        )
    task = references_of(references or str(runs[0][0] / "data" / "test.parquet"))
    read = [answers_at(task, path) for path in paths]
    answered = {row for one in read for row in one.texts}
    rows = tuple(row for row in task.rows if row.id in answered)
    found = [entry_of_answers(replace(task, rows=rows), one, measures or MEASURES) for one in read]
    notes = [UNKNOWN]
    if len(rows) < len(task.rows):
        notes.append(f"{counted(len(task.rows) - len(rows), 'row')} that nobody answers are left out.")
    found[0] = replace(found[0], notes=(*notes, *found[0].notes))
    return [
        one if os.path.isfile(path) else _as_run(entry_of(*named_side(path)), one)
        for path, one in zip(paths, found, strict=True)
    ]


def answers_at(task: Task, path: Path) -> Answers:
    """Return a file's answers to a task's rows, or those of RUN or RUN:SYSTEM. Raises DataError, RunError."""
    if os.path.isfile(path):
        return answers_in(task, path)
    folder, system = named_side(path)
    find_run(folder)
    return answers_in(task, folder / "outputs.jsonl", system)


def _as_run(run: Entry, judged: Entry) -> Entry:
    """Return the run with the verdicts of its answers as a file."""
    side = replace(judged.side, name=run.name)
    return replace(run, side=side, measures=judged.measures, texts=judged.texts, notes=judged.notes)
