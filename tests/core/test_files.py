"""Files are read with errors that say where, and written whole or not at all."""

from __future__ import annotations

import errno
import json
import os
import resource
import signal
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import DataError, RunError
from espalier.core.files import (
    content_hash,
    damage,
    file_sha256,
    inventory,
    jsonl,
    parse_items,
    read_json,
    read_jsonl,
    read_text,
    replacing,
    write_atomic,
    write_changed,
)

if TYPE_CHECKING:
    from pathlib import Path


def test_missing_file_names_the_nearest(tmp_path: Path) -> None:
    (tmp_path / "recipe.toml").write_text("")
    with pytest.raises(DataError, match=r"no such file.*Did you mean 'recipe\.toml'"):
        read_text(tmp_path / "recpie.toml")


def test_missing_folder_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"folder .*nowhere does not exist either"):
        read_text(tmp_path / "nowhere" / "x.json")


def test_folder_in_place_of_a_file(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="This is a folder"):
        read_text(tmp_path)


def test_wrong_encoding_names_line_and_byte(tmp_path: Path) -> None:
    path = tmp_path / "latin.txt"
    path.write_bytes("one\ntwo\ncafé\n".encode("latin-1"))
    with pytest.raises(DataError, match="not UTF-8: byte 0xe9 at position 11") as caught:
        read_text(path)
    assert caught.value.where == f"{path}:3"
    assert "iconv" in caught.value.hint


def test_byte_order_mark_is_dropped(tmp_path: Path) -> None:
    path = tmp_path / "bom.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_json(path) == {"a": 1}


@pytest.mark.parametrize(
    ("text", "line", "what"),
    [
        ('{\n "a": 1,\n "b": }\n', 3, "column 7"),
        ('{"a": 1} {"b": 2}', 1, "Extra data"),
        ('{"a": ["b", "c"', 1, "column 16"),
    ],
)
def test_broken_json_names_line_and_column(tmp_path: Path, text: str, line: int, what: str) -> None:
    path = tmp_path / "x.json"
    path.write_text(text)
    with pytest.raises(DataError, match=what) as caught:
        read_json(path)
    assert caught.value.where == f"{path}:{line}"


@pytest.mark.parametrize("text", ["", "  \n\n"])
def test_empty_json_is_said(tmp_path: Path, text: str) -> None:
    (tmp_path / "x.json").write_text(text)
    with pytest.raises(DataError, match=r"x\.json: The file is empty"):
        read_json(tmp_path / "x.json")


def test_jsonl_keeps_strange_line_separators_in_strings(tmp_path: Path) -> None:
    rows = [{"text": "a\u2028b\u2029c\x85d\x0ce"}, {"text": "f"}]
    path = tmp_path / "x.jsonl"
    path.write_text(jsonl(rows) + "\n\r\n", encoding="utf-8")
    assert list(read_jsonl(path)) == [(1, rows[0]), (2, rows[1])]


@pytest.mark.parametrize(("line", "what"), [("{'a': 1}", "not JSON"), ("[1]", "not an object")])
def test_broken_jsonl_names_the_line(tmp_path: Path, line: str, what: str) -> None:
    path = tmp_path / "x.jsonl"
    path.write_text(f'{{"a": 1}}\n\n{line}\n')
    with pytest.raises(DataError, match=what) as caught:
        list(read_jsonl(path))
    assert caught.value.where == f"{path}:3"


def test_write_makes_folders_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "a" / "b" / "x.txt"
    write_atomic(path, "old")
    write_atomic(path, b"new")
    assert path.read_text() == "new"
    assert os.listdir(path.parent) == ["x.txt"]


WRITER = """
import sys, itertools
from pathlib import Path
from espalier.core.files import write_atomic
for n in itertools.count():
    write_atomic(Path(sys.argv[1]), f"{n % 10}" * 3_000_000)
"""


def test_a_kill_leaves_the_old_file_or_the_new(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_atomic(path, "start")
    seen: set[str] = set()
    for attempt in range(4):
        writer = subprocess.Popen([sys.executable, "-c", WRITER, str(path)])
        deadline = time.monotonic() + 20
        while path.read_text()[:1] in {"s", *seen} and time.monotonic() < deadline:
            time.sleep(0.003 * (attempt + 1))
        writer.send_signal(signal.SIGKILL)
        writer.wait()
        text = path.read_text()
        assert len(text) == 3_000_000, "a part of a file was seen"
        assert len(set(text)) == 1, "two versions were mixed"
        seen.add(text[0])


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "x.txt"
    write_atomic(path, "old")
    limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    ignored = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, limit[1]))
    try:
        with pytest.raises(RunError, match=r"x\.txt: The file cannot be written: File too large"):
            write_atomic(path, "new" * 1000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limit)
        signal.signal(signal.SIGXFSZ, ignored)
    assert path.read_text() == "old"
    assert os.listdir(tmp_path) == ["x.txt"]


def test_a_full_disk_says_to_free_space(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(RunError, match=r"No space left on device.*Free some space"):
        write_atomic(tmp_path / "x.txt", "new")
    assert os.listdir(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_an_error_of_the_user(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RunError, match=r"cannot be written: (Not a directory|File exists)"):
        write_atomic(tmp_path / "file" / "x.txt", "new")


def test_content_hash_ignores_the_order_of_keys() -> None:
    assert content_hash({"a": 1, "b": [1, 2]}) == content_hash({"b": [1, 2], "a": 1})
    assert content_hash([1, 2]) != content_hash([2, 1])
    assert len(content_hash(json.loads("null"))) == 16


def test_what_is_there_already_is_not_written_again(tmp_path: Path) -> None:
    path = tmp_path / "new" / "file"
    assert write_changed(path, b"one")
    assert not write_changed(path, b"one")
    assert write_changed(path, b"two")
    assert path.read_bytes() == b"two"


def test_a_folder_is_compared_with_what_it_held(tmp_path: Path) -> None:
    (tmp_path / "weights").write_bytes(b"0123456789")
    (tmp_path / "config").write_bytes(b"{}")
    (tmp_path / "inner").mkdir()
    held = json.loads(json.dumps(inventory(tmp_path)))
    assert sorted(held) == ["config", "weights"]
    (tmp_path / "more").write_text("is none of its business")
    assert damage(tmp_path, held) == ""
    assert damage(tmp_path, {}) == ""
    (tmp_path / "weights").write_bytes(b"0123456780")
    assert damage(tmp_path, held) == "weights does not hold what was saved"
    (tmp_path / "weights").write_bytes(b"0123")
    assert damage(tmp_path, held) == "weights has 4 bytes and not 10"
    (tmp_path / "config").unlink()
    assert damage(tmp_path, held) == "config is missing"


def test_a_file_is_read_once_for_its_hash_until_it_changes(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"one")
    first = file_sha256(path)
    state = path.stat()
    path.write_bytes(b"two")
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert file_sha256(path) == first  # as one that hides its change would find
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns + 1))
    assert file_sha256(path) != first


@given(
    st.lists(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner, max_size=3))),
    st.sampled_from([None, 1]),
    st.integers(1, 7),
)
def test_a_list_in_parts_is_that_list(values: list[object], indent: int | None, size: int) -> None:
    text = f" {json.dumps(values, indent=indent)}\n"
    assert list(parse_items(text[start : start + size] for start in range(0, len(text), size))) == values


@pytest.mark.parametrize(
    "text", ["[1,]", "[1 2]", "[1", "[1]]", "[,1]", "[1] x", "[1[2]]", "", "[[1]", '[{"a": 1, "a": 2}]']
)
def test_a_broken_list_is_no_list(text: str) -> None:
    with pytest.raises(ValueError, match=r"Expecting|twice"):
        list(parse_items([text]))
    with pytest.raises(ValueError, match=r"Expecting|twice"):
        list(parse_items(text))  # sign by sign


@pytest.mark.parametrize("umask", [0o022, 0o077, 0o002])
def test_a_file_has_the_rights_that_the_umask_leaves_while_it_is_written_too(
    tmp_path: Path, umask: int
) -> None:
    before = os.umask(umask)
    try:
        with replacing(tmp_path / "out.txt") as new:
            during = new.stat().st_mode & 0o777
            new.write_text("x")
    finally:
        os.umask(before)
    assert during == (tmp_path / "out.txt").stat().st_mode & 0o777 == 0o666 & ~umask
