"""The same rows in every container are the same examples; what holds no rows is told by its first bytes."""

from __future__ import annotations

import bz2
import csv
import gzip
import io
import json
import lzma
import pickle
import sqlite3
import zipfile
from typing import TYPE_CHECKING, Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from espalier.core.errors import DataError
from espalier.formats.load import load_rows
from espalier.formats.readers import rows_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from espalier.core.records import Example

    Write = Callable[[Path, list[dict[str, Any]]], Path]

CHAT = [
    {"role": "user", "content": "Wie lange, „genau“?\n, ;"},
    {"role": "assistant", "content": "007\tStunden"},
]
PAIRS = [{"prompt": f'Number {n}, "quoted"\nand more', "completion": f"00{n}"} for n in range(5)]
CHATS: list[dict[str, Any]] = [{"messages": CHAT, "note": None}, {"messages": [*CHAT, *CHAT], "note": "x"}]


def _text(rows: list[dict[str, Any]]) -> bytes:
    return "\n".join(json.dumps(row, ensure_ascii=False) for row in rows).encode()


def _jsonl(folder: Path, rows: list[dict[str, Any]]) -> Path:
    return _written(folder / "rows.jsonl", _text(rows))


def _written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def _packed(name: str, pack: Callable[[bytes], bytes]) -> Write:
    return lambda folder, rows: _written(folder / name, pack(_text(rows)))


def _zstd(folder: Path, rows: list[dict[str, Any]]) -> Path:
    with pa.CompressedOutputStream(str(folder / "rows.jsonl.zst"), "zstd") as stream:
        stream.write(_text(rows))
    return folder / "rows.jsonl.zst"


def _cells(name: str, delimiter: str) -> Write:
    def write(folder: Path, rows: list[dict[str, Any]]) -> Path:
        path = folder / name
        with path.open("w", encoding="utf-8-sig", newline="") as file:
            writer = csv.writer(file, delimiter=delimiter)
            names = list(dict.fromkeys(key for row in rows for key in row))
            writer.writerow(names)
            for row in rows:
                cells = [row.get(key) for key in names]
                writer.writerow([json.dumps(cell) if isinstance(cell, list) else cell for cell in cells])
        return path

    return write


def _parquet(folder: Path, rows: list[dict[str, Any]]) -> Path:
    pq.write_table(pa.Table.from_pylist(rows), folder / "rows.bin", row_group_size=2)
    return folder / "rows.bin"


def _arrow(folder: Path, rows: list[dict[str, Any]]) -> Path:
    table = pa.Table.from_pylist(rows)
    with pa.OSFile(str(folder / "rows.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table, max_chunksize=2)
    return folder / "rows.arrow"


def _saved(folder: Path, rows: list[dict[str, Any]]) -> Path:
    """As datasets.save_to_disk leaves it."""
    table = pa.Table.from_pylist(rows)
    part = folder / "saved" / "train"
    part.mkdir(parents=True)
    name = str(part / "data-00000-of-00001.arrow")
    with pa.OSFile(name, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
        writer.write_table(table)
    (part / "state.json").write_text('{"_data_files": [{"filename": "data-00000-of-00001.arrow"}]}')
    (part / "dataset_info.json").write_text("{}")
    (folder / "saved" / "dataset_dict.json").write_text('{"splits": ["train", "test"]}')
    return folder / "saved"


def _folder(folder: Path, rows: list[dict[str, Any]]) -> Path:
    place = folder / "many"
    place.mkdir()
    (place / "README.md").write_text("# Rows")
    (place / ".hidden.jsonl").write_text("nothing")
    _written(place / "a.jsonl", _text(rows[:1]))
    _written(place / "b.json", json.dumps(rows[1:]).encode())
    return place


CONTAINERS: dict[str, Write] = {
    "jsonl": _jsonl,
    "json": lambda folder, rows: _written(folder / "rows.json", json.dumps(rows, indent=1).encode()),
    "utf-16": lambda folder, rows: _written(folder / "rows.jsonl", _text(rows).decode().encode("utf-16")),
    "gzip": _packed("rows.jsonl.gz", gzip.compress),
    "gzip under another name": _packed("rows.jsonl", gzip.compress),
    "bz2": _packed("rows.jsonl.bz2", bz2.compress),
    "xz": _packed("rows.jsonl.xz", lzma.compress),
    "zstd": _zstd,
    "csv": _cells("rows.csv", ","),
    "semicolons": _cells("rows.csv", ";"),
    "tsv": _cells("rows.tsv", "\t"),
    "parquet": _parquet,
    "arrow": _arrow,
    "saved": _saved,
    "folder": _folder,
}


def content(examples: list[Example]) -> list[tuple[Any, ...]]:
    return [(example.messages, example.references) for example in examples]


@pytest.mark.parametrize("container", CONTAINERS)
@pytest.mark.parametrize("rows", [PAIRS, CHATS], ids=["pairs", "chats"])
def test_rows_are_the_same_in_every_container(container: str, rows: list[dict[str, Any]], tmp_path: Path):
    plain = tmp_path / "plain"
    plain.mkdir()
    wanted = load_rows(_jsonl(plain, rows))
    path = CONTAINERS[container](tmp_path, rows)
    assert content(load_rows(path)) == content(wanted)


@given(st.lists(st.tuples(st.text(min_size=1), st.text(min_size=1)), min_size=1, max_size=5))
@settings(max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
def test_texts_survive_a_table_of_texts(tmp_path: Path, pairs: list[tuple[str, str]]):
    rows = [{"prompt": f"x{one}", "completion": f"y{two}"} for one, two in pairs]
    rows = [row for row in rows if all(text.isprintable() for text in row.values())]
    if rows:
        _cells("rows.csv", ",")(tmp_path, rows)
        found = [raw.value for raw in rows_of(tmp_path / "rows.csv")]
        assert found == rows


def _database() -> bytes:
    base = sqlite3.connect(":memory:")
    base.execute("create table t (a)")
    data = base.serialize()
    base.close()
    return data


def _archive() -> bytes:
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        archive.writestr("rows.jsonl", "{}")
    return sink.getvalue()


OTHERS: dict[str, tuple[bytes, str]] = {
    "pdf": (b"%PDF-1.7 ...", "a PDF"),
    "zip": (_archive(), "a ZIP archive of rows.jsonl"),
    "sqlite": (_database(), "an SQLite database"),
    "pickle": (pickle.dumps([1]), "a Python pickle"),
    "gguf": (b"GGUF\x03\x00\x00\x00", "a GGUF file"),
    "safetensors": (b'\x10\x00\x00\x00\x00\x00\x00\x00{"a": 1}       ', "a safetensors file"),
    "picture": (b"\x89PNG\r\n\x1a\n", "a picture"),
    "page": (b"<!DOCTYPE html><html>Log in", "a web page"),
    "pointer": (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS"),
    "bytes": (bytes(range(256)) * 2 + bytes(200), "is binary"),
    "msgpack": (b"\x92\x82\xa6prompt\xa1Q\xaacompletion\xa1A", "begins with the byte 0x92"),
    "empty": (b"  \n", "The file is empty"),
    "latin-1": (
        '{"prompt": "Café", "completion": "x"}'.encode("latin-1"),
        ":1: The file is not UTF-8",
    ),
    "half a table": (b"PAR1" + bytes(20), "The table is damaged or cut off"),
    "half an archive": (gzip.compress(_text(PAIRS))[:40], "cannot be read to its end"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_what_holds_no_rows_is_told_by_what_it_is(name: str, tmp_path: Path):
    data, said = OTHERS[name]
    with pytest.raises(DataError) as caught:
        load_rows(_written(tmp_path / "rows.jsonl", data))
    assert said in str(caught.value)
    assert ("iconv" in str(caught.value)) == (name == "latin-1")


def test_a_row_of_a_table_is_named_by_its_place(tmp_path: Path):
    (tmp_path / "rows.csv").write_text('prompt,completion\n"a\nb",c\nd,\ne,f,g\n')
    rejects: list[dict[str, Any]] = []
    load_rows(tmp_path / "rows.csv", on_reject=rejects.append)
    assert [reject["where"] for reject in rejects] == [f"{tmp_path}/rows.csv:4", f"{tmp_path}/rows.csv:5"]
    assert "'completion' is missing" in rejects[0]["reason"]
    assert "3 cells, and the header 2" in rejects[1]["reason"]
    pq.write_table(pa.table({"prompt": ["a", "b"], "completion": ["c", None]}), tmp_path / "rows.parquet")
    with pytest.raises(DataError, match=r"rows.parquet, row 2: 'completion' is null"):
        load_rows(tmp_path / "rows.parquet")


def test_columns_are_named_where_nothing_tells_them(tmp_path: Path):
    path = _jsonl(tmp_path, [{"ask": "a", "told": "b"}, {"ask": "c", "told": "d"}])
    columns = {"prompt": "ask", "completion": "told"}
    assert [example.answer for example in load_rows(path, columns=columns)] == ["b", "d"]
    with pytest.raises(DataError, match=r"No row has the column 'tolt'.*Did you mean 'told'"):
        load_rows(path, columns={**columns, "completion": "tolt"})


def test_a_folder_without_rows_and_one_with_other_splits_say_so(tmp_path: Path):
    with pytest.raises(DataError, match="holds no file of rows"):
        load_rows(tmp_path)
    (tmp_path / "dataset_dict.json").write_text('{"splits": ["dev", "test"]}')
    with pytest.raises(DataError, match="has the splits dev, test, and none is called train"):
        load_rows(tmp_path)


@pytest.mark.parametrize(
    "text",
    [
        "\n".join(json.dumps(row, indent=2) for row in PAIRS),
        "".join(json.dumps(row) for row in PAIRS),
        json.dumps({key: {str(n): row[key] for n, row in enumerate(PAIRS)} for key in PAIRS[0]}),
        json.dumps({key: [row[key] for row in PAIRS] for key in PAIRS[0]}, indent=1),
    ],
    ids=["objects over lines", "objects in one line", "by columns, as pandas", "by columns, as lists"],
)
def test_json_as_other_programs_write_it(tmp_path: Path, text: str):
    loaded = load_rows(_written(tmp_path / "rows.json", text.encode()))
    assert content(loaded) == content(load_rows(_jsonl(tmp_path, PAIRS)))


def test_a_line_that_is_a_list_of_turns_is_told_how_to_be_a_row(tmp_path: Path):
    path = _written(tmp_path / "rows.jsonl", (json.dumps(CHAT) + "\n").encode() * 2)
    with pytest.raises(DataError, match=r"rows.jsonl:1: .*it is a list.*\{\"messages\": \[…\]\}"):
        load_rows(path)


def test_a_table_without_a_header_is_read_by_numbers(tmp_path: Path):
    rows = 'The "old" mill burnt.\tHow long?\tan hour\tyes\nThe mill ran.\tHow long?\t"a second\tno\n'
    path = _written(tmp_path / "rows.tsv", rows.encode())
    columns = {"context": "1", "question": "2", "answer": "3", "correct": "4"}
    good, bad = load_rows(path, columns=columns)
    assert [good.input, good.answer] == ['The "old" mill burnt.\nHow long?', "an hour"]
    assert [bad.source, bad.rejected[0].text, bad.answer] == ["the mill ran.", '"a second', ""]
    header = "1\t2\t3\t4\n"
    assert content(load_rows(_written(path, (header + rows).encode()), columns=columns)) == content(
        [good, bad]
    )
    with pytest.raises(DataError, match="where it is a row, name them by numbers"):
        load_rows(_written(path, rows.encode()))


def test_rows_under_one_key_are_the_rows(tmp_path: Path):
    path = _written(tmp_path / "rows.json", json.dumps({"predictions": [*PAIRS, 3]}).encode())
    rejects: list[dict[str, object]] = []
    assert content(load_rows(path, on_reject=rejects.append)) == content(load_rows(_jsonl(tmp_path, PAIRS)))
    assert [reject["where"] for reject in rejects] == [f"{path}:1, predictions[5]"]
