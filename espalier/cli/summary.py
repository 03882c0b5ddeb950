"""What a run ends with, printed: the scores, what tuning changed, and what is to be said of it."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from espalier.evaluate.findings import findings
from espalier.report.summary import forgetting, kind_by_kind, overall, task_by_task

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from espalier.evaluate.scores import Scores
    from espalier.report.summary import Sheet

WIDE = 110  # columns that a sentence is spread over at most
FULL = 8  # columns of a table that stand close together
NAME = 14  # columns of a terminal that the name of a table's column may take beyond its numbers


def print_summary(scores: Scores) -> None:
    """Print scores, task by task where there are several, and what is to be said of them, the worst first."""
    console = Console(soft_wrap=True, highlight=False)
    whole = overall(scores)
    table = _drawn(whole)
    table.caption_justify, table.caption = "left", "\n".join(whole.notes) or None
    console.print(table)
    for part in filter(None, (task_by_task(scores), kind_by_kind(scores), forgetting(scores))):
        console.print()
        console.print(_drawn(part))
        for note in part.notes:
            console.print(note)
    for finding in findings(scores):
        mark = {"bad": "!", "good": "+", "caution": "-"}[finding.severity]
        console.print(_wrapped(mark, finding.text, min(console.width, WIDE)), markup=False)


def print_tables(
    said: Iterable[str], tables: Iterable[Sequence[Sequence[str]]], footing: str, notes: Iterable[str]
) -> None:
    """Print sentences, tables under their columns' names, intervals under their values, and notes."""
    console = Console(highlight=False)
    for sentence in said:
        console.print(Text(sentence))
    for head, *rows in tables:
        stacked = [[cell.replace(" (", "\n").removesuffix(")") for cell in row] for row in rows]
        for table in fitting(head, stacked, console.width):
            console.print(table)
    for line in ("", footing, *(f"- {note}" for note in notes)):
        console.print(Text(line))


def fitting(head: Sequence[str], rows: Sequence[Sequence[str]], width: int) -> Iterator[Table]:
    """Yield a table, or where it is too wide several below one another, each with the rows' names.

    Numbers are never cut or wrapped; names of columns and rows are.
    """
    gap = 1 if len(head) >= FULL else 2
    names = min(max(map(_width, [head[0], *(row[0] for row in rows)])), max(NAME, width // 4))
    sizes = [max(_width(row[place]) for row in rows) if rows else 0 for place in range(len(head))]
    sizes = [max(size, min(_width(name), NAME)) for size, name in zip(sizes, head, strict=True)]
    blocks: list[list[int]] = [[]]
    for place in range(1, len(head)):
        taken = names + sum(sizes[each] + gap for each in (*blocks[-1], place))
        if blocks[-1] and taken > width:
            blocks.append([])
        blocks[-1].append(place)
    for block in blocks:
        table = Table(box=None, pad_edge=False, padding=(1, gap, 0, 0))
        table.add_column(head[0], max_width=names, overflow="fold")
        for place in block:
            named = Text("\n".join(wrap(head[place], sizes[place])) or head[place])
            table.add_column(named, justify="right", no_wrap=True, min_width=sizes[place])
        for row in rows:
            table.add_row(Text(row[0]), *(Text(row[place]) for place in block))
        yield table


def _width(text: str) -> int:
    """Return the columns of a terminal that the longest line takes."""
    return max(map(cell_len, text.split("\n")))


def _drawn(sheet: Sheet) -> Table:
    table = Table(
        *sheet.columns, title=sheet.title, title_justify="left", box=None, pad_edge=False,
        padding=(0, 1 if len(sheet.columns) >= FULL else 2, 0, 0),
    )  # fmt: skip
    for name, *values in sheet.rows:
        table.add_row(Text(name), *values)
    return table


def _wrapped(mark: str, text: str, width: int) -> str:
    """Return a sentence behind its mark, indented; options stay with their values, numbers with units."""
    joined = text.replace(" -o ", " -o\0").replace(" %", "\0%")
    lines = wrap(joined, width, initial_indent=f"{mark} ", subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")
