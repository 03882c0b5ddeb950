"""`espalier explain`: what is behind a run's score."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, cast

import typer

from espalier.cli.settings import DEFAULT_CACHE, Cache, Json, RunPath
from espalier.cli.summary import print_tables
from espalier.cli.terminal import as_json
from espalier.core.errors import RunError

if TYPE_CHECKING:
    from pathlib import Path

    from espalier.explain.parts.prompt import Unit


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
    parts: Annotated[
        bool, typer.Option("--parts", help="What each part of the prompts adds to the answers.")
    ] = False,
    unit: Annotated[
        str | None, typer.Option(help="With --parts: what is taken away in turn: part, sentence or word.")
    ] = None,
    answer: Annotated[
        str | None, typer.Option(help="With --parts: the tuned model's own answer, or the reference.")
    ] = None,
    rows: Annotated[int | None, typer.Option(min=1, help="Most test rows, by whole sources.")] = None,
    json: Json = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Say what is behind a run's score: format, what tuning moved, what the definition does.

    Without --card, --shift, --style and --parts it is the first three. Nothing is asked twice.
    """
    chosen = {"card": card, "shift": shift, "style": style}
    if parts and any(chosen.values()):
        raise RunError("--parts has a page of its own, and is asked by itself.", hint="Ask twice.")
    if parts:
        _parts(run, cache, rows, unit or "part", answer or "own", json=json)
        return
    if unit or answer:
        raise RunError("--unit and --answer belong to --parts.", hint="Add --parts, or leave them out.")
    from espalier.explain.explain import PARTS
    from espalier.explain.explain import explain as explain_run

    found = explain_run(run, cache, [part for part in PARTS if chosen[part]] or PARTS, rows)
    if json:
        typer.echo(as_json(found.plain()))
        return
    left = found.card.left if found.card else {}
    notes = [*found.notes, *(f"{name.replace('_', ' ')}: {why}" for name, why in left.items())]
    print_tables([], found.tables(), found.footing, notes)
    for sentence in ("", *found.sentences):
        typer.echo(sentence)
    typer.echo(f"\n{run / 'explain' / 'explain.html'}")


def _parts(run: Path, cache: Path, rows: int | None, unit: str, answer: str, *, json: bool) -> None:
    from espalier.explain.parts.parts import explain_parts

    found = explain_parts(run, cache, rows, unit=cast("Unit", unit), answer=answer)
    if json:
        typer.echo(as_json(found.plain()))
        return
    print_tables([], found.tables(), found.footing, found.remarks)
    for sentence in ("", *found.sentences):
        typer.echo(sentence)
    typer.echo(f"\n{run / 'explain' / 'parts.html'}")
