"""Files that a study derives from a task's: the same rows under other words, or with other answers.

A file lies in a folder that is called by the hash of what it holds, so that a cell's recipe names what it
asks by content, and two cells that ask the same ask the same file. Rows keep their ids and sources: only so
cells pair row by row.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import tomli_w

from espalier.building.faithful import as_written
from espalier.core.errors import DataError
from espalier.core.files import content_hash, jsonl, write_changed
from espalier.core.records import Layout
from espalier.data.mixture import places, read
from espalier.runs.prepare import paths_of
from espalier.tasks.facts import OURS
from espalier.tasks.task_files import load_task
from espalier.tasks.templates import Show, to_examples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from espalier.core.recipe import Recipe
    from espalier.core.records import Example, Task, TaskRow
    from espalier.data.mixture import Place


@dataclass(frozen=True)
class Files:
    """The folder of a study's derived files."""

    folder: Path

    def write(self, name: str, text: str) -> Path:
        """Write a file under the hash of what it holds, and return where it lies."""
        path = self.folder / content_hash([name, text]) / name
        write_changed(path, text.encode())
        return path.resolve()

    def write_task(self, task: Task, stem: str) -> Path:
        """Write a task as a file with its rows beside it, and return where it lies; see `toml_task.py`."""
        rows = jsonl(map(_row, task.rows))
        shown = {
            name: [
                {"input": one.input, "output": one.output, "explanation": one.explanation} for one in found
            ]
            for name, found in (("positive", task.positive), ("negative", task.negative))
        }
        table = {
            "name": task.name,
            "definition": task.definition,
            "rows": f"{stem}.jsonl",
            **{key: list(vars_of(task)[key]) for key in ("cautions", "checks", "categories", "sources")},
            "licence": task.licence,
            **({"layout": asdict(task.layout)} if task.layout != Layout() else {}),
            **{name: found for name, found in shown.items() if found},
        }
        text = tomli_w.dumps(table)
        folder = self.folder / content_hash([text, rows])
        write_changed(folder / f"{stem}.jsonl", rows.encode())
        write_changed(folder / f"{stem}.toml", text.encode())
        return (folder / f"{stem}.toml").resolve()

    def write_rows(self, examples: Sequence[Example], name: str) -> Path:
        """Write rows that are no task's, so that they are read as the same, and return where they lie.

        Raises:
            DataError: another file of rows is called so.
        """
        if "/" in name:
            raise DataError(f"Two files of rows share a name: {name}.", where="task.path", hint="Rename one.")
        tags = [example.origin.get("tags", {}) for example in examples]
        written = as_written(examples, "messages", name, alone=True)
        text = jsonl({**own, **row} for own, row in zip(tags, written, strict=True))
        folder = self.folder / content_hash([name, text])
        write_changed(folder / f"{name}.jsonl", text.encode())
        return (folder / f"{name}.jsonl").resolve()


def vars_of(task: Task) -> dict[str, tuple[str, ...]]:
    """Return the lists of texts that a task has."""
    return {
        "cautions": task.cautions,
        "checks": task.checks,
        "categories": task.categories,
        "sources": task.sources,
    }


def tasks_of(recipe: Recipe, what: str) -> list[tuple[Path, Task]]:
    """Return the tasks of a recipe, each with its file. Raises DataError where rows have no task's words."""
    found: list[tuple[Path, Task]] = []
    for place in places(paths_of(recipe.task), recipe.task.format):
        if not place.is_task:
            raise DataError(
                f"These are no task's words and rows, so {what} cannot be varied.",
                where=str(place.path),
                hint="Name task files, or folders of them, in task.path.",
            )
        found.append((place.path, _task(place, recipe)))
    return found


def _task(place: Place, recipe: Recipe) -> Task:
    """Return a place's task, called as its rows call it: of two that share a name, by more of their paths."""
    task = load_task(place.path, (lambda _: None) if recipe.task.on_bad == "reject" else None)
    return replace(task, name=place.name)


def with_tasks(recipe: Recipe, files: Files, what: str, change: Callable[[Task], Task]) -> Recipe:
    """Return the recipe with each of its tasks changed, in files of the study's own."""
    return _at(recipe, [files.write_task(change(task), path.stem) for path, task in tasks_of(recipe, what)])


def with_rows(
    recipe: Recipe,
    files: Files,
    change: Callable[[Task], Task],
    changed: Callable[[list[Example]], list[Example]],
) -> Recipe:
    """Return the recipe with other rows, in files of the study's own: those of tasks as `change` makes them,
    those of files of rows as `changed` does.
    """
    made: list[Path] = []
    found = places(paths_of(recipe.task), recipe.task.format)
    rows = read(found, recipe.task, (lambda _: None) if recipe.task.on_bad == "reject" else None, _no_note)
    for place, (_, examples) in zip(found, rows, strict=True):
        if place.is_task:
            made.append(files.write_task(change(_task(place, recipe)), place.path.stem))
        else:
            made.append(files.write_rows(changed(examples), place.name))
    return _at(recipe, made)


def _no_note(_: str) -> None:
    pass


def _at(recipe: Recipe, paths: Sequence[Path]) -> Recipe:
    """Return the recipe with other files, which are in our own formats."""
    told = tuple(map(str, paths))
    own = {"path": told[0] if len(told) == 1 else told, "format": "auto", "columns": {}}
    return recipe.model_copy(update={"task": recipe.task.model_copy(update=own)})


def answering(task: Task, outputs: Mapping[str, tuple[str, ...]]) -> Task:
    """Return the task with other outputs for the rows of these example ids, which they keep."""
    examples = to_examples(replace(task, positive=(), negative=()), Show(positive=0, negative=0))
    rows: list[TaskRow] = []
    for row, example in zip(task.rows, examples, strict=True):
        if example.id not in outputs or outputs[example.id] == row.outputs:
            rows.append(row)
            continue
        changed = replace(
            row, outputs=outputs[example.id], tags={k: v for k, v in row.tags.items() if k != OURS}
        )
        (made,) = to_examples(replace(task, rows=(changed,)), Show(positive=0, negative=0))
        said = {"id": [made.id, example.id], "source": example.source, "input": example.input}
        rows.append(replace(changed, tags={**changed.tags, OURS: json.dumps(said, ensure_ascii=False)}))
    return replace(task, rows=tuple(rows))


def _row(row: TaskRow) -> dict[str, object]:
    worse = {"rejected": list(row.rejected)} if row.rejected else {}
    source = {"source": row.source} if row.source else {}
    if not row.outputs:
        return {
            **row.tags,
            "id": row.id,
            "input": row.input,
            "output": list(row.rejected),
            "label": False,
            **source,
        }
    return {**row.tags, "id": row.id, "input": row.input, "output": list(row.outputs), **worse, **source}
