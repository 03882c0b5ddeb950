"""The journal survives a kill at any byte."""

from __future__ import annotations

import resource
from typing import TYPE_CHECKING

import pytest

from espalier.core.errors import DataError, RunError
from espalier.core.records import Completion
from espalier.decode.journal import Generations

if TYPE_CHECKING:
    from pathlib import Path

ONE = Completion("a", "Wie lange? 🌳\n\u2028", (3, 4), 0, -1.25, "stop", "key-1")
TWO = Completion("b", "two", (5,), 1, None, "length", "key-2")


def test_what_is_appended_is_read_again(tmp_path: Path):
    journal = Generations(tmp_path / "run" / "outputs.jsonl")
    assert journal.done == {}
    journal.append(ONE)
    journal.append(TWO)
    again = Generations(tmp_path / "run" / "outputs.jsonl")
    assert again.done == journal.done == {"key-1": ONE, "key-2": TWO}


def test_a_kill_at_any_byte_loses_the_torn_line_only(tmp_path: Path):
    path = tmp_path / "outputs.jsonl"
    journal = Generations(path)
    journal.append(ONE)
    whole = len(path.read_bytes())
    journal.append(TWO)
    text = path.read_bytes()
    for size in range(len(text)):
        path.write_bytes(text[:size])
        left = Generations(path)
        assert left.done == ({"key-1": ONE} if size >= whole else {})
        left.append(TWO)
        assert Generations(path).done == {**left.done, "key-2": TWO}
        assert path.read_bytes().endswith(text[whole:])


def test_a_damaged_line_is_named(tmp_path: Path):
    path = tmp_path / "outputs.jsonl"
    Generations(path).append(ONE)
    path.write_text(path.read_text() + '{"example": "x"}\n')
    with pytest.raises(DataError, match=r"outputs.jsonl:2: The line is no generation"):
        Generations(path)


def test_a_full_disk_leaves_what_was_written(tmp_path: Path):
    path = tmp_path / "outputs.jsonl"
    journal = Generations(path)
    journal.append(ONE)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + 10, before[1]))
    try:
        with pytest.raises(RunError, match=r"outputs.jsonl: .* cannot be written: File too large"):
            journal.append(TWO)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert journal.done == Generations(path).done == {"key-1": ONE}
    journal.append(TWO)
    assert Generations(path).done == {"key-1": ONE, "key-2": TWO}
