"""`espalier data longtail` and `espalier data tradeoff`: kinds of rows, and what strictness costs."""

from __future__ import annotations

import sys
import tomllib
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from espalier.cli.settings import Json
from espalier.cli.terminal import as_json as as_line
from espalier.core.errors import RecipeError
from espalier.core.files import write_atomic
from espalier.core.text import counted
from espalier.report.plots import tail_plot, tradeoff_plot

if TYPE_CHECKING:
    from espalier.building.longtail import LongTail
    from espalier.building.tradeoff import Tradeoff

Place = Annotated[
    Path,
    typer.Argument(
        metavar="FOLDER|FILE", help="A build's folder, or rows in any format.", show_default=False
    ),
]
Svg = Annotated[Path | None, typer.Option(help="Draw it into this file.", show_default=False)]
LINES = 12  # thresholds that a table shows


def longtail(
    place: Place,
    fill: Annotated[str, typer.Option(help="Tell what would fill the thin kinds of this facet.")] = "",
    least: Annotated[int, typer.Option(min=0, help="Rows that each kind is to have.")] = 0,
    topics: Annotated[int, typer.Option(min=0, help="How many topics.")] = 0,
    svg: Svg = None,
    as_json: Json = False,
) -> None:
    """Tell how much of the rows sits in how few kinds, and which kinds are thin."""
    from espalier.builds.tail import tail_of

    report = tail_of(place, topics)
    if svg is not None:
        write_atomic(svg, tail_plot(report, f"The long tail of {place.name}").encode())
    if fill:
        for one in report.wanted(fill, least):
            wanted = {"facet": one.facet, "kind": one.kind, "rows": one.rows, "seeds": one.seeds}
            typer.echo(as_line(wanted) if as_json else f"{one.rows:>6} more of '{one.kind}'")
    elif as_json:
        typer.echo(as_line(report.as_json()))
    else:
        _print_tail(report)


def tradeoff(
    place: Place,
    *,
    filter: Annotated[str, typer.Option(help="Whose score is swept.", show_default=False)],
    params: Annotated[
        list[str] | None,
        typer.Option("--set", "-s", help="A parameter of the filter: key=value, as in TOML."),
    ] = None,
    keep: Annotated[str, typer.Option(help="Which rows stay: those over or under the threshold.")] = "over",
    checks: Annotated[
        str, typer.Option(help="Checks of the task that say which rows are right; else the review does.")
    ] = "",
    svg: Svg = None,
    as_json: Json = False,
) -> None:
    """Sweep a filter's threshold: kinds that are still covered against rows that are right."""
    from espalier.builds.tail import Sweep, sweep

    if keep not in ("over", "under"):
        raise RecipeError(f"'{keep}' does not fit: over or under.", where="--keep")
    names = tuple(name.strip() for name in checks.split(",") if name.strip())
    found = sweep(place, Sweep(filter, _params(params or []), "over" if keep == "over" else "under", names))
    if svg is not None:
        write_atomic(svg, tradeoff_plot(found, f"{filter}: coverage against accuracy").encode())
    if as_json:
        typer.echo(as_line(found.as_json()))
    else:
        _print_sweep(found)


def _params(given: list[str]) -> dict[str, Any]:
    try:
        return tomllib.loads("\n".join(given))
    except tomllib.TOMLDecodeError as error:
        raise RecipeError(
            f"A parameter is no TOML: {error}.", where="--set", hint="Write: --set of='\"row\"'"
        ) from None


def _print_tail(report: LongTail) -> None:
    table = Table("facet", "kinds", "gini", "top 10 hold", "half in", "thin", "largest")
    for tail in report.tails:
        if tail.kinds:
            largest = ", ".join(f"{kind.name} {100 * kind.share:.0f} %" for kind in tail.kinds[:3])
            numbers = (len(tail.kinds), f"{tail.gini:.2f}", f"{100 * tail.top:.0f} %", tail.half, tail.thin)
            table.add_row(tail.facet, *map(str, numbers), largest)
    _print(table)
    typer.echo(counted(report.rows, "row"))


def _print_sweep(found: Tradeoff) -> None:
    names = [*found.points[0].covered]
    table = Table("threshold", "rows", "of all", "pass", *names)
    step = max(1, round(len(found.points) / LINES))
    for place, point in enumerate(found.points):
        if place % step and place != found.knee and place != len(found.points) - 1:
            continue
        one = point.passing
        passing = (
            f"{100 * one.value:.1f} ({100 * one.low:.1f} to {100 * one.high:.1f})" if one.n else "not judged"
        )
        mark = " ◄ knee" if place == found.knee else ""
        bound = "none" if point.threshold is None else f"{point.threshold:.4g}"
        covered = (f"{100 * point.covered[name]:.0f} %" for name in names)
        table.add_row(f"{bound}{mark}", str(point.rows), f"{100 * point.share:.0f} %", passing, *covered)
    _print(table)
    typer.echo(found.why)


def _print(table: Table) -> None:
    # In a pipe no column is cut to the width of a terminal that is not there.
    width = None if sys.stdout.isatty() else 160
    Console(highlight=False, markup=False, width=width).print(table)
