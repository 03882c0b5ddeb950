"""What predictions are scored against: a task's rows, or any file of rows as a task without words."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from espalier.core.records import Task, TaskRow
from espalier.data.table import is_table, read_examples
from espalier.formats.folders import files_of
from espalier.formats.load import load_rows
from espalier.formats.readers import rows_of
from espalier.tasks.task_files import is_task, load_task, task_path

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from espalier.core.records import Example


def references_of(path: str) -> Task:
    """Return a task, or the rows of a file as one; a run's own table of rows is such a file.

    Rows that have an id of their own keep it.

    Raises:
        DataError: the file cannot be used.
    """
    file = task_path(path)
    if is_task(file):
        return load_task(path)
    examples = _examples(file)
    names = {} if is_table(file) else dict(_own_ids(file))
    rows = [TaskRow(names.get(_place(e), e.id), e.input, e.references, e.source, _facts(e)) for e in examples]
    return Task(file.stem, "", tuple(rows), origin=str(file))


def questions_of(path: str) -> list[str]:
    """Return what each row of `references_of` asks, whole: a task's words, a system turn, earlier turns.

    Raises:
        DataError: the file cannot be used.
    """
    file = task_path(path)
    if is_task(file):
        task = load_task(path)
        return [f"{task.definition}\n\n{row.input}".strip() for row in task.rows]
    prompts = [example.prompt for example in _examples(file)]
    return [
        turns[0].text if len(turns) == 1 else "\n\n".join(f"{one.role}: {one.text}" for one in turns)
        for turns in prompts
    ]


def _examples(file: Path) -> list[Example]:
    return read_examples(file) if is_table(file) else load_rows(file)


def _facts(example: Example) -> dict[str, str]:
    return {"facts": json.dumps(example.facts, ensure_ascii=False)} if example.facts else {}


def _own_ids(file: Path) -> Iterator[tuple[tuple[str, str], str]]:
    """Yield the place of each row that has an id of its own, and that id."""
    for place in files_of(file).paths:
        for raw in rows_of(place):
            match raw.value:
                case {"id": str() | int() as own}:
                    yield (str(place), str(raw.number)), str(own)
                case _:
                    pass


def _place(example: Example) -> tuple[str, str]:
    return str(example.origin.get("file")), str(example.origin.get("row"))
