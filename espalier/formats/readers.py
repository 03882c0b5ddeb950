"""Files of rows, whatever they are made of: JSON and JSONL, CSV and TSV, Parquet, Arrow, and folders of them.

What a file is, is told by its first bytes and its content; its name only tells CSV from TSV. Texts may be
packed (gzip, zstd, lz4, bz2, xz). Rows come one after another, in batches from the readers of pyarrow and of
Python; of a JSON list so much as its items need is held.
"""

from __future__ import annotations

import json
import lzma
import zlib
from codecs import BOM_UTF8
from collections.abc import Collection, Iterator
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError, nearest
from espalier.core.files import decoded, parse_items, parse_json, parse_values
from espalier.core.signatures import (
    ARROW,
    HEAD,
    PARQUET,
    STREAM,
    as_text,
    first_bytes,
    opened,
    packing,
)
from espalier.formats.cells import opened_cell, rows_of_cells
from espalier.formats.folders import TABLES, files_of, plain
from espalier.formats.tables import rows_of_table
from espalier.tasks.raw_rows import kind as word

if TYPE_CHECKING:
    from io import TextIOWrapper


BLOCK = 1 << 20  # characters


@dataclass(frozen=True, slots=True)
class Raw:
    """A row as it stands in the file, or why it cannot be read.

    `tabular` says that it comes from a table, where null is what a row does not have.
    """

    where: str
    number: int
    value: object
    error: DataError | None = None
    tabular: bool = False


def rows_of(path: Path, columns: Collection[str] = ()) -> Iterator[Raw]:
    """Yield the rows of a file or of a folder of files, each with its place, and the reason if it is none.

    Where the `columns` that are meant are numbers, and no column is called so, a table's first line is a row.

    Raises:
        DataError: it is missing or empty, or holds no rows; what it is instead is said.
    """
    paths = files_of(path).paths
    number = 0
    for file in paths:
        for raw in _of_file(file, columns):
            number += 1
            yield replace(raw, number=number) if len(paths) > 1 else raw


def _of_file(path: Path, columns: Collection[str]) -> Iterator[Raw]:
    head = first_bytes(path)
    if not head.strip():
        raise DataError("The file is empty.", where=str(path))
    try:
        if packing(head):
            with opened(path) as stream:
                head = stream.read(HEAD)
        if head.startswith((PARQUET, ARROW, STREAM)):
            for number, value in enumerate(rows_of_table(path, head), start=1):
                yield Raw(f"{path}, row {number}", number, value, tabular=True)
        else:
            with opened(path) as stream, as_text(stream, path) as text:
                yield from _of_text(path, text, columns)
    except (EOFError, zlib.error, lzma.LZMAError, OSError) as error:
        raise DataError(f"The file cannot be read to its end: {error}.", where=str(path)) from None


def _of_text(path: Path, stream: TextIOWrapper, columns: Collection[str]) -> Iterator[Raw]:
    name = plain(path)
    text: Iterator[str] = stream
    try:
        if name.suffix.lower() in TABLES:
            first = next(text, "")
            if not _is(first, dict):
                for where, number, value, error in rows_of_cells(path, chain([first], text), columns):
                    yield Raw(where, number, value, error, tabular=True)
                return
            text = chain([first], text)
        begin = next((line for line in text if line.strip()), "")
        if not begin:
            raise DataError("The file is empty.", where=str(path))
        first = begin.lstrip()[0]
        second = next(text, None) if first == "[" else None
        if second is not None:
            text = chain([second], text)
        if first == "[" and not (second and _is(begin, list)):
            yield from _of_list(path, chain([begin], text))
        elif first in "[{" or name.suffix in (".jsonl", ".ndjson"):
            yield from _of_lines(path, begin, text)
        else:
            raise DataError(
                f"The file is neither JSON nor JSONL: it begins with {first!r}.",
                where=str(path),
                hint="Write one row a line, each an object {…}, or all in a list […]; a table's name ends in "
                ".csv or .tsv.",
            )
    except UnicodeDecodeError as error:
        head = first_bytes(path)
        named_text = head.startswith(BOM_UTF8) or packing(head) or name.suffix.lower() in TABLES
        if head >= b"\x80" and not named_text:
            raise DataError(
                f"The file is neither JSON nor JSONL: it begins with the byte 0x{head[:1].hex()}.",
                where=str(path),
                hint="Export it as CSV, JSONL or Parquet from the program that made it.",
            ) from None
        with opened(path) as data:  # again, for the place: the reader only knows that of a part
            decoded(data.read(), path, error.encoding)
        raise


def _of_list(path: Path, text: Iterator[str]) -> Iterator[Raw]:
    try:
        for number, value in enumerate(parse_items(_blocks(text)), start=1):
            yield _raw(f"{path}, row {number}", number, value)
    except ValueError:
        with opened(path) as stream, as_text(stream, path) as whole:  # again, for the line
            try:
                parse_json(whole.read())
            except json.JSONDecodeError as error:
                told, where = f"is not JSON: {error.msg}, column {error.colno}", f"{path}:{error.lineno}"
            except ValueError as error:
                told, where = f"cannot be read as JSON: {error}", str(path)
            else:
                raise
        raise DataError(f"The file {told}.", where=where) from None


def _blocks(lines: Iterator[str]) -> Iterator[str]:
    """Yield lines joined to blocks that are worth a look."""
    held: list[str] = []
    size = 0
    for line in lines:
        held.append(line)
        size += len(line)
        if size >= BLOCK:
            yield "".join(held)
            held, size = [], 0
    yield "".join(held)


def _of_lines(path: Path, begin: str, text: Iterator[str]) -> Iterator[Raw]:
    first = _line(f"{path}:1", 1, begin)
    if first.error:
        # What is no line of JSON may be the first line of an object over several.
        rest = "".join(text)
        try:
            values = list(parse_values(begin + rest))
        except ValueError:
            lines: Iterator[str] = iter(rest.split("\n"))
        else:
            yield from _of_objects(path, values)
            return
    else:
        second = next(text, None)
        if second is None:
            yield from _of_objects(path, [(1, first.value)])
            return
        lines = chain([second], text)
    yield first
    for number, line in enumerate(lines, start=2):
        if line.strip():
            yield _line(f"{path}:{number}", number, line)


def _of_objects(path: Path, values: list[tuple[int, object]]) -> Iterator[Raw]:
    """Yield objects over several lines, or the rows of the only one, where it is a table by columns."""
    rows = by_columns(values[0][1]) if len(values) == 1 else []
    for number, row in enumerate(rows, start=1):
        yield _raw(f"{path}, row {number}", number, row)
    for number, (line, value) in enumerate([] if rows else values, start=1):
        yield _raw(f"{path}:{line}", number, value)


def by_columns(value: object) -> list[dict[str, Any]]:
    """Return the rows of a table that is one object by columns, as pandas and `to_dict` write it; else [].

    A column is {"0": …, "1": …}, or a list of texts, as long as all others.
    """
    columns = cast("dict[str, Any]", value) if isinstance(value, dict) else {}
    lists: list[list[Any]] = []
    for column in columns.values():
        match column:
            case dict() if column and all(str(key).isdigit() for key in cast("dict[str, Any]", column)):
                lists.append([*cast("dict[str, Any]", column).values()])
            case list() if all(isinstance(item, str) for item in cast("list[object]", column)):
                lists.append(cast("list[Any]", column))
            case _:
                return []
    if len({len(column) for column in lists}) != 1 or len(lists) < 2:
        return []
    return [dict(zip(columns, items, strict=True)) for items in zip(*lists, strict=True)]


def _line(where: str, number: int, line: str) -> Raw:
    try:
        return _raw(where, number, parse_json(line))
    except json.JSONDecodeError as error:
        return Raw(where, number, line, DataError(f"The line is not JSON: {error.msg}.", where=where))
    except ValueError as error:
        return Raw(where, number, line, DataError(f"The line cannot be read as JSON: {error}.", where=where))


def _is(line: str, kind: type) -> bool:
    """Tell a line that is an object or a list by itself from any other."""
    try:
        return isinstance(parse_json(line), kind)
    except ValueError:
        return False


def _raw(where: str, number: int, value: object) -> Raw:
    if isinstance(value, dict):
        return Raw(where, number, cast("object", value))
    found = f"Here should be a row, an object {{…}}; it is {word(value)}."
    spoken = isinstance(value, list) and any(isinstance(item, dict) for item in cast("list[object]", value))
    hint = 'Turns are a row so: {"messages": […]}.' if spoken else ""
    return Raw(where, number, cast("object", value), DataError(found, where=where, hint=hint))


def renamed(raws: Iterator[Raw], columns: dict[str, str], where: str) -> Iterator[Raw]:
    """Yield rows with their columns under the names that a format knows: {"prompt": "query"}.

    What a table's cells hold as JSON is opened then, for the name says what it should be.

    Raises:
        DataError: no row has a column that is named.
    """
    missing = set(columns.values())
    seen: set[str] = set()
    for raw in raws:
        if raw.error:  # what is no object is an error
            yield raw
            continue
        value = cast("dict[str, Any]", raw.value)
        if columns:
            missing -= value.keys()
            seen |= value.keys()
            taken = {name: value[column] for name, column in columns.items() if column in value}
            used = {*columns, *columns.values()}
            value = {**{key: item for key, item in value.items() if key not in used}, **taken}
        if raw.tabular:
            value = {name: opened_cell(name, cell, value) for name, cell in value.items()}
        yield replace(raw, value=value)
    if missing:
        first = min(missing)
        raise DataError(
            f"No row has the column '{first}' that task.columns names.",
            where=where,
            hint=nearest(first, seen),
        )
