"""Our own task files: a TOML file that says what is asked, and a JSONL file of rows beside it.

    name = "event-duration"
    definition = "…"
    cautions = ["…"]                       # what to avoid; checks are the same as code
    checks = ["asks_duration", "grounded"]
    licence = "Apache-2.0"
    rows = "event_duration.jsonl"          # relative to this file
    [[positive]]                           # and [[negative]]: input, output, explanation
    input = "…"
    output = "…"

Each line of the rows is `{"input", "output"}`, the output a text or a list of accepted ones; `id` and
`source` are optional, and any other key is a tag (a text), for instance `domain`. For preferences a line has
`rejected` (a text or a list of worse ones) too, or a `label`: false says that the output was turned down.

`[layout]` says what stands before an input and an answer, what between blocks, and where the definition is;
see `Layout`.

`like = "event_duration.toml"` takes every key that this file does not have from that file: the same task with
other rows.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, ValidationError

from espalier.core.errors import DataError, nearest
from espalier.core.files import parse_toml, read_jsonl, read_text
from espalier.core.records import Layout, Task
from espalier.tasks.checks import checks, set_checks
from espalier.tasks.raw_rows import OnReject, RawRow, demonstration, task_rows

if TYPE_CHECKING:
    from pathlib import Path

    from espalier.core.records import Demonstration


NOT_TOML = "The file is not TOML"


class _Shown(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    input: str
    output: str
    explanation: str = ""


class _Laid(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    input: str = Layout().input
    output: str = Layout().output
    good: str = Layout().good
    bad: str = Layout().bad
    between: str = Layout().between
    mark: str = Layout().mark
    last: bool = False


class _TaskFile(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")
    name: str
    definition: str
    rows: str
    like: str = ""
    cautions: tuple[str, ...] = ()
    checks: tuple[str, ...] = ()
    categories: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    licence: str = "Unknown"
    positive: tuple[_Shown, ...] = ()
    negative: tuple[_Shown, ...] = ()
    layout: _Laid = _Laid()


def load_toml_task(path: Path, on_reject: OnReject | None = None) -> Task:
    """Return the task of a TOML file.

    Raises:
        DataError: not TOML (line and column), an unknown, missing or ill-typed key, an unknown check, no rows
            file; or a bad row, unless `on_reject` takes it.
    """
    where = str(path)
    table, _ = toml_parts(path)
    try:
        file = _TaskFile.model_validate(table)
    except ValidationError as error:
        raise _as_data_error(error, where) from None
    if not file.definition.strip():
        raise DataError("The task's definition is empty.", where=where)
    known = [*checks.names(), *set_checks.names()]
    for name in file.checks:
        if name not in known:
            raise DataError(
                f"No check is named '{name}'.", where=f"{where}, checks", hint=nearest(name, known)
            )
    rows_path = path.parent / file.rows
    raw = (
        RawRow(f"{rows_path}:{number}", f"{file.name}-{number}", row) for number, row in read_jsonl(rows_path)
    )
    return Task(
        name=file.name,
        definition=file.definition.strip(),
        rows=task_rows(raw, on_reject, str(rows_path)),
        positive=_demonstrations(file.positive, f"{where}, positive"),
        negative=_demonstrations(file.negative, f"{where}, negative"),
        cautions=file.cautions,
        checks=file.checks,
        categories=file.categories,
        sources=file.sources,
        licence=file.licence,
        origin=where,
        layout=Layout(**file.layout.model_dump()),
    )


def toml_parts(path: Path) -> tuple[dict[str, Any], tuple[Path, ...]]:
    """Return what a TOML file says with what it takes from another, and the other files that it names.

    Raises:
        DataError: a file is missing, not UTF-8 or not TOML.
    """
    table = _toml(path)
    if "like" in table:
        table = {**_toml(path.parent / str(table["like"])), **table}
    return table, tuple(path.parent / str(table[key]) for key in ("like", "rows") if key in table)


def _toml(path: Path) -> dict[str, Any]:
    try:
        return parse_toml(read_text(path))
    except ValueError as error:
        raise DataError(f"{NOT_TOML}: {error}.", where=str(path)) from None


def _demonstrations(shown: tuple[_Shown, ...], where: str) -> tuple[Demonstration, ...]:
    bad = where.endswith("negative")
    return tuple(
        demonstration(item.model_dump(), f"{where} {index}", bad=bad) for index, item in enumerate(shown)
    )


def _as_data_error(error: ValidationError, where: str) -> DataError:
    """Return the first problem as one sentence: the key with its place, and the nearest known key."""
    # A misspelt key is unknown and missing at once; the unknown one tells more.
    first = min(error.errors(), key=lambda item: item["type"] != "extra_forbidden")
    *parents, key = [str(step) for step in first["loc"]]
    place = ", ".join([where, " ".join(parents)] if parents else [where])
    if first["type"] == "extra_forbidden":
        inner = _Laid if parents[:1] == ["layout"] else _Shown
        known = inner.model_fields if parents else _TaskFile.model_fields
        return DataError(f"A task file has no key '{key}' here.", where=place, hint=nearest(key, known))
    if first["type"] == "missing":
        return DataError(f"The key '{key}' is required and missing.", where=place)
    message = first["msg"][0].lower() + first["msg"][1:]
    return DataError(f"'{key}' is {first['input']!r}, which does not fit: {message}.", where=place)
