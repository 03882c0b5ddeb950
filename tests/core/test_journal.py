"""What runs share: entries are found by their keys, written once, and survive several writers and kills."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from espalier.core.errors import RunError
from espalier.core.journal import Journal, store_of

WRITER = """
import sys
from pathlib import Path
from espalier.core.journal import Journal
journal, name = Journal(Path(sys.argv[1])), sys.argv[2]
for number in range(int(sys.argv[3])):
    journal.add({f"{name}-{number}": {"n": number}, f"both-{number}": {"n": number}})
    print(number, flush=True)
"""

OPENER = """
import sys, time
from pathlib import Path
from espalier.core.journal import Journal
folder, begin, name = Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3]
for number in range(60):
    while time.time() < begin + number / 100:
        pass
    Journal(folder / f"{number}.sqlite").add({name: {}})
"""


def start(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", WRITER, str(path), name, str(count)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_entries_are_found_and_never_changed(tmp_path: Path) -> None:
    journal = store_of(tmp_path / "runs")
    assert journal.find(["a"]) == {}
    assert (journal.count(), journal.size) == (0, 0)
    assert not tmp_path.joinpath("runs").exists()
    journal.add({"a": {"text": "één\ud800"}, "b": {}})
    journal.add({"a": {"text": "other"}, "c": {"ids": [1]}})
    assert Journal(journal.path).find(["a", "c", "none"]) == {"a": {"text": "één\ud800"}, "c": {"ids": [1]}}
    assert journal.count() == 3
    many = {str(number): {"n": number} for number in range(2000)}
    journal.add(many)
    assert journal.find(many) == many
    journal.clear()
    assert (journal.count(), journal.size) == (0, 0)


def test_entries_are_counted_and_found_by_kind(tmp_path: Path) -> None:
    journal = Journal(tmp_path / "journal.sqlite")
    assert (journal.kinds(), journal.under("stage:")) == ({}, {})
    journal.add({"0f": {}, "stage:a:1": {"n": 1}, "stage:a:2": {"n": 2}, "stage:b:1": {"n": 3}, "t": {}})
    assert journal.kinds() == {"answer": (2, 4), "stage": (3, 24)}
    assert journal.under("stage:a:") == {"stage:a:1": {"n": 1}, "stage:a:2": {"n": 2}}


def test_many_open_a_new_journal_at_once(tmp_path: Path) -> None:
    """A file that is just being turned to WAL is locked for the others, and SQLite does not wait."""
    begin = time.time() + 1.5
    opened = [sys.executable, "-c", OPENER, str(tmp_path), str(begin)]
    processes = [subprocess.Popen([*opened, str(name)]) for name in range(6)]
    assert [process.wait(timeout=120) for process in processes] == [0] * 6
    assert [Journal(tmp_path / f"{number}.sqlite").count() for number in range(60)] == [6] * 60


def test_two_writers_and_a_kill_lose_nothing(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    one, two, killed = start(path, "one", 40), start(path, "two", 40), start(path, "killed", 10_000)
    assert killed.stdout
    done = [int(killed.stdout.readline()) for _ in range(5)]
    killed.send_signal(signal.SIGKILL)
    ends = [process.wait(timeout=60) for process in (one, two, killed)]
    for process in (one, two, killed):
        if process.stdout:
            process.stdout.close()
    assert ends == [0, 0, -signal.SIGKILL]
    journal = Journal(path)
    for name, numbers in (("one", range(40)), ("two", range(40)), ("killed", done)):
        wanted = {f"{name}-{number}": {"n": number} for number in numbers}
        assert journal.find(wanted) == wanted


def test_what_is_no_journal_is_told(tmp_path: Path) -> None:
    path = tmp_path / "journal.sqlite"
    path.write_text("not a database, but long enough to be taken for one" * 100)
    with pytest.raises(RunError, match="The journal cannot be read or written: file is not a database"):
        Journal(path).find(["a"])
