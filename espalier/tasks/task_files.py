"""Task files of every format, and the bundled tasks by name: the format is told from the content."""

from __future__ import annotations

import codecs
import json
import os
import re
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError, nearest
from espalier.core.files import parse_json, read_text
from espalier.core.signatures import first_bytes
from espalier.tasks.natural_instructions import load_natural_instructions
from espalier.tasks.once import once
from espalier.tasks.toml_task import NOT_TOML, load_toml_task, toml_parts

if TYPE_CHECKING:
    from collections.abc import Iterable

    from espalier.core.records import Task
    from espalier.tasks.raw_rows import OnReject

# Name in a recipe → file in the package's folder `bundled`.
BUNDLED = {
    "event-duration": "event_duration.toml",
    "duration-pairs": "duration_pairs.toml",
    "duration-thumbs": "duration_thumbs.toml",
    "duration-judged": "duration_judged.toml",
    "conversations": "conversations.jsonl",
}
# Names that tell a file of rows, or one that is packed.
ROWS = {*(".jsonl", ".ndjson", ".csv", ".tsv", ".tab", ".parquet", ".arrow", ".feather"), *(".gz", ".zst"),
        *(".zstd", ".bz2", ".xz")}  # fmt: skip


def load_task(path: str | Path, on_reject: OnReject | None = None) -> Task:
    """Return a bundled task by its name, or the task of a TOML file or of a Natural Instructions v1 or v2
    file.

    Args:
        path: a bundled task's name, or a file. A file that exists goes before a bundled task of that name.
        on_reject: takes each row that cannot be used, as {"where", "reason", "row"}; without it such a row is
            an error.

    Raises:
        DataError: the file is missing, not UTF-8, not of a known format, or has no usable row; the place is
        named.
    """
    file = task_path(path)

    def read() -> tuple[Task, list[dict[str, Any]]]:
        left: list[dict[str, Any]] = []
        return _load(file, left.append if on_reject else None), left

    task, left = once(("task", file, on_reject is None), read, lambda made: len(made[0].rows))
    for row in left:
        assert on_reject is not None
        on_reject(row)
    return task


def _load(file: Path, on_reject: OnReject | None) -> Task:
    """Return the task of a file; see `load_task`."""
    text = read_text(file)
    if not text.strip():
        raise DataError("The file is empty.", where=str(file))
    if file.suffix == ".jsonl":
        raise DataError(
            "A JSONL file holds rows only, without a definition.",
            where=str(file),
            hint='Write a TOML file with name, definition and rows = "' + file.name + '" beside it.',
        )
    # Content decides, for TOML cannot begin with "{"; but both may begin with "[", and then the suffix does.
    if text.lstrip()[0] == "{" or file.suffix == ".json":
        return load_natural_instructions(file, on_reject)
    try:
        return load_toml_task(file, on_reject)
    except DataError as error:
        if file.suffix == ".toml" or not error.message.startswith(NOT_TOML):
            raise
        raise DataError(
            "The file is a text that holds neither rows nor a task.",
            where=str(file),
            hint="Rows are JSON, JSONL, Parquet or a table (.csv, .tsv); a task is .json or .toml.",
        ) from None


def name_and_files(file: Path) -> tuple[str, tuple[Path, ...]]:
    """Return what the task of a file is called, and the files that it is made of.

    Of one that cannot be read it is the file's own name: whoever loads it says why.
    """
    try:
        if file.suffix == ".json" or read_text(file).lstrip().startswith("{"):
            return file.stem, (file,)
        table, others = toml_parts(file)
    except DataError:
        return file.stem, (file,)
    return str(table.get("name", file.stem)), (file, *others)


def tasks_in(folder: Path) -> dict[Path, tuple[Path, ...]]:
    """Return the task files of a folder in the order of their names; see `tasks_among`."""
    files = sorted(folder.rglob("*"))
    hidden = (any(part.startswith((".", "_")) for part in file.relative_to(folder).parts) for file in files)
    return tasks_among([file for file, is_hidden in zip(files, hidden, strict=True) if not is_hidden])


def tasks_among(files: Iterable[Path]) -> dict[Path, tuple[Path, ...]]:
    """Return those of the files that are tasks, each with all files that it is made of.

    A TOML file that defines nothing, such as a project's, is none; one that cannot be read is, so that
    whoever loads it says why.
    """
    found: dict[Path, tuple[Path, ...]] = {}
    for file in files:
        if file.suffix not in (".json", ".toml") or not (file.is_file() and is_task(file)):
            continue
        try:
            table, others = toml_parts(file) if file.suffix == ".toml" else ({"definition": ""}, ())
        except DataError:
            table, others = {"definition": ""}, ()
        if {"definition", "like"} & table.keys():
            found[file] = (file, *others)
    return found


def is_task(file: Path) -> bool:
    """Tell a task's file from a file of rows: TOML, or one JSON object with what it asks.

    Raises:
        DataError: the file is missing or not UTF-8.
    """
    if file.is_dir() or file.suffix.lower() in ROWS or not (file.suffix == ".toml" or _is_text(file)):
        return False
    if file.suffix == ".json" and file.is_file() and _begins_list(file):
        return False  # rows, which need not be read for that
    text = read_text(file).lstrip()
    if not text.startswith(("{", "[")):
        return True
    if text[0] == "[":  # a table's head in TOML, a list in JSON
        return file.suffix != ".json" and not re.match(r"\[\s*[{\]]", text)
    try:
        keys: Any = parse_json(text)
    except json.JSONDecodeError:
        return not _is_json(text.split("\n", 1)[0])
    except ValueError:  # whoever reads the rows says what it holds
        return False
    return any(key.lower() == "definition" or key == "Instances" for key in keys)


def _begins_list(file: Path) -> bool:
    return first_bytes(file).removeprefix(codecs.BOM_UTF8).lstrip().startswith(b"[")


def _is_text(file: Path) -> bool:
    """Tell whether a file begins as text in UTF-8; what else it is, the readers of rows tell."""
    try:
        with file.open("rb") as stream:
            begin = stream.read(4096)
    except OSError:
        return True  # whoever reads it says why it cannot be
    if begin.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return True
    try:
        return "\x00" not in begin.decode()
    except UnicodeDecodeError as error:
        return error.start > len(begin) - 4  # a character that the end cuts


def _is_json(text: str) -> bool:
    try:
        parse_json(text)
    except json.JSONDecodeError:
        return False
    except ValueError:  # it is, and nobody could use it
        return True
    return True


def task_path(path: str | Path) -> Path:
    """Return the file of a task: the path itself, or a bundled task's file in the package.

    Raises:
        DataError: neither exists; the nearest file and the bundled names are given.
    """
    file = Path(path)
    # A folder of that name, such as the run's own, is not in a bundled task's way.
    if os.path.isfile(file) or (os.path.exists(file) and str(path) not in BUNDLED):
        return file
    if str(path) in BUNDLED:
        return Path(str(files("espalier.tasks") / "bundled" / BUNDLED[str(path)]))
    beside = [entry.name for entry in file.parent.iterdir()] if file.parent.is_dir() else []
    ends = (".json", ".toml", *ROWS)
    tasks = [name for name in beside if name.endswith(ends) and name != "pyproject.toml"][:20]
    raise DataError(
        "There is no such task file.", where=str(file), hint=nearest(file.name, [*tasks, *BUNDLED])
    )
