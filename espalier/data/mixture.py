"""What a run is made of: tasks, files of rows, or both, read one after another.

A task puts its own words before its rows. A file of rows has none, and its rows call their task what the file
is called. Each part has a name of its own: those that share one are told apart by where they lie.
"""

from __future__ import annotations

import os
from dataclasses import asdict, dataclass, replace
from glob import glob
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError
from espalier.core.files import content_hash
from espalier.core.recipe_paths import is_pattern
from espalier.core.records import Layout, Task, TaskRow
from espalier.core.text import counted, some
from espalier.formats.folders import files_of, is_rows, is_split, name_of, not_read, within
from espalier.formats.format import fields_of
from espalier.formats.hub import fetch_rows, is_hub_name
from espalier.formats.load import has_columns, load_rows
from espalier.formats.placing import Access
from espalier.tasks.once import once
from espalier.tasks.task_files import (
    is_task,
    load_task,
    name_and_files,
    task_path,
    tasks_among,
    tasks_in,
)
from espalier.tasks.templates import Show, available, to_examples

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping, Sequence

    from espalier.core.recipe import TaskSection
    from espalier.core.records import Example
    from espalier.tasks.raw_rows import OnReject

LISTS = ("positive", "negative", "cautions", "checks", "categories", "sources")  # of a task


@dataclass(frozen=True, slots=True)
class Place:
    """Where a task or rows lie, in which files; `name` is what their examples call their task."""

    name: str
    path: Path
    files: tuple[Path, ...]
    is_task: bool


@dataclass(frozen=True, slots=True)
class Part:
    """One of the tasks or files of rows that a run is made of.

    Attributes:
        place: where it lies.
        hash: of what it says and asks, wherever it lies.
        task: its words, without its rows, which are the examples; None where it has no words.
        shown: what its prompts really show of them.
    """

    place: Place
    hash: str
    task: Task | None
    shown: Show

    @property
    def name(self) -> str:
        """What its examples call their task."""
        return self.place.name

    @property
    def checks(self) -> tuple[str, ...]:
        """Names of the checks that judge its answers."""
        return self.task.checks if self.task else ()

    @property
    def worked(self) -> list[str]:
        """The answers of the worked examples that its prompts show."""
        positive, negative = (self.task.positive, self.task.negative) if self.task else ((), ())
        return [e.output for e in (*positive[: self.shown.positive], *negative[: self.shown.negative])]


def places(
    paths: Sequence[str], format: str, on_note: Callable[[str], object] = lambda _: None
) -> list[Place]:
    """Return where the tasks and rows lie that the paths name; a folder of task files, or a pattern, is all
    of these.

    Args:
        paths: as in the recipe.
        format: a format that is named is that of rows, whatever the one path looks like.
        on_note: takes a sentence on files of a folder that are left out.

    Raises:
        DataError: one cannot be found or read, or is there twice; each is named.
    """
    found: list[Place] = []
    failed: list[DataError] = []
    for path in paths:
        try:
            if is_pattern(path):
                found += _matching(path, on_note)
            else:
                found += _places(place_of(path), format == "auto" or len(paths) > 1, on_note)
        except DataError as error:
            failed.append(error)
    _raise_all(failed, len(paths))
    seen: dict[str, Path] = {}
    for place in found:
        first = seen.setdefault(os.path.realpath(place.path), place.path)
        if first is not place.path:
            also = f", as {first} too" if first != place.path else ""
            raise DataError(
                f"The task is there twice{also}.",
                where=str(place.path),
                hint="Leave it out of task.path once.",
            )
    return _told_apart(found)


def read(
    found: Sequence[Place],
    section: TaskSection,
    on_reject: OnReject | None,
    on_note: Callable[[str], object],
) -> Iterator[tuple[Part, list[Example]]]:
    """Yield each part with its examples, one after another: all of them may be more than memory holds.

    Raises:
        DataError: at the end, those that cannot be read; or no file has a column that is named.
    """
    failed: list[DataError] = []
    columns = [section.columns for _ in found]
    if len(found) > 1 and section.columns:  # each file has its own
        columns = [section.columns if has_columns(place.path, section.columns) else {} for place in found]
        if not any(columns):
            raise DataError(
                f"No file has one of the columns {', '.join(section.columns.values())}.", where="task.columns"
            )
    for place, own in zip(found, columns, strict=True):
        try:
            yield _once(place, section, own, on_reject, on_note)
        except DataError as error:
            failed.append(error)
    _raise_all(failed, len(found))


def place_of(path: str) -> Path:
    """Return where a task or rows lie: a file, a folder, FOLDER:SPLIT, a bundled task, a data set of the hub.

    Raises:
        DataError: it is none of these.
    """
    if os.path.exists(path) or not (is_split(path) or is_hub_name(path)):
        return task_path(path)
    return Path(path) if is_split(path) else fetch_rows(path)


def show(section: TaskSection) -> Show:
    """Return the parts of the task that the recipe wants shown."""
    return Show(
        definition=section.definition,
        cautions=section.cautions,
        positive=section.positive,
        negative=section.negative,
        explanations=section.explanations,
    )


def _matching(pattern: str, on_note: Callable[[str], object]) -> list[Place]:
    """Return the tasks and files of rows that match a pattern; a folder that does is as one that is named.

    Raises:
        DataError: none does.
    """
    matched = [Path(file) for file in sorted(glob(pattern, recursive=True))]
    folders = [path for path in matched if path.is_dir() and "**" not in pattern]
    files = [path for path in matched if path.is_file()]
    tasks = tasks_among(files)
    taken = {file.resolve() for parts in tasks.values() for file in parts}
    rows = [file for file in files if file.resolve() not in taken and is_rows(file)]
    found = [Place(name_and_files(file)[0], file, parts, True) for file, parts in tasks.items()]
    found += [Place(name_of(file), file, (file,), False) for file in rows]
    found += [place for folder in folders for place in _places(folder, True, on_note)]
    left = [file for file in files if file.resolve() not in taken and file not in rows]
    if not found:
        many = f"Of {counted(len(files), 'file')} that match, none is a task or holds rows."
        raise DataError(many if files else "No file matches.", where=pattern, hint=_beside(pattern))
    if left:
        on_note(f"{pattern}: not read: {some([file.name for file in left], 5)}.")
    return found


def _beside(pattern: str) -> str:
    """Return in a sentence what there is where a pattern matches nothing."""
    folder = Path(pattern).parent
    if is_pattern(str(folder)):
        return "Relative paths are meant from the recipe's folder."
    if not folder.is_dir():
        return f"There is no folder {folder}."
    names = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    return f"In {folder} there is {some(names, 5)}." if names else f"{folder} is empty."


def _places(place: Path, may_be_task: bool, on_note: Callable[[str], object]) -> list[Place]:
    if may_be_task and place.is_dir() and (tasks := tasks_in(place)):
        named, others = within(place)
        taken = {file.resolve() for files in tasks.values() for file in files}
        rows = [place / file for file in named if (place / file).resolve() not in taken]
        left = [str(file) for file in others if (place / file).resolve() not in taken]
        if note := not_read(place, left):
            on_note(note)
        made = [Place(name_and_files(file)[0], file, files, True) for file, files in tasks.items()]
        return [*made, *(Place(name_of(file), file, (file,), False) for file in rows)]
    if may_be_task and place.exists() and is_task(place):
        name, files = name_and_files(place)
        return [Place(name, place, files, True)]
    return [Place(name_of(place), place, files_of(place).paths, False)]


def _told_apart(found: Sequence[Place]) -> list[Place]:
    """Return the places; of those that share a name, each with as much of its path as no other has."""
    groups: dict[str, list[Place]] = {}
    for place in found:
        groups.setdefault(place.name, []).append(place)
    made: list[Place] = []
    for place in found:
        others = [other.path for other in groups[place.name] if other is not place]
        depths = range(1, len(place.path.parts) + 1)
        own = place.path.parts
        depth = next((n for n in depths if all(own[-n:] != other.parts[-n:] for other in others)), len(own))
        name = f"{place.name} ({'/'.join(own[-depth:])})" if others else place.name
        made.append(replace(place, name=name))
    return made


def _once(
    place: Place,
    section: TaskSection,
    columns: Mapping[str, str],
    on_reject: OnReject | None,
    on_note: Callable[[str], object],
) -> tuple[Part, list[Example]]:
    """Return a part with its examples, and tell what is left out; see `tasks/once.py`."""

    def from_file() -> tuple[Part, list[Example], list[dict[str, Any]], list[str]]:
        left: list[dict[str, Any]] = []
        notes: list[str] = []
        leave = left.append if on_reject else None
        if place.is_task:
            return *_task(place, section, leave), left, notes
        return *_rows(place, section, columns, leave, notes.append), left, notes

    rows = (section.format, str(columns), section.media, section.fetch)
    told = show(section) if place.is_task else rows
    key = ("rows", place, told, on_reject is None)
    part, examples, left, notes = once(key, from_file, lambda made: len(made[1]))
    for row in left:
        assert on_reject is not None
        on_reject(row)
    for note in notes:
        on_note(note)
    return part, [*examples]


def _raise_all(failed: Sequence[DataError], count: int) -> None:
    """Raise the error that there is, or one with a sentence for each. Raises DataError."""
    if len(failed) == 1:
        raise failed[0]
    if failed:
        raise DataError(
            f"{len(failed)} of the {count} tasks cannot be read.\n"
            + "\n".join(f"  {error.where}: {error.message}" for error in failed),
            where="task.path",
        )


def _task(place: Place, section: TaskSection, on_reject: OnReject | None) -> tuple[Part, list[Example]]:
    task = replace(load_task(place.path, on_reject), name=place.name)
    shown = available(task, show(section))
    content = asdict(replace(task, origin=""))
    if task.layout == Layout():  # as it was hashed before there were others
        del content["layout"]
    return Part(place, content_hash(content), replace(task, rows=()), shown), to_examples(task, shown)


def _rows(
    place: Place,
    section: TaskSection,
    columns: Mapping[str, str],
    on_reject: OnReject | None,
    on_note: Callable[[str], object],
) -> tuple[Part, list[Example]]:
    media = Access(section.media, section.fetch)
    examples = load_rows(
        place.path, section.format, on_reject, on_note, columns, name=place.name, media=media
    )
    return Part(place, _rows_hash(place.name, examples), None, Show(positive=0, negative=0)), examples


def _rows_hash(name: str, examples: Sequence[Example]) -> str:
    """Return the hash of rows as earlier versions wrote it down, which took them for a task without words."""
    rows = [fields_of(_row(example)) for example in examples]
    empty: dict[str, object] = dict.fromkeys(LISTS, ())
    words = {"name": name, "definition": "", "licence": "Unknown", "origin": "", **empty}
    return content_hash({**words, "rows": rows})


def _row(example: Example) -> TaskRow:
    worse = tuple(turn.text for turn in example.rejected)
    return TaskRow(example.id, example.input, example.references, example.source, rejected=worse)
