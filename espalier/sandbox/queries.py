"""Two queries beside each other: whether they give the same, on databases that are made to tell them apart.

Rows are compared as a bag, and in order where the reference orders them; columns by their places. Rows that
tie in the reference's order may come in any. Where what the reference says is an accident of the rows' order
(a LIMIT among ties), or the same on every database, nothing follows from it.
"""

from __future__ import annotations

import sqlite3
from collections import Counter
from typing import TYPE_CHECKING, TypeAlias

from espalier.core.text import counted
from espalier.sandbox.databases import SchemaError, databases
from espalier.sandbox.made_rows import Row, tokens

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.sandbox.made_rows import Value

Bag: TypeAlias = "Counter[Row]"


def compared(schema: str, wanted: str, query: str, count: int, seconds: float) -> tuple[float | None, str]:
    """Return whether a query gives what the wanted one gives: 1 or 0, or None where nothing tells; and why.

    Args:
        schema: DDL, with rows or without.
        wanted: the reference.
        query: what is compared with it.
        count: on how many databases.
        seconds: how long a query may take on one.
    """
    ordered = is_ordered(wanted)
    seen: set[tuple[Row, ...]] = set()
    decided = 0
    try:
        for number, database in enumerate(databases(schema, (wanted, query), count, seconds), start=1):
            try:
                reference = database.answers(wanted, seconds)
            except sqlite3.Error as error:
                return None, f"the reference cannot be run: {error}"
            try:
                answer = database.answers(query, seconds)
            except sqlite3.Error as error:
                return 0.0, f"the query cannot be run: {error}"
            parts = _settled([_plain(rows) for rows in reference], ordered)
            if parts is None:
                continue
            decided += 1
            seen.add(tuple(_plain(reference[0])))
            for rows in answer:
                if not _fits(_plain(rows), parts):
                    return 0.0, _difference(number, reference[0], rows, ordered)
    except SchemaError as error:
        return None, f"no database can be made of the schema: {error}"
    if list(tokens(wanted)) == list(tokens(query)):
        return 1.0, ""
    if not decided:
        return None, "the reference's result depends on the order in which rows are stored"
    if len(seen) < 2:
        return None, "the reference gives the same on every generated database"
    return 1.0, ""


def is_ordered(query: str) -> bool:
    """Tell whether a query orders its rows: ORDER BY outside all brackets."""
    depth, before = 0, ""
    for kind, token in tokens(query):
        depth += {"(": 1, ")": -1}.get(token, 0) if kind == "sign" else 0
        if depth == 0 and kind == "word" and (before, token.lower()) == ("order", "by"):
            return True
        before = token.lower() if kind == "word" else ""
    return False


def _plain(rows: Sequence[Row]) -> list[Row]:
    """Return rows as they are compared: numbers to nine places, so that the order of a sum is not seen."""
    return [tuple(_cell(cell) for cell in row) for row in rows]


def _cell(value: Value) -> Value:
    return float(f"{value:.9g}") + 0.0 if isinstance(value, float) else value


def _settled(both: Sequence[list[Row]], ordered: bool) -> list[Bag] | None:
    """Return what is settled of a reference's rows: bags, one behind another; None where nothing is.

    Of two runs over rows in opposite orders, the shortest beginnings with the same rows end where rows do not
    tie any more.
    """
    one, other = both
    if Counter(one) != Counter(other):
        return None
    if not ordered:
        return [Counter(one)]
    parts: list[Bag] = []
    open_, start = Counter[Row](), 0
    for place, (mine, theirs) in enumerate(zip(one, other, strict=True), start=1):
        open_[mine] += 1
        open_[theirs] -= 1
        for row in (mine, theirs):
            if not open_[row]:
                del open_[row]
        if not open_:
            parts.append(Counter(one[start:place]))
            start = place
    return parts


def _fits(rows: Sequence[Row], parts: Sequence[Bag]) -> bool:
    start = 0
    for part in parts:
        end = start + part.total()
        if Counter(rows[start:end]) != part:
            return False
        start = end
    return start == len(rows)


def _difference(number: int, wanted: Sequence[Row], given: Sequence[Row], ordered: bool) -> str:
    """Return where two results part, in words."""
    widths = [len(rows[0]) if rows else 0 for rows in (wanted, given)]
    if wanted and given and widths[0] != widths[1]:
        return f"it gives {counted(widths[1], 'column')}, and the reference {widths[0]}"
    if len(wanted) != len(given):
        return f"on database {number} it gives {counted(len(given), 'row')}, and the reference {len(wanted)}"
    if ordered and Counter(_plain(wanted)) == Counter(_plain(given)):
        return f"on database {number} its rows are in another order than the reference's"
    rest = Counter(_plain(given)) - Counter(_plain(wanted))
    first = next(iter(rest), ())
    return f"on database {number} it gives a row that the reference does not: {first!r}"[:300]
