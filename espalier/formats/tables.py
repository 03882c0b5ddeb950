"""Tables of Arrow, Parquet and files of Arrow itself: their rows as JSON would have them.

A null inside a table only says that another row has something there, so it is left out; what a column holds
as JSON (`arrow.json`) keeps its nulls. The names of a data set's labels stand in its schema, and are what the
label says. What JSON has no word for (dates, decimals) becomes a text; so do bytes that are one, as some
programs write texts. Others, and those that a struct calls `bytes`, stay as they are: a picture or a sound.
"""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Callable, Generator, Iterator, Mapping
from contextlib import contextmanager
from datetime import date, time
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from espalier.core.errors import DataError
from espalier.core.signatures import ARROW, HEAD, PARQUET, opened, packing

if TYPE_CHECKING:
    from typing import BinaryIO

Plain: TypeAlias = Callable[[Any], Any]
BATCH = 1000  # rows held at once


def rows_of_table(path: Path, head: bytes) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table.

    Args:
        path: the file, packed or not.
        head: its first bytes, unpacked, which tell Parquet from Arrow, and a file from a stream.

    Raises:
        DataError: the table is damaged or cut off.
    """
    arrow = cast("Any", import_module("pyarrow"))
    try:
        with _seekable(path) as source:
            names: Mapping[str, list[str]] | None = None
            for batch in _batches(source, head):
                names = _label_names(batch.schema) if names is None else names
                columns = {field.name: _plain(field.type, names.get(field.name)) for field in batch.schema}
                for start in range(0, batch.num_rows, BATCH):
                    for row in batch.slice(start, BATCH).to_pylist():
                        yield {name: columns[name](item) for name, item in row.items()}
    except (arrow.ArrowInvalid, arrow.ArrowNotImplementedError) as error:
        raise DataError(
            f"The table is damaged or cut off: {str(error).strip().rstrip('.')}.",
            where=str(path),
            hint="Fetch or write it again.",
        ) from None


@contextmanager
def _seekable(path: Path) -> Generator[BinaryIO]:
    """Open a file in which one can go back and forth, which a packed one is only once it is unpacked."""
    with path.open("rb") as file:
        if packing(file.peek(HEAD)) == "":
            yield file
            return
    with opened(path) as packed, tempfile.TemporaryFile() as plain:
        while part := packed.read(1 << 20):
            plain.write(part)
        plain.seek(0)
        yield cast("BinaryIO", plain)


def _batches(source: BinaryIO, head: bytes) -> Iterator[Any]:
    if head.startswith(PARQUET):
        with cast("Any", import_module("pyarrow.parquet")).ParquetFile(source) as file:
            yield from file.iter_batches(batch_size=BATCH)
        return
    ipc: Any = import_module("pyarrow.ipc")
    if head.startswith(ARROW):
        reader = ipc.open_file(source)
        yield from (reader.get_batch(number) for number in range(reader.num_record_batches))
    else:
        yield from ipc.open_stream(source)


def _label_names(schema: Any) -> Mapping[str, list[str]]:
    """Return the names of each column's labels, as `datasets` writes them into a schema."""
    try:
        features: dict[str, Any] = json.loads(schema.metadata[b"huggingface"])["info"]["features"]
        return {name: item["names"] for name, item in features.items() if _is_label(item)}
    except (KeyError, TypeError, ValueError):
        return {}


def _is_label(feature: Any) -> bool:
    return isinstance(feature, dict) and cast("dict[str, Any]", feature).get("_type") == "ClassLabel"


def _plain(kind: Any, labels: list[str] | None = None) -> Plain:
    """Return the function that makes a column's values what JSON would have."""
    types = cast("Any", import_module("pyarrow.types"))
    if labels:
        return lambda item: labels[item] if isinstance(item, int) and 0 <= item < len(labels) else None
    if kind.__class__.__name__ == "JsonType":
        return lambda item: None if item is None else json.loads(item)
    if types.is_struct(kind):
        fields = {field.name: _plain(field.type) for field in kind}
        return lambda item: None if item is None else _turns(_struct(item, fields))
    if types.is_map(kind):
        inner = _plain(kind.item_type)
        return lambda item: None if item is None else {str(key): inner(value) for key, value in item}
    if types.is_list(kind) or types.is_large_list(kind) or types.is_fixed_size_list(kind):
        inner = _plain(kind.value_type)
        return lambda item: None if item is None else [inner(part) for part in item]
    if types.is_dictionary(kind):
        return _plain(kind.value_type)
    return _scalar


def _struct(item: Mapping[str, Any], fields: Mapping[str, Plain]) -> dict[str, Any]:
    made = {
        name: value if isinstance(value, bytes) and name == "bytes" else fields[name](value)
        for name, value in item.items()
    }
    return {name: value for name, value in made.items() if value is not None}


def _turns(item: dict[str, Any]) -> object:
    """Return a list of turns where a struct holds theirs by column, as `datasets` once kept lists."""
    columns = [cast("list[Any]", value) for value in item.values() if isinstance(value, list)]
    speaks = {"role", "content"} <= item.keys() or {"from", "value"} <= item.keys()
    if not speaks or len(columns) != len(item) or len({len(column) for column in columns}) != 1:
        return item
    return [dict(zip(item, values, strict=True)) for values in zip(*columns, strict=True)]


def _scalar(item: Any) -> Any:
    match item:
        case None | bool() | int() | str():
            return item
        case float():
            return None if math.isnan(item) else item
        case bytes():
            try:
                return item.decode()
            except UnicodeDecodeError:
                return item
        case date() | time():
            return item.isoformat()
        case _:
            return str(item)
