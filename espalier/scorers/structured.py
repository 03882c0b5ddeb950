"""Answers that are data: JSON against a schema or a reference, and tables against a reference's cells."""

from __future__ import annotations

import csv
import math
from typing import TYPE_CHECKING, Any, cast

from espalier.core.files import parse_json
from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.scorers.blocks import block
from espalier.scorers.by_row import ByRow
from espalier.scorers.grids import grid, normalised, read_grid
from espalier.scorers.json_schema import UnusableSchema, problem, same

if TYPE_CHECKING:
    from espalier.scorers.grids import Grid

JSON = Metric("Valid JSON", phrase="the share of answers that are JSON by the schema", unit="%")
TABLE = Metric("Same table", phrase="the share of tables with the reference's cells", unit="%")


def build_json(*, equal: bool = False) -> Scorer:
    """1 where the answer is JSON by the row's schema; `equal`, or without a schema: the reference's value."""

    def judge(example: Example, completion: Completion) -> Score:
        text = block(completion.text, "json")
        given: object = example.facts.get("schema")
        if given is None and not example.references:
            return Score(None, "the row has neither a schema nor a reference")
        try:
            schema = parse_json(given) if isinstance(given, str) else given
            references = [_value(block(one, "json")) for one in example.references]
        except ValueError as error:
            if given is None or equal or isinstance(given, str):
                return Score(None, f"the schema or a reference is not JSON: {error}")
            schema, references = given, list[object]()
        try:
            value = _value(text)
        except ValueError as error:
            return Score(0.0, f"it is not JSON: {error}", text)
        if schema is not None:
            try:
                why = problem(value, schema)
            except UnusableSchema as error:
                return Score(None, f"the schema cannot be used: {error}", text)
            if why:
                return Score(0.0, why, text)
        if (equal or schema is None) and not any(same(value, one) for one in references):
            return Score(0.0, "it is another value than the reference's", text)
        return Score(1.0, "", text)

    return ByRow(judge, JSON)


def build_table(*, ordered: bool = True) -> Scorer:
    """1 where the table has the reference's cells; columns by their names, rows in order if `ordered`."""

    def judge(example: Example, completion: Completion) -> Score:
        try:
            wanted = normalised(_wanted(example))
        except (ValueError, csv.Error) as error:
            return Score(None, f"the row has no table: {error}")
        try:
            given = normalised(read_grid(completion.text))
        except (ValueError, csv.Error) as error:
            return Score(0.0, f"it is no table: {error}")
        why = _difference(wanted, given, ordered)
        return Score(0.0 if why else 1.0, why)

    return ByRow(judge, TABLE)


def _value(text: str) -> object:
    """Return the value of JSON; raises ValueError. NaN and Infinity are no JSON, though Python reads them."""
    value = parse_json(text)
    if any(isinstance(item, float) and not math.isfinite(item) for item in _leaves(value)):
        raise ValueError("a number is not finite")
    return value


def _leaves(value: object) -> list[object]:
    found: list[object] = []
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, dict):
            waiting += cast("dict[str, object]", item).values()
        elif isinstance(item, list):
            waiting += cast("list[object]", item)
        else:
            found.append(item)
    return found


def _wanted(example: Example) -> Grid:
    table: Any = example.facts.get("table")
    if isinstance(table, list):
        return grid(cast("list[object]", table), example.facts.get("columns") or ())
    if not (table or example.references):
        raise ValueError("there is no reference")
    return read_grid(table if isinstance(table, str) else example.references[0])


def _difference(wanted: Grid, given: Grid, ordered: bool) -> str:
    """Return where two tables part, in words; '' where they are the same."""
    if sorted(wanted[0]) != sorted(given[0]):
        return f"its columns are {', '.join(given[0])}, and the reference's {', '.join(wanted[0])}"
    if len(set(wanted[0])) == len(wanted[0]):
        places = [given[0].index(name) for name in wanted[0]]
        given = [[row[place] for place in places] for row in given]
    if len(wanted) != len(given):
        return f"it has {len(given) - 1} rows, and the reference {len(wanted) - 1}"
    rows, others = (table[1:] if ordered else sorted(table[1:]) for table in (wanted, given))
    for number, (one, other) in enumerate(zip(rows, others, strict=True), start=1):
        for name, cell, mine in zip(wanted[0], one, other, strict=True):
            if cell != mine:
                return f"row {number}, {name}: it has {mine!r}, and the reference {cell!r}"[:300]
    return ""
