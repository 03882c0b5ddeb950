"""Examples as one Parquet table, readable by any tool and read back as they were.

Columns: id, task, source, input, messages (role, trained, parts), references, rejected (turns), origin
(JSON), and facts (JSON) where a row has any. A part is (type, text, uri, sha256, name): `type` is text,
image, audio, tool_call or tools, and what a type does not use is null. Rows that were left out are no part of
the table; they go to the run's `rejects.jsonl` (`core/run.py`).
"""

from __future__ import annotations

import json
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError
from espalier.core.records import Example, Media, Message, Part, Text, Thought, ToolCall, ToolList, message

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

FACTS = "facts"


def as_parquet(examples: Sequence[Example]) -> bytes:
    """Return the examples as a Parquet file holds them; the same examples are the same bytes."""
    pa, pq = _pyarrow()
    rows = [_to_row(example) for example in examples]
    if any(example.facts for example in examples):
        rows = [{**row, FACTS: _json(e.facts)} for row, e in zip(rows, examples, strict=True)]
    schema = _schema(pa) if rows and FACTS in rows[0] else _schema(pa, facts=False)
    table = pa.Table.from_pylist(rows, schema=schema)
    sink = pa.BufferOutputStream()
    pq.write_table(table, sink, compression="zstd")
    return sink.getvalue().to_pybytes()


def is_table(path: Path) -> bool:
    """Tell a table that `write_examples` wrote from any other file."""
    if path.suffix != ".parquet" or not path.is_file():
        return False
    pa, pq = _pyarrow()
    try:
        return pq.read_schema(path).names in _columns(pa)
    except (pa.ArrowInvalid, OSError):
        return False


def read_examples(path: Path) -> list[Example]:
    """Return the examples of a table that holds what `as_parquet` returned.

    Raises:
        DataError: no such file, not Parquet, or other columns.
    """
    pa, pq = _pyarrow()
    try:
        table = pq.read_table(path)
    except FileNotFoundError:
        raise DataError("There is no such file.", where=str(path)) from None
    except (pa.ArrowException, OSError) as error:
        raise DataError(f"The file is not a Parquet table: {error}.", where=str(path)) from None
    if table.schema.names not in (known := _columns(pa)):
        raise DataError(
            f"The table has the columns {', '.join(table.schema.names)}; expected {', '.join(known[0])}.",
            where=str(path),
        )
    return [_from_row(row) for row in cast("list[dict[str, Any]]", table.to_pylist())]


def _pyarrow() -> tuple[Any, Any]:
    """Return pyarrow and its Parquet module; late, because they take a quarter of a second, and untyped."""
    return cast("Any", import_module("pyarrow")), cast("Any", import_module("pyarrow.parquet"))


def _columns(pa: Any) -> list[list[str]]:
    """Return the names of the columns, without facts and with them."""
    return [_schema(pa, facts=False).names, _schema(pa).names]


def _schema(pa: Any, *, facts: bool = True) -> Any:
    text = pa.string()
    part = pa.struct([(name, text) for name in ("type", "text", "uri", "sha256", "name")])
    turn = pa.struct([("role", text), ("trained", pa.bool_()), ("parts", pa.list_(part))])
    return pa.schema(
        [
            *((name, text) for name in ("id", "task", "source", "input")),
            ("messages", pa.list_(turn)),
            ("references", pa.list_(text)),
            ("rejected", pa.list_(turn)),
            ("origin", text),
            *([(FACTS, text)] if facts else []),
        ]
    )


def _to_row(example: Example) -> dict[str, Any]:
    return {
        "id": example.id,
        "task": example.task,
        "source": example.source,
        "input": example.input,
        "messages": [_turn_row(turn) for turn in example.messages],
        "references": list(example.references),
        "rejected": [_turn_row(turn) for turn in example.rejected],
        "origin": _json(example.origin),
    }


def _json(value: Mapping[str, Any]) -> str:
    return json.dumps(dict(value), ensure_ascii=False)


def _from_row(row: dict[str, Any]) -> Example:
    return Example(
        id=row["id"],
        task=row["task"],
        source=row["source"],
        messages=tuple(_turn(turn) for turn in row["messages"]),
        references=tuple(row["references"]),
        rejected=tuple(_turn(turn) for turn in row["rejected"]),
        origin=json.loads(row["origin"]),
        input=row["input"],
        facts=json.loads(row.get(FACTS) or "{}"),
    )


def _turn_row(turn: Message) -> dict[str, Any]:
    return {"role": turn.role, "trained": turn.trained, "parts": [_part_row(part) for part in turn.parts]}


def _turn(row: dict[str, Any] | str) -> Message:
    """Return a turn; a rejected answer was a text in tables of earlier versions."""
    if isinstance(row, str):
        return message("assistant", row)
    return Message(row["role"], tuple(_part(part) for part in row["parts"]), row["trained"])


def _part_row(part: Part) -> dict[str, str]:
    match part:
        case Text(text):
            return {"type": "text", "text": text}
        case Thought(text):
            return {"type": "thought", "text": text}
        case Media(kind, uri, sha256):
            return {"type": kind, "uri": uri, "sha256": sha256}
        case ToolCall(name, arguments):
            return {"type": "tool_call", "name": name, "text": arguments}
        case ToolList(schemas):
            return {"type": "tools", "text": schemas}


def _part(row: dict[str, Any]) -> Part:
    if row["type"] == "text":
        return Text(row["text"])
    if row["type"] == "thought":
        return Thought(row["text"])
    if row["type"] == "tool_call":
        return ToolCall(row["name"], row["text"])
    if row["type"] == "tools":
        return ToolList(row["text"])
    return Media(row["type"], row["uri"], row["sha256"])


def as_rows(examples: Sequence[Example]) -> Any:
    """Return the examples as a table of Arrow with the columns that `as_parquet` writes."""
    pa, _ = _pyarrow()
    rows = [{**_to_row(example), FACTS: _json(example.facts)} for example in examples]
    return pa.Table.from_pylist(rows, schema=_schema(pa))


def columns() -> list[str]:
    """Return the names of the columns."""
    return list(_schema(_pyarrow()[0]).names)


def from_rows(rows: Any) -> list[Example]:
    """Return the examples of a table or batch of Arrow that has those columns, whatever else it has."""
    return [_from_row(row) for row in cast("list[dict[str, Any]]", rows.select(columns()).to_pylist())]
