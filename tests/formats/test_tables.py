"""Tables of Arrow as people have them: what only Arrow can say comes out as JSON would have it."""

from __future__ import annotations

import datetime
import decimal
import gzip
import json
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from espalier.core.errors import DataError
from espalier.core.files import jsonl
from espalier.formats.load import load_rows
from espalier.formats.readers import rows_of

if TYPE_CHECKING:
    from pathlib import Path

TURNS = [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": "Both."}]


def saved(folder: Path, table: Any) -> Path:
    pq.write_table(table, folder / "rows.parquet")
    return folder / "rows.parquet"


def values(path: Path) -> list[object]:
    return [raw.value for raw in rows_of(path)]


def as_json(value: object) -> Any:
    return pa.ExtensionArray.from_storage(pa.json_(), pa.array([json.dumps(value)]))


def test_a_column_of_json_keeps_its_nulls_and_a_struct_has_none(tmp_path: Path) -> None:
    turns: list[dict[str, Any]] = [{"role": "user", "content": "a", "name": None}, {"role": "tool"}]
    table = pa.table({"tools": as_json([{"name": "f", "default": None}]), "messages": [turns]})
    (row,) = values(saved(tmp_path, table))
    assert row == {
        "tools": [{"name": "f", "default": None}],
        "messages": [{"role": "user", "content": "a"}, {"role": "tool"}],
    }


def test_labels_are_called_by_their_names(tmp_path: Path) -> None:
    features = {"text": {"_type": "Value"}, "label": {"_type": "ClassLabel", "names": ["bad", "good"]}}
    told = {"huggingface": json.dumps({"info": {"features": features}})}
    table = pa.table({"text": ["a", "b"], "label": [1, 0]}).replace_schema_metadata(told)
    loaded = load_rows(saved(tmp_path, table), columns={"prompt": "text", "completion": "label"})
    assert [item.answer for item in loaded] == ["good", "bad"]


@pytest.mark.parametrize(
    "column",
    [
        pa.array([TURNS]),
        pa.array([json.dumps(TURNS)]),
        pa.array([{"role": ["user", "assistant"], "content": ["Which?", "Both."]}]),
        pa.array([[tuple(turn.items()) for turn in TURNS]], pa.list_(pa.map_(pa.string(), pa.string()))),
        pa.array([TURNS], pa.large_list(pa.struct({"role": pa.string(), "content": pa.large_string()}))),
    ],
    ids=["structs", "text", "by-column", "maps", "large"],
)
def test_turns_however_arrow_holds_them(tmp_path: Path, column: Any) -> None:
    (loaded,) = load_rows(saved(tmp_path, pa.table({"messages": column})))
    assert [turn.text for turn in loaded.messages] == ["Which?", "Both."]


@pytest.mark.parametrize(
    ("answer", "said"), [(7, "7"), (0.5, "0.5"), (b"caf\xc3\xa9", "café"), (decimal.Decimal("1.10"), "1.10")]
)
def test_numbers_and_bytes_are_the_texts_that_they_write(tmp_path: Path, answer: Any, said: str) -> None:
    (loaded,) = load_rows(saved(tmp_path, pa.table({"text": ["a"], "label": [answer]})))
    assert loaded.answer == said


def test_bytes_that_are_no_text_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="it is bytes"):
        load_rows(saved(tmp_path, pa.table({"prompt": ["a"], "completion": [b"\xff"]})))


def test_what_json_has_no_word_for_can_stand_in_the_rejects(tmp_path: Path) -> None:
    odd = {"when": datetime.datetime(2026, 1, 2), "much": decimal.Decimal("1.10"), "raw": b"\xff"}
    columns = {"prompt": ["a", "b"], "completion": ["c", None], "none": [float("nan"), 1.0]}
    table = pa.table({**columns, **{key: [value] * 2 for key, value in odd.items()}})
    rejects: list[dict[str, Any]] = []
    load_rows(saved(tmp_path, table), on_reject=rejects.append)
    (row,) = [json.loads(line)["row"] for line in jsonl(rejects).splitlines()]
    assert row["when"] == "2026-01-02T00:00:00"
    assert (row["much"], row["raw"], row["none"]) == ("1.10", "1 bytes", 1.0)


@pytest.mark.parametrize("kind", ["parquet", "file", "stream"])
def test_tables_may_be_packed(tmp_path: Path, kind: str) -> None:
    table = pa.table({"prompt": ["a"] * 2500, "completion": [str(n) for n in range(2500)]})
    sink = pa.BufferOutputStream()
    if kind == "parquet":
        pq.write_table(table, sink)
    else:
        with (ipc.new_file if kind == "file" else ipc.new_stream)(sink, table.schema) as writer:
            writer.write_table(table)
    (tmp_path / "rows.gz").write_bytes(gzip.compress(sink.getvalue().to_pybytes()))
    rows = list(rows_of(tmp_path / "rows.gz"))
    assert [raw.value for raw in rows] == table.to_pylist()
    assert rows[-1].where == f"{tmp_path / 'rows.gz'}, row 2500"
