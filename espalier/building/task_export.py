"""Rows of tasks back into Natural Instructions' files: definition, examples, instances; a file a task.

A row's prompt holds its task's words and the examples that are shown, before "Input: "; they are taken apart
again. As for other formats, each row is made of what is written, and has to be the same, before it goes out.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

from espalier.building.faithful import difference, not_held
from espalier.building.written import Writer, place_of_row, writers
from espalier.core.errors import DataError, RunError
from espalier.core.files import replacing
from espalier.core.records import Demonstration, Task
from espalier.core.text import some
from espalier.tasks.facts import OURS, to_keep
from espalier.tasks.raw_rows import RawRow, is_placeholder, task_rows
from espalier.tasks.templates import Show, available, prompt_parts, to_examples

if TYPE_CHECKING:
    from collections.abc import Iterable

    from espalier.core.records import Example

TASKS = "natural-instructions"
ENDS = (".json", "")
_SHOWN = re.compile(r"\n\n(Good|Bad) example\nInput: ")
_FILE = re.compile(r"[^\w.-]+")


@dataclass(frozen=True, slots=True)
class _Part:
    """A task, with the lines of its instances so far."""

    task: Task
    lines: Path


@writers.register(TASKS)
def natural_instructions() -> Writer:
    """Super-NaturalInstructions' task files (arXiv 2204.07705), a file a task."""
    return _instance


def export_tasks(examples: Iterable[Example], path: Path) -> None:
    """Write rows into a task file, or into a folder of them where the path has no ending.

    Raises:
        DataError: a row is not asked as those of a task are, or as the others of its task; or a file shall
            hold several tasks.
        RunError: the folder holds other files, or cannot be written.
    """
    parts: dict[str, _Part] = {}
    with TemporaryDirectory() as folder:
        for example in examples:
            task = _task(example)
            part = parts.setdefault(example.task, _Part(task, Path(folder) / str(len(parts))))
            if part.task.definition != task.definition or prompt_parts(part.task, Show()) != prompt_parts(
                task, Show()
            ):
                raise not_held(example, "other rows of its task are asked under other words")
            with part.lines.open("a", encoding="utf-8") as lines:
                lines.write(json.dumps(_checked(example, task), ensure_ascii=False) + "\n")
        if path.suffix and len(parts) != 1:
            raise DataError(
                f"The rows are of {len(parts)} tasks ({some(list(parts), 3)}), and a file holds one.",
                where=str(path),
                hint="Name a folder, a path without an ending.",
            )
        for file, part in zip(_files(path, list(parts)), parts.values(), strict=True):
            with replacing(file) as new:
                _write(new, part, file.stem)


def _files(path: Path, names: list[str]) -> list[Path]:
    if path.suffix:
        return [path]
    stems: list[str] = []
    for name in names:
        plain = _FILE.sub("_", name).strip(".")[:100] or "task"
        taken = sum(stem.lower().startswith(plain.lower()) for stem in stems)
        stems.append(f"{plain}-{taken + 1}" if taken else plain)
    files = [path / f"{stem}.json" for stem in stems]
    others = [file.name for file in path.glob("*.json") if file not in files]
    if others:
        raise RunError(
            f"The folder holds other tasks: {some(others, 3)}.",
            where=str(path),
            hint="Name another, or move them.",
        )
    return files


def _write(file: Path, part: _Part, stem: str) -> None:
    shown = {"Positive Examples": part.task.positive, "Negative Examples": part.task.negative}
    head = {
        **({"Name": part.task.name} if part.task.name != stem else {}),
        "Definition": [part.task.definition],
        **{
            key: [{"input": one.input, "output": one.output, "explanation": "-"} for one in found]
            for key, found in shown.items()
        },
    }
    with file.open("w", encoding="utf-8") as out, part.lines.open(encoding="utf-8") as lines:
        out.write(json.dumps(head, ensure_ascii=False, indent=1).removesuffix("\n}"))
        out.write(',\n "Instances": [')
        for number, line in enumerate(lines):
            out.write((",\n" if number else "\n") + line.rstrip("\n"))
        out.write("\n]}\n")


def _task(example: Example) -> Task:
    """Return the task of a row, without rows, whose words and examples are those that the row shows."""
    (asked, *more), end = example.prompt, f"\n\nInput: {example.input}"
    if example.media:
        raise not_held(example, "a task's file has no pictures and sounds")
    if more or asked.role != "user" or not asked.text.endswith(end):
        raise DataError(
            f"The row does not begin with the definition of a task, which '{TASKS}' has.",
            where=place_of_row(example),
            hint="'messages' can hold it.",
        )
    words = asked.text.removesuffix(end)
    definition, *shown = _SHOWN.split(words)
    good, bad = (
        tuple(
            Demonstration(asked, told)
            for asked, told in (
                said.split("\nOutput: ", 1)
                for word, said in zip(shown[::2], shown[1::2], strict=True)
                if word == kind and "\nOutput: " in said
            )
        )
        for kind in ("Good", "Bad")
    )
    made = Task(example.task, definition, (), good, bad)
    if prompt_parts(made, Show()) == f"{words}\n\n" and _is_read(definition):
        return made
    if not _is_read(words):
        raise not_held(example, "its task has no definition, or one with space around it")
    return Task(example.task, words, ())


def _is_read(definition: str) -> bool:
    return definition == definition.strip() and not is_placeholder(definition)


def _instance(example: Example) -> dict[str, Any]:
    worse = [turn.text for turn in example.rejected]
    if not example.references:
        return {"id": example.id, "input": example.input, "output": worse, "label": False}
    told = {"id": example.id, "input": example.input, "output": list(example.references)}
    return {**told, **({"rejected": worse} if worse else {})}


def _checked(example: Example, task: Task) -> dict[str, Any]:
    """Return an instance of which the row is made again. Raises DataError where it is not."""
    row = {**_instance(example), **({"facts": dict(example.facts)} if example.facts else {})}
    try:
        whole = replace(task, rows=task_rows([RawRow("", example.id, row)], None, ""))
        (made,) = to_examples(whole, available(whole, Show()))
    except DataError as error:
        raise not_held(example, error.message.rstrip(".")) from None
    if name := difference(made, example):
        raise not_held(example, f"its {name} would be others")
    said = to_keep(made, example)
    return {**row, OURS: said} if said else row
