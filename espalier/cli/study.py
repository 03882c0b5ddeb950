"""`espalier study`: which choice made the difference, over many runs, and what could not be seen."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.cli.completion import recipe_files
from espalier.cli.interruption import going_on
from espalier.cli.progress import hushed, shown
from espalier.cli.settings import DEFAULT_CACHE, Cache, Json, Overrides
from espalier.cli.summary import print_tables
from espalier.cli.terminal import as_json
from espalier.design.recipe import load_study
from espalier.runs.events import say
from espalier.runs.signals import stoppable

if TYPE_CHECKING:
    from espalier.design.record import Findings


def study(
    study: Annotated[
        Path,
        typer.Argument(
            metavar="STUDY",
            help="The study's TOML file: a recipe, and the factors that are varied in it.",
            show_default=False,
            autocompletion=recipe_files,
        ),
    ],
    override: Overrides = None,
    *,
    plan: Annotated[
        bool, typer.Option("--plan", help="Tell what it will take and could see, and begin nothing.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Begin a study that cannot see its margin, too.")
    ] = False,
    assume: Annotated[
        list[str] | None,
        typer.Option(
            metavar="NAME=NUMBER",
            help="What the plan assumes: spread, correlation, seeds (points) or alike. Can be repeated.",
        ),
    ] = None,
    json: Json = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Say which choice made a difference: many runs, one page.

    Cells share their trainings and answers; the same command goes on after an interruption.
    """
    from espalier.study.ahead import plan_study
    from espalier.study.study import study as carry_out

    if plan:
        ahead = plan_study(load_study(study, override or ()), cache, assume or ())
        if json:
            typer.echo(as_json(ahead.plain()))
        else:
            first, *rest = ahead.sentences
            print_tables([first], [ahead.table()], ahead.footing, rest)
        return
    with going_on(), stoppable(hushed, shown):
        asked = load_study(study, override or ())
        found = carry_out(asked, cache, anyway=anyway, assume=assume or ())
    _show(found, asked.path, as_json_text=json)


def _show(found: Findings, folder: Path, *, as_json_text: bool) -> None:
    if as_json_text:
        typer.echo(as_json(found.plain()))
        return
    notes = [found.shared, *(one.compared.said for one in found.effects), *found.notes]
    said = [found.sentence, *(line for block in found.blocks for line in (block.title, *block.said))]
    tables = [found.table(), *([block.head, *block.table] for block in found.blocks if block.table)]
    print_tables(said, tables, found.footing, notes)
    say(f"Page: {folder / 'study.html'}")
