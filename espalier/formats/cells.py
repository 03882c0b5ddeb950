"""Tables of texts, CSV and TSV: their delimiter and quotes, their rows, and what a cell holds.

Quotes are read strictly: one that opens and is never closed would swallow all rows behind it.
"""

from __future__ import annotations

import ast
import csv
import re
import sys
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from pathlib import Path
from typing import Any, TypeAlias, cast

from espalier.core.errors import DataError
from espalier.core.files import parse_json
from espalier.formats.conversations import MESSAGES, SHAREGPT
from espalier.formats.instructions import PAIRS
from espalier.formats.questions import CHOICES

DELIMITERS = (",", ";", "\t", "|")
SAMPLE = 1000  # lines by which delimiter and quotes are told
# Cells that hold JSON where they begin like it.
STRUCTURED = {
    *(*MESSAGES, *SHAREGPT, "history", "tools", "functions", "instances", "choices", "options"),
    *("chosen", "rejected", "chosen_messages", "rejected_messages", "prompt", "completion", "answers"),
    *("completions", "turns", "images", "image", "audios", "audio"),
}
WORDS = {word for pair in PAIRS for word in pair}
LABELLED = {"completion", "messages", "conversations", "kto_tag"}
THUMBS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}

# How cells are quoted: as usual, not at all, behind a space, or with a backslash before a quote inside.
HABITS = ("", "bare", "spaced", "escaped")
# What Excel writes above the header.
EXCEL = re.compile(r"\ufeff?\"?sep=.\"?\s*", re.IGNORECASE)
ESCAPED = re.compile(r'(?<!\\)\\"')

Way: TypeAlias = tuple[str, str]  # a delimiter and a habit
# Where it stands, the number of its line, its cells by column, and why it is none.
Cells: TypeAlias = tuple[str, int, object, DataError | None]


def rows_of_cells(path: Path, lines: Iterator[str], columns: Collection[str] = ()) -> Iterator[Cells]:
    """Yield the rows of a table of texts below its header; an empty cell is one that the row does not have.

    Args:
        path: the file, for places.
        lines: its lines, with their ends.
        columns: those that are meant: where they are numbers, and none is called so, there is no header.

    Raises:
        DataError: two columns have one name, or a quote is never closed.
    """
    csv.field_size_limit(sys.maxsize)
    sample = list(islice(lines, SAMPLE))
    skipped = 1 if sample and EXCEL.fullmatch(sample[0]) else 0
    way = _way(sample[skipped:], path.name)
    delimiter, _ = way
    reader = _reader(chain(sample[skipped:], lines), way)
    names: list[str] = []
    line = 1 + skipped
    while True:
        where, number = f"{path}:{line}", line
        try:
            cells = next(reader, None)
        except csv.Error as error:
            yield where, number, None, _broken(error, where, delimiter)
            line = reader.line_num + 1 + skipped
            continue
        line = reader.line_num + 1 + skipped
        if cells is None:
            return
        if not any(cell.strip() for cell in cells):
            continue
        if not names:
            numbers = [str(column) for column in range(1, len(cells) + 1)]
            bare = bool(columns) and {*columns} <= {*numbers} - {*cells}
            names = numbers if bare else _named(cells, where)
            if not bare:
                continue
        if len(cells) != len(names):
            message = f"The row has {len(cells)} cells, and the header {len(names)}."
            hint = f"Put a cell that holds {delimiter!r} or a line end into quotes."
            yield where, number, cells, DataError(message, where=where, hint=hint)
        else:
            value = {name: cell for name, cell in zip(names, cells, strict=True) if cell != ""}
            yield where, number, value, None


def _broken(error: csv.Error, where: str, delimiter: str) -> DataError:
    """Return what is wrong with a row's quotes. Raises it where no row can follow."""
    if "end of data" in str(error):
        raise DataError(
            "A quote that opens in this row is never closed.",
            where=where,
            hint='Close it; a quote inside a cell is written twice: "".',
        ) from None
    return DataError(
        f"The row cannot be read: {error}.",
        where=where,
        hint=f'Quotes go around a whole cell, up to {delimiter!r}; one inside is written twice: "".',
    )


def _named(cells: Sequence[str], where: str) -> list[str]:
    names = [cell.strip() or f"(column {number})" for number, cell in enumerate(cells, start=1)]
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise DataError(f"Two columns are called {twice!r}.", where=where, hint="Name each another way.")
    return names


def _way(sample: Sequence[str], name: str) -> Way:
    """Return delimiter and habit by which all rows of a sample have as many cells, and the most.

    Tabs part cells that are often written without quotes, so that a quote there is a mark like any other.
    """
    preferred = "\t" if ".tsv" in name.lower() or ".tab" in name.lower() else ","
    known = sorted(DELIMITERS, key=lambda delimiter: delimiter != preferred)
    ways = [(delimiter, habit) for habit in HABITS for delimiter in (known if habit != "bare" else "\t")]
    return max(ways, key=lambda way: _fit(sample, way))


def _reader(lines: Iterable[str], way: Way) -> Any:
    delimiter, habit = way
    if habit == "escaped":  # before another character, a backslash is one that the text has
        lines = (ESCAPED.sub('""', line) for line in lines)
    quoting: Any = csv.QUOTE_NONE if habit == "bare" else csv.QUOTE_MINIMAL
    spaced = habit == "spaced"
    return csv.reader(lines, delimiter=delimiter, quoting=quoting, skipinitialspace=spaced, strict=True)


def _fit(sample: Sequence[str], way: Way) -> tuple[bool, float, int]:
    """Return whether there is a second column, the share of rows like the first, and how many columns."""
    widths: list[int] = []
    reader = _reader(sample, way)
    while True:
        try:
            cells = next(reader, None)
        except csv.Error as error:
            if "end of data" in str(error) and len(sample) == SAMPLE:  # the sample ends in a cell
                break
            widths.append(-1)
            continue
        if cells is None:
            break
        if any(cells):
            widths.append(len(cells))
    if not widths:
        return False, 0, 0
    return widths[0] > 1, widths.count(widths[0]) / len(widths), widths[0]


def opened_cell(name: str, cell: object, row: Mapping[str, object]) -> object:
    """Return what a table's cell holds: a text, turns and lists that are written as JSON, or a thumb.

    pandas writes lists the way that Python shows them. A number where a text should be is the one
    that it would be in CSV; among choices it is a place.
    """
    if type(cell) in (int, float) and name in WORDS and not row.keys() & {*CHOICES}:
        return str(cell)
    if not isinstance(cell, str):
        return cell
    if name in STRUCTURED and cell.lstrip()[:1] in ("[", "{"):
        try:
            return parse_json(cell)
        except ValueError:
            return _literal(cell)
    if name == "correct" or (name in ("label", "kto_tag") and row.keys() & LABELLED):
        return THUMBS.get(cell.strip().lower(), cell)
    return cell


def _literal(cell: str) -> object:
    if not cell.lstrip().startswith(("[{'", "{'")):
        return cell
    try:
        return cast("object", ast.literal_eval(cell.strip()))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return cell
