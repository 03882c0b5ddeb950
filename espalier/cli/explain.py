"""`espalier explain`: what is behind a run's score."""

from __future__ import annotations

from typing import Annotated

import typer

from espalier.cli.settings import DEFAULT_CACHE, Cache, Json, RunPath
from espalier.cli.summary import print_tables
from espalier.cli.terminal import as_json


def explain(
    run: RunPath,
    *,
    card: Annotated[
        bool, typer.Option("--card", help="Floors, and the rows asked with other definitions and examples.")
    ] = False,
    shift: Annotated[
        bool, typer.Option("--shift", help="The tuned model's answers, token by token, read by the base.")
    ] = False,
    style: Annotated[
        bool, typer.Option("--style", help="Style against facts on the general questions.")
    ] = False,
    rows: Annotated[int | None, typer.Option(min=1, help="Most test rows, by whole sources.")] = None,
    json: Json = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Say what is behind a run's score: format, what tuning moved, what the definition does.

    Without --card, --shift and --style it is all three. Nothing is asked twice.
    """
    from espalier.explain.explain import PARTS
    from espalier.explain.explain import explain as explain_run

    chosen = {"card": card, "shift": shift, "style": style}
    parts = [part for part in PARTS if chosen[part]] or PARTS
    found = explain_run(run, cache, parts, rows)
    if json:
        typer.echo(as_json(found.plain()))
        return
    left = found.card.left if found.card else {}
    notes = [*found.notes, *(f"{name.replace('_', ' ')}: {why}" for name, why in left.items())]
    print_tables([], found.tables(), found.footing, notes)
    for sentence in ("", *found.sentences):
        typer.echo(sentence)
    typer.echo(f"\n{run / 'explain' / 'explain.html'}")
