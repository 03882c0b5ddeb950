"""The report of a build: one self-contained HTML file on what became of the rows.

The funnel as bars, of each filter some of what it found with the evidence, and how long answers are.
"""

from __future__ import annotations

import functools
import re
import statistics
from typing import TYPE_CHECKING, Any

from markupsafe import Markup, escape

from espalier.building.exporting import read_exported
from espalier.building.funnel import FUNNEL, TABLE, read_funnel
from espalier.building.review import NAME, decisions_of, settled
from espalier.core.files import read_text, write_atomic
from espalier.core.journal import Journal
from espalier.core.run import RunFolder
from espalier.core.text import counted
from espalier.data.pairs import Pairs
from espalier.report.charts import histograms
from espalier.report.layout import environment, page_of
from espalier.report.lengths import Lengths

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from jinja2 import Environment

    from espalier.building.exporting import Exported
    from espalier.building.funnel import Funnel
    from espalier.building.review import Settled


def is_build(folder: Path) -> bool:
    """Tell the folder of a build from that of a run."""
    return (folder / FUNNEL).is_file()


def write_build_report(folder: Path) -> Path:
    """Write `report.html` into a build's folder, from its funnel and what people decided; return its path.

    Raises:
        DataError: the funnel cannot be read.
        RunError: the file cannot be written.
    """
    run, funnel = RunFolder(folder), read_funnel(folder / FUNNEL)
    decisions = decisions_of(Journal(folder / NAME))
    dropping = [step.name for step in funnel.steps if step.drops]
    people = settled(Pairs(folder / TABLE), dropping, decisions) if decisions else None
    html = render(funnel, people, read_text(run.recipe), read_exported(folder))
    write_atomic(run.report, html)
    return run.report


@functools.cache
def _pages() -> Environment:
    from jinja2 import pass_context

    return environment(
        {
            "counted": counted,
            "marked": _marked,
            "number": lambda n: f"{n:,}".replace(",", "\u202f"),
            "share": pass_context(lambda page, n: f"{100 * n / max(1, page['funnel'].rows):.1f}"),
        }
    )


def render(
    funnel: Funnel, people: Settled | None = None, recipe: str = "", exported: Exported | None = None
) -> str:
    """Return the report as HTML."""
    mixed = exported.rows if exported and exported.portions else None
    shown = {
        "funnel": funnel,
        "people": people,
        "out": _out(funnel, people),
        "mixed": mixed,
        "portions": exported.portions if exported else (),
        "recipe": recipe.strip(),
        "bars": _bars(funnel, people, mixed),
        "lengths": _lengths(funnel),
        "marked": _marked,
    }
    return page_of(_pages(), "build.html", shown)


def _out(funnel: Funnel, people: Settled | None) -> int:
    """Return how many rows go out once people have decided."""
    return funnel.out + (people.back - people.out if people else 0)


def _bars(funnel: Funnel, people: Settled | None, mixed: int | None) -> list[dict[str, Any]]:
    """Return the bars of the funnel: what is left, and what was found, in per cent of the rows in."""
    whole, out = max(1, funnel.rows), _out(funnel, people)
    rows = [{"name": "rows in", "left": 100.0, "found": 0.0, "count": funnel.rows, "of": None}]
    rows += [
        {
            "name": step.name,
            "left": 100 * step.left / whole,
            "found": 100 * step.found / whole,
            "count": step.left,
            "of": step,
        }
        for step in funnel.steps
    ]
    ends = [("rows out", out)] if mixed is None else [("rows that pass", out), ("in the mixture", mixed)]
    # A mixture may take rows more than once, and so have more than came in.
    return rows + [
        {"name": name, "left": min(100.0, 100 * count / whole), "found": 0.0, "count": count, "of": None}
        for name, count in ends
    ]


def _lengths(funnel: Funnel) -> list[Lengths]:
    found = {name: counts for name, counts in funnel.lengths.items() if counts}
    drawn = histograms([*found.values()]) if found else []
    return [
        Lengths(name, statistics.median(counts), max(counts), bars)
        for (name, counts), bars in zip(found.items(), drawn, strict=True)
    ]


def _marked(text: str, parts: Sequence[str]) -> Markup:
    """Return a text, escaped, in which what a verdict meant is marked."""
    found = [part for part in sorted(parts, key=len, reverse=True) if part and part in text]
    if not found:
        return escape(text)
    pieces = re.split("(" + "|".join(map(re.escape, found)) + ")", text)
    return Markup("").join(
        Markup("<mark>{}</mark>").format(piece) if piece in found else escape(piece) for piece in pieces
    )
