"""`espalier claims`: what papers say, asked small, with verdicts that are ruled beforehand."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from espalier.claims.claim import bundled_claims, load_claims
from espalier.cli.interruption import going_on
from espalier.cli.progress import hushed, shown
from espalier.cli.settings import DEFAULT_CACHE, Cache, Json, Overrides
from espalier.cli.summary import print_tables
from espalier.cli.terminal import as_json
from espalier.core.errors import DataError
from espalier.runs.events import say
from espalier.runs.signals import stoppable


def _named(incomplete: str) -> list[str]:
    return [name for name in bundled_claims() if name.startswith(incomplete)]


def claims(
    names: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="[CLAIM]...",
            help="Names of bundled claims, or files; all bundled ones by default.",
            show_default=False,
            autocompletion=_named,
        ),
    ] = None,
    override: Overrides = None,
    *,
    plan: Annotated[
        bool, typer.Option("--plan", help="Only say what each costs and could see; nothing is run.")
    ] = False,
    anyway: Annotated[
        bool, typer.Option("--anyway", help="Run what cannot be expected to see its effect, too.")
    ] = False,
    copy: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="Only copy the claims' files there, to be edited.")
    ] = None,
    folder: Annotated[Path, typer.Option(help="Where the ledger and the studies are.")] = Path("claims"),
    json: Json = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Ask small what papers say, and print a ledger of verdicts.

    Each claim is a file: a study, what is measured, and the rule of the verdict, hashed before the run.
    """
    asked = load_claims(names or (), override or ())
    if copy is not None:
        for claim in asked:
            _copied(bundled_claims().get(claim.name), copy)
        return
    from espalier.claims.settle import settle

    with going_on(), stoppable(hushed, shown):
        found = settle(asked, folder, cache, plan=plan, anyway=anyway)
    if json:
        typer.echo(as_json(found.plain()))
    else:
        print_tables([found.sentence], [found.table()], "Effects are in points.", found.notes())
        if not plan:
            say(f"Page: {folder / 'claims.html'}")


def _copied(file: Path | None, folder: Path) -> None:
    if file is None:
        return
    to = folder / file.name
    if to.exists():
        raise DataError("There is a file already.", where=str(to), hint="Name another folder.")
    folder.mkdir(parents=True, exist_ok=True)
    to.write_bytes(file.read_bytes())
    typer.echo(str(to))
