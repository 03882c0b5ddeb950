"""Small databases of a schema, in memory and with made-up rows, on which two queries can be told apart.

Every database comes twice: by
its own keys and indexes, and plain with all rows in the opposite order. What a query says of both in common
is what it says of the rows; the rest is the accident of their order.

Nothing here is trusted. A schema may make tables, indexes and views and fill them; a query may read. Neither
can attach a file, load an extension, set a pragma, or take long; a text is short, and a result is bounded.
Rows are sorted in temporary files of SQLite's own, so that memory is bounded by its cache.
"""

from __future__ import annotations

import random
import re
import sqlite3
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, cast

from espalier.sandbox.made_rows import Column, Row, Value, fill, meant, quoted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

TABLES = 40
MOST_ROWS = 10_000  # of a result
MOST_BYTES = 4_000_000
LENGTH = 20_000  # characters of a value: some functions take the product of two texts' lengths
SQL_LENGTH = 100_000
STEPS = 100  # of SQLite's machine, between two looks at the clock

READING = {sqlite3.SQLITE_SELECT, sqlite3.SQLITE_READ, sqlite3.SQLITE_FUNCTION, sqlite3.SQLITE_RECURSIVE}
MAKING = {
    *(*READING, sqlite3.SQLITE_CREATE_TABLE, sqlite3.SQLITE_CREATE_INDEX, sqlite3.SQLITE_CREATE_VIEW),
    *(sqlite3.SQLITE_INSERT, sqlite3.SQLITE_UPDATE, sqlite3.SQLITE_DELETE, sqlite3.SQLITE_TRANSACTION),
    *(sqlite3.SQLITE_DROP_TABLE, sqlite3.SQLITE_DROP_VIEW, sqlite3.SQLITE_REINDEX),
}
REFUSED = {"load_extension", "fts3_tokenizer"}

# What other databases write into a schema, and SQLite does not know.
FOREIGN = (
    (re.compile(r"\bAUTO_INCREMENT\b(?:\s*=\s*\d+)?|\bUNSIGNED\b|\bCOMMENT\s*=?\s*'(?:[^']|'')*'", re.I), ""),
    (re.compile(r"\)\s*(?:ENGINE|DEFAULT\s+CHARSET|CHARSET|COLLATE)\b[^;)]*(?=;|\Z)", re.I), ")"),
    (re.compile(r"\bENUM\s*\([^)]*\)", re.I), "TEXT"),
    (
        re.compile(r"\bDEFAULT\s+(?:NOW|CURRENT_TIMESTAMP|GETDATE)\s*\(\s*\)", re.I),
        "DEFAULT CURRENT_TIMESTAMP",
    ),
)


class SchemaError(Exception):
    """A schema that no database can be made of; the message says why."""


@dataclass(frozen=True, slots=True)
class Database:
    """The same rows twice: by the schema, and in plain tables in the opposite order."""

    own: sqlite3.Connection
    reversed: sqlite3.Connection

    def answers(self, query: str, seconds: float) -> tuple[list[Row], list[Row]]:
        """Return what a query gives on both. Raises sqlite3.Error, with the reason."""
        return read(self.own, query, seconds), read(self.reversed, query, seconds)

    def close(self) -> None:
        """Let go of both."""
        self.own.close()
        self.reversed.close()


def databases(schema: str, queries: Sequence[str], count: int, seconds: float) -> Iterator[Database]:
    """Yield databases of a schema for the comparison of queries, always the same for the same arguments.

    Raises:
        SchemaError: no database can be made of it.
    """
    for number in range(count):
        own, plain = _opened(), _opened()
        try:
            _make(own, schema, seconds)
            tables = _tables(own)
            asked = meant(
                [schema, *queries], {c.name.lower() for columns in tables.values() for c in columns}
            )
            fill(own, tables, asked, random.Random(f"{number}"), number)
            _copy(own, plain, tables)
        except (sqlite3.Error, sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
            own.close()
            plain.close()
            raise SchemaError(str(error) or type(error).__name__) from None
        database = Database(own, plain)
        try:
            yield database
        finally:
            database.close()


def read(connection: sqlite3.Connection, query: str, seconds: float) -> list[Row]:
    """Return the rows of a query that only reads.

    Raises:
        sqlite3.Error: it is none, or does more than read, or takes too long, or gives too much.
    """
    _limit(connection, READING, seconds)
    found: list[Row] = []
    size = 0
    try:
        cursor = connection.execute(query)
        if cursor.description is None:
            raise sqlite3.ProgrammingError("it is no query")
        for row in cursor:
            found.append(tuple(cast("Sequence[Value]", row)))
            size += sum(len(cell) if isinstance(cell, str | bytes) else 8 for cell in found[-1])
            if len(found) > MOST_ROWS or size > MOST_BYTES:
                raise sqlite3.DataError(f"it gives more than {MOST_ROWS} rows, or too much text")
    except sqlite3.OperationalError as error:
        if str(error) == "interrupted":
            raise sqlite3.OperationalError(f"it takes longer than {seconds:g} s") from None
        raise
    except (sqlite3.Warning, ValueError, OverflowError, MemoryError) as error:
        raise sqlite3.ProgrammingError(str(error) or type(error).__name__) from None
    return found


def _opened() -> sqlite3.Connection:
    connection = sqlite3.connect(":memory:", isolation_level=None, cached_statements=0)
    connection.text_factory = _text
    # Sorters and tables of a query go to files, so that they are not held in memory.
    for setting in ("temp_store=1", "cache_size=-8000", "max_page_count=8000", "trusted_schema=0"):
        connection.execute(f"PRAGMA {setting}")
    for limit, most in (
        (sqlite3.SQLITE_LIMIT_LENGTH, LENGTH),
        (sqlite3.SQLITE_LIMIT_SQL_LENGTH, SQL_LENGTH),
        (sqlite3.SQLITE_LIMIT_ATTACHED, 0),
        (sqlite3.SQLITE_LIMIT_LIKE_PATTERN_LENGTH, 200),
        (sqlite3.SQLITE_LIMIT_EXPR_DEPTH, 200),
        (sqlite3.SQLITE_LIMIT_COMPOUND_SELECT, 50),
        (sqlite3.SQLITE_LIMIT_COLUMN, 500),
        (sqlite3.SQLITE_LIMIT_WORKER_THREADS, 0),
    ):
        connection.setlimit(limit, most)
    return connection


def _text(data: bytes) -> str:
    return data.decode(errors="replace")


def _limit(connection: sqlite3.Connection, allowed: set[int], seconds: float) -> None:
    end = time.monotonic() + seconds

    def permitted(action: int, _: str | None, name: str | None, *__: str | None) -> int:
        refused = action == sqlite3.SQLITE_FUNCTION and name in REFUSED
        return sqlite3.SQLITE_OK if action in allowed and not refused else sqlite3.SQLITE_DENY

    connection.set_authorizer(permitted)
    connection.set_progress_handler(lambda: time.monotonic() > end, STEPS)


def _free(connection: sqlite3.Connection) -> None:
    connection.set_authorizer(None)
    connection.set_progress_handler(None, STEPS)


def _make(connection: sqlite3.Connection, schema: str, seconds: float) -> None:
    """Make a schema's tables; another database's words are put into SQLite's where that is easy."""
    _limit(connection, MAKING, seconds)
    try:
        connection.executescript(schema)
    except sqlite3.OperationalError:
        plain = schema
        for pattern, instead in FOREIGN:
            plain = pattern.sub(instead, plain)
        if plain == schema:
            raise
        _free(connection)
        for (name,) in connection.execute("SELECT name FROM sqlite_master WHERE type = 'table'").fetchall():
            if not name.startswith("sqlite_"):
                connection.execute(f"DROP TABLE {quoted(name)}")
        _limit(connection, MAKING, seconds)
        connection.executescript(plain)
    if connection.in_transaction:
        connection.commit()
    _free(connection)


def _tables(connection: sqlite3.Connection) -> dict[str, list[Column]]:
    found = connection.execute(
        "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite\\_%' ESCAPE '\\'"
    ).fetchall()
    if not 0 < len(found) <= TABLES:
        raise ValueError(f"it has {len(found)} tables; 1 to {TABLES} were expected")
    tables: dict[str, list[Column]] = {}
    for (name,) in found:
        parents = {
            str(source).lower(): (str(table), str(target or ""))
            for _, _, table, source, target, *_ in connection.execute(
                f"PRAGMA foreign_key_list({quoted(name)})"
            )
        }
        tables[name] = [
            Column(
                str(column),
                str(kind).upper(),
                not (required or key),
                bool(key),
                hidden > 1,
                parents.get(column.lower()),
            )
            for _, column, kind, required, _, key, hidden in connection.execute(
                f"PRAGMA table_xinfo({quoted(name)})"
            )
            if hidden != 1
        ]
    return tables


def _copy(own: sqlite3.Connection, plain: sqlite3.Connection, tables: Mapping[str, list[Column]]) -> None:
    """Write the rows of all tables into plain ones, the last first, and the views over them."""
    for name, columns in tables.items():
        listed = ", ".join(f"{quoted(column.name)} {_typed(column.type)}" for column in columns)
        plain.execute(f"CREATE TABLE {quoted(name)} ({listed})")
        names = ", ".join(quoted(column.name) for column in columns)
        rows = own.execute(f"SELECT {names} FROM {quoted(name)}").fetchall()
        marks = ", ".join("?" * len(columns))
        plain.executemany(f"INSERT INTO {quoted(name)} VALUES ({marks})", reversed(rows))
    for (made,) in own.execute("SELECT sql FROM sqlite_master WHERE type = 'view'").fetchall():
        plain.execute(made)


def _typed(kind: str) -> str:
    """Return a type that gives the same affinity, without what else its declaration says."""
    return " ".join(re.findall(r"[A-Z]+", kind)) if kind else ""
