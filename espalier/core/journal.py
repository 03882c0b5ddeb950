"""What was computed once, by any run: an append-only table of entries, each by the hash of all it depends on.

SQLite in WAL: several processes read and write at once, and what a kill interrupts was never there. An entry
is never changed: under the same key stands the same value.
"""

from __future__ import annotations

import json
import sqlite3
import time
from contextlib import closing, contextmanager
from typing import TYPE_CHECKING, Any

from espalier.core.errors import RunError

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Mapping
    from pathlib import Path

STORE = ".store"
NAME = "journal.sqlite"
PATIENCE = 60.0  # seconds that another process may take to write
PAUSE = 0.01  # seconds between two tries
PART = 500  # keys that are asked for at once
TABLE = "CREATE TABLE IF NOT EXISTS entries (key TEXT PRIMARY KEY, value TEXT NOT NULL) WITHOUT ROWID"

# A key is its kind, a colon and the hash; one without a kind is an answer's.
KINDS = """
    SELECT CASE instr(key, ':') WHEN 0 THEN 'answer' ELSE substr(key, 1, instr(key, ':') - 1) END AS kind,
    count(*), sum(length(value)) FROM entries GROUP BY kind ORDER BY kind
"""


class Journal:
    """The entries of a file, which is made with the first of them."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def find(self, keys: Iterable[str]) -> dict[str, dict[str, Any]]:
        """Return those of the entries that are there. Raises RunError where the file cannot be read."""
        wanted = list(dict.fromkeys(keys))
        found: dict[str, dict[str, Any]] = {}
        if not wanted or not self.path.exists():
            return found
        with self._open() as connection:
            for start in range(0, len(wanted), PART):
                part = wanted[start : start + PART]
                marks = ",".join("?" * len(part))
                rows = connection.execute(f"SELECT key, value FROM entries WHERE key IN ({marks})", part)
                found.update((key, json.loads(value)) for key, value in rows)
        return found

    def under(self, begin: str) -> dict[str, dict[str, Any]]:
        """Return the entries whose keys begin so. Raises RunError."""
        if not self.path.exists():
            return {}
        with self._open() as connection:
            rows = connection.execute(
                "SELECT key, value FROM entries WHERE key >= ? AND key < ?", (begin, f"{begin}\U0010ffff")
            )
            return {key: json.loads(value) for key, value in rows}

    def holds(self, begin: str) -> bool:
        """Say whether there is an entry whose key begins so. Raises RunError."""
        if not self.path.exists():
            return False
        with self._open() as connection:
            wanted = (begin, f"{begin}\U0010ffff")
            rows = connection.execute("SELECT 1 FROM entries WHERE key >= ? AND key < ? LIMIT 1", wanted)
            return rows.fetchone() is not None

    def add(self, entries: Mapping[str, Mapping[str, Any]]) -> None:
        """Write entries down, all or none; those that are there stay. Raises RunError."""
        rows = [(key, json.dumps(value)) for key, value in entries.items()]
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self._open() as connection, connection:
            connection.executemany("INSERT OR IGNORE INTO entries VALUES (?, ?)", rows)

    def kinds(self) -> dict[str, tuple[int, int]]:
        """Return how many entries there are of each kind, and how many letters they have. Raises RunError."""
        if not self.path.exists():
            return {}
        with self._open() as connection:
            return {kind: (count, size) for kind, count, size in connection.execute(KINDS)}

    def count(self) -> int:
        """Return how many entries there are. Raises RunError."""
        return sum(count for count, _ in self.kinds().values())

    @property
    def size(self) -> int:
        """Bytes on disk."""
        return sum(file.stat().st_size for file in self._files())

    def clear(self) -> None:
        """Remove the file and what SQLite keeps beside it."""
        for file in self._files():
            file.unlink()

    def _files(self) -> list[Path]:
        places = (self.path, *(self.path.with_name(self.path.name + end) for end in ("-wal", "-shm")))
        return [place for place in places if place.exists()]

    @contextmanager
    def _open(self) -> Generator[sqlite3.Connection]:
        try:
            with closing(sqlite3.connect(self.path, timeout=PATIENCE)) as connection:
                _make_ready(connection)
                yield connection
        except sqlite3.Error as error:
            raise RunError(
                f"The journal cannot be read or written: {error}.",
                where=str(self.path),
                hint="Free the disk or mend its rights; `espalier store clear` removes a damaged one.",
            ) from None


def _make_ready(connection: sqlite3.Connection) -> None:
    """Turn on the log and make the table.

    Where another process opens a file that is being turned to WAL, SQLite does not wait, whatever its time:
    it says "locked" at once. Raises sqlite3.Error.
    """
    until = time.monotonic() + PATIENCE
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL")
            connection.execute("PRAGMA synchronous=NORMAL")
            connection.execute(TABLE)
            return
        except sqlite3.OperationalError as error:
            busy = (error.sqlite_errorcode & 0xFF) in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}
            if not busy or time.monotonic() > until:
                raise
            time.sleep(PAUSE)


def store_of(folder: Path) -> Journal:
    """Return what the runs of a folder share."""
    return Journal(folder / STORE / NAME)
