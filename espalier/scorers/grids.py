"""Tables as rows of cells: out of data, and out of what an answer writes (Markdown, CSV, JSON)."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import TypeAlias, cast

from espalier.core.files import parse_json
from espalier.core.text import folded
from espalier.scorers.blocks import block

Grid: TypeAlias = list[list[str]]
_RULE = re.compile(r"\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*")
_BAR = re.compile(r"(?<!\\)\|")
_THOUSANDS = re.compile(r"[+-]?\d{1,3}(?:,\d{3})+(?:\.\d+)?")


def grid(rows: Sequence[object], columns: Sequence[str] = ()) -> Grid:
    """Return a table's cells, its header first: of rows that are objects or lists.

    Raises:
        ValueError: it has no rows, or rows of different lengths.
    """
    if not rows:
        raise ValueError("the table has no rows")
    objects = [cast("Mapping[str, object]", row) for row in rows if isinstance(row, Mapping)]
    if len(objects) == len(rows):
        names = list(columns) or list(dict.fromkeys(name for row in objects for name in row))
        cells = [[row.get(name) for name in names] for row in objects]
    elif any(isinstance(row, str) or not isinstance(row, Sequence) for row in rows):
        raise ValueError("a table's rows are all objects, or all lists")
    else:
        names = list(columns)
        cells = [list(cast("Sequence[object]", row)) for row in rows]
    made = [*([[str(name) for name in names]] if names else []), *([_cell(c) for c in row] for row in cells)]
    if len({len(row) for row in made}) != 1:
        raise ValueError("the table's rows have different lengths")
    return made


def read_grid(text: str) -> Grid:
    """Return the table that an answer writes, its header first. Raises ValueError where there is none."""
    inner = block(text, "csv", "tsv", "markdown", "md", "json")
    if inner.lstrip()[:1] in ("[", "{"):
        value = parse_json(inner)
        return grid(cast("list[object]", value) if isinstance(value, list) else [value])
    lines = [line.strip() for line in inner.split("\n")]
    rule = next((n for n, line in enumerate(lines) if n and "|" in line and _RULE.fullmatch(line)), 0)
    if rule:
        last = next((n for n, line in enumerate(lines) if n > rule and "|" not in line), len(lines))
        rows = [_bars(line) for line in (lines[rule - 1], *lines[rule + 1 : last])]
    else:
        delimiter = next((mark for mark in "\t;" if mark in lines[0] and "," not in lines[0]), ",")
        rows = [row for row in csv.reader(io.StringIO(inner), delimiter=delimiter, strict=True) if row]
    return grid(rows)


def normalised(cells: Grid) -> Grid:
    """Return cells as they are compared: without emphasis, case and spaces; numbers by their value."""
    return [[_plain(cell) for cell in row] for row in cells]


def _bars(line: str) -> list[str]:
    inner = line.removeprefix("|")
    inner = inner[:-1] if inner.endswith("|") and not inner.endswith("\\|") else inner
    return [cell.strip().replace("\\|", "|") for cell in _BAR.split(inner)]


def _cell(value: object) -> str:
    return "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _plain(cell: str) -> str:
    text = re.sub(r"(\*\*|__|`)(.+?)\1", r"\2", folded(cell))
    number = text.replace(",", "") if _THOUSANDS.fullmatch(text) else text
    if re.fullmatch(r"[+-]?(?:\d+\.?\d*|\.\d+)(?:e[+-]?\d{1,3})?", number):
        whole = re.fullmatch(r"[+-]?\d+", number)
        return str(int(number)) if whole and len(number) < 1000 else f"{float(number):.12g}"
    return text
