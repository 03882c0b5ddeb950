"""`espalier build`: from sources to a data set, with what became of each row."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from espalier.builds.model import Terms
from espalier.builds.recipe import load_build
from espalier.cli.interruption import going_on
from espalier.cli.keys import key_of
from espalier.cli.settings import DEFAULT_CACHE, Cache, Overrides, RecipeFile
from espalier.runs.events import say
from espalier.runs.signals import stoppable

if TYPE_CHECKING:
    from espalier.builds.built import Build


def build(
    recipe: RecipeFile,
    override: Overrides = None,
    replay: Annotated[
        bool, typer.Option("--replay", help="Write the generated rows again from the journal; ask no server.")
    ] = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Build a data set, and show what became of its rows.

    The same command goes on after an interruption; what is done, answered or paid for is not done again.
    """
    from espalier.builds.build import build as build_set
    from espalier.builds.generation import bill_of

    with going_on(), stoppable():
        asked = load_build(recipe, override or ())
        path = Path(asked.folder) / asked.name
        say(f"Build {asked.name}, in {path}")
        made = build_set(asked, path, Terms(cache, key_of(asked), replay))
    print_funnel(made)
    if bill := bill_of(made.paid, made.funnel.written):
        say(bill)
    say(f"Report: {made.report}")


def print_funnel(made: Build) -> None:
    """Print how many rows came in, what each filter found in all of them, and how many go out."""
    funnel, mixed = made.funnel, sum(portion.rows for portion in made.portions)
    ends = f"{funnel.out} pass, {mixed} go out in the mixture" if mixed else f"{funnel.out} out"
    title = f"{funnel.rows} rows in, {ends}"
    table = Table(
        title=title, title_justify="left", box=None, pad_edge=False, padding=(0, 2, 0, 0), expand=True
    )
    for name in ("", "found", "of all", "left after"):
        side = "right" if name else "left"
        table.add_column(name, no_wrap=True, justify=side, max_width=30, overflow="ellipsis")
    table.add_column("for example", no_wrap=True, overflow="ellipsis", ratio=1)
    for source in funnel.sources:
        notes = [f"{source.rejected} cannot be used"] if source.rejected else []
        notes += ["to write from"] if source.use not in ("rows", "generated") else []
        name = Text(f"{'by' if source.use in ('generated', 'step') else 'from'} {source.name}")
        table.add_row(name, "", "", str(source.rows), Text(", ".join(notes)))
    for step in funnel.steps:
        share = f"{100 * step.found / max(1, funnel.rows):.1f} %"
        shown = step.examples[0].why if step.examples else ""
        name = step.name if step.drops else f"{step.name} (stay)"
        table.add_row(Text(name), str(step.found), share, str(step.left), Text(" ".join(shown.split())))
    table.add_row("pass" if mixed else "out", "", "", str(funnel.out), "")
    if mixed:
        table.add_row("in the mixture", "", "", str(mixed), "")
    Console(highlight=False).print(table)
