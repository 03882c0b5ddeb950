"""Made-up rows for a schema's tables, which hold what queries ask for.

Each text and number that stands beside a column in a query comes into that column, with its neighbours, among
other values, nulls and repetitions: so "more than 9" and "at least 9" differ, and so do two spellings.
Columns that refer to others take their values from there.
"""

from __future__ import annotations

import random
import re
import sqlite3
from collections import defaultdict
from contextlib import suppress
from dataclasses import dataclass
from datetime import date, timedelta
from typing import TYPE_CHECKING, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

Value: TypeAlias = "str | int | float | bytes | None"
Row: TypeAlias = tuple[Value, ...]

ROWS = (5, 12, 30, 9)  # of a table, by the number of the database and chance
NULLS, MEANT = 0.12, 0.6  # how often a value is null, and one that a query asks for
WORDS = ("amber", "basil", "cedar", "delta", "ember", "fjord", "grove", "heron", "Iris", "jetty", "Koala")

TOKEN = re.compile(
    r"(?P<space>\s+|--[^\n]*|/\*.*?(?:\*/|\Z))|(?P<text>'(?:[^']|'')*')"
    r'|(?P<quoted>"(?:[^"]|"")*"|`[^`]*`|\[[^\]\n]*\])|(?P<word>[^\W\d]\w*)'
    r"|(?P<number>(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?)|(?P<sign>.)",
    re.S,
)
# Behind these another column is meant.
BREAKS = {"select", "from", "group", "order", "limit", "offset", "union", "intersect", "except", "join"}


@dataclass(frozen=True, slots=True)
class Column:
    """A column as SQLite knows it; `parent` is the table and column that it refers to."""

    name: str
    type: str
    nullable: bool
    key: bool
    made: bool
    parent: tuple[str, str] | None


def tokens(sql: str) -> Iterator[tuple[str, str]]:
    """Yield (kind, text) of each token that is no space and no comment."""
    for match in TOKEN.finditer(sql):
        if match.lastgroup != "space":
            yield str(match.lastgroup), match.group()


def quoted(name: str) -> str:
    """Return a name as SQL has it."""
    return '"' + name.replace('"', '""') + '"'


def meant(texts: Iterable[str], columns: set[str]) -> dict[str, list[Value]]:
    """Return by column (in small letters) what queries and a schema's checks compare it with."""
    found: defaultdict[str, list[Value]] = defaultdict(list)
    for text in texts:
        last, waiting, negative = "", list[Value](), False
        for kind, token in tokens(text):
            word = token[1:-1].lower() if kind == "quoted" else token.lower()
            if kind in ("word", "quoted") and word in columns:
                last = word
                found[last] += waiting
                waiting = []
            elif kind == "word" and word in BREAKS:
                last, waiting = "", []
            elif value := _literal(kind, token, negative):
                (found[last] if last else waiting).extend(value)
            negative = token == "-"
    return found


def _literal(kind: str, token: str, negative: bool) -> list[Value]:
    match kind:
        case "text":
            return [token[1:-1].replace("''", "'")]
        case "quoted" if token[0] == '"':  # SQLite takes a quoted name that is none for a text
            return [token[1:-1].replace('""', '"')]
        case "number":
            number = float(token) if re.search(r"[.eE]", token) else int(token)
            if abs(number) > 2**53:
                return []
            return [number, -number] if negative else [number]
        case _:
            return []


def fill(
    connection: sqlite3.Connection,
    tables: Mapping[str, list[Column]],
    asked: Mapping[str, list[Value]],
    rng: random.Random,
    number: int,
) -> None:
    """Put rows into every table; what a key or a check forbids is left out."""
    made: dict[tuple[str, str], list[Value]] = {}
    for name in _parents_first(tables):
        columns = [column for column in tables[name] if not column.made]
        size = ROWS[(number + rng.randrange(2)) % len(ROWS)]
        pools = [
            _pool(column, asked.get(column.name.lower(), []), size, made, tables, rng) for column in columns
        ]
        rows = [tuple(pool[place] for pool in pools) for place in range(size)]
        for column, pool in zip(columns, pools, strict=True):
            made[name.lower(), column.name.lower()] = pool
        listed = ", ".join(quoted(column.name) for column in columns)
        marks = ", ".join("?" * len(columns))
        for row in rows:
            with suppress(sqlite3.IntegrityError):  # a value of another type, where the schema is strict
                connection.execute(f"INSERT OR IGNORE INTO {quoted(name)} ({listed}) VALUES ({marks})", row)


def _parents_first(tables: Mapping[str, list[Column]]) -> list[str]:
    ordered: list[str] = []
    left = list(tables)
    while left:
        waiting = {name.lower() for name in left}
        free = [
            name
            for name in left
            if not {c.parent[0].lower() for c in tables[name] if c.parent} & (waiting - {name.lower()})
        ]
        ordered += free or left[:1]
        left = [name for name in left if name not in ordered]
    return ordered


def _pool(
    column: Column,
    meant: Sequence[Value],
    size: int,
    made: Mapping[tuple[str, str], list[Value]],
    tables: Mapping[str, list[Column]],
    rng: random.Random,
) -> list[Value]:
    """Return a column's values for the rows of its table."""
    above: list[Value] = []
    if column.parent:
        table, target = column.parent
        keys = [
            c.name
            for name, columns in tables.items()
            if name.lower() == table.lower()
            for c in columns
            if c.key
        ]
        above = made.get((table.lower(), (target or (keys or [""])[0]).lower()), [])
    whole = column.key and "INT" in column.type
    near = [value for one in meant for value in _near(one, column)]
    near = [value for value in near if isinstance(value, int)] if whole else near
    order = rng.sample(range(1, size + 4), size)

    def value(place: int) -> Value:
        if column.nullable and rng.random() < NULLS:
            return None
        if above and rng.random() < 0.9:
            return rng.choice(above)
        if near and rng.random() < MEANT:
            return rng.choice(near)
        if whole:
            return order[place]
        return _any(column, rng)

    return [value(place) for place in range(size)]


def _is_date(column: Column) -> bool:
    return (
        "DATE" in column.type
        or "TIMESTAMP" in column.type
        or column.name.lower().endswith(("date", "_at", "_on"))
    )


def _near(value: Value, column: Column) -> list[Value]:
    """Return a value that is asked for and those beside it; the value itself more often."""
    if isinstance(value, int | float):
        return [value, value, value - 1, value + 1]
    text = str(value)
    if _is_date(column):
        if text.startswith("%"):  # how a date is to be written
            return []
        filled = text + {4: "-05-17", 7: "-09"}.get(len(text), "")
        try:
            day = date.fromisoformat(filled[:10])
        except ValueError:
            return [text]
        around = [(day + timedelta(days=step)).isoformat() + filled[10:] for step in (0, 0, 1, -1)]
        return list[Value](around)
    if "%" in text or "_" in text:
        bare = text.replace("%", "").replace("_", "a")
        more = text.replace("%", "xy").replace("_", "b")
        return [bare, more, more + "z", "z" + more, bare.swapcase()]
    return [text, text, text, text + "x", text.swapcase()]


def _any(column: Column, rng: random.Random) -> Value:
    kind, name = column.type, column.name.lower()
    if "BOOL" in kind:
        return rng.randrange(2)
    if _is_date(column):
        day = date(2018, 1, 1) + timedelta(days=rng.randrange(2500))
        late = f" {rng.randrange(24):02}:{rng.randrange(60):02}:00" if "TIME" in kind else ""
        return day.isoformat() + late
    if "year" in name and "CHAR" not in kind:
        return rng.randrange(2015, 2025)
    if "INT" in kind or (not kind and name.endswith("id")):
        return rng.randrange(1, 13) if rng.random() < 0.9 else rng.randrange(-3, 1000)
    if any(part in kind for part in ("REAL", "FLOA", "DOUB", "NUM", "DEC", "MONEY")):
        return rng.randrange(0, 60) / 4
    if "BLOB" in kind:
        return rng.choice(WORDS).encode()
    word = rng.choice(WORDS)
    return f"{word} {rng.randrange(20)}" if column.key or rng.random() < 0.1 else word
