"""`espalier models`: the bundled models, and fetching one."""

from __future__ import annotations

from typing import Annotated

import typer

from espalier.cli.completion import model_names
from espalier.cli.settings import DEFAULT_CACHE, Cache
from espalier.runs.events import working

models = typer.Typer(help="List the bundled models, or fetch one.", invoke_without_command=True)


@models.callback()
def listed(context: typer.Context, cache: Cache = DEFAULT_CACHE) -> None:
    """List the bundled models."""
    if context.invoked_subcommand is not None:
        return
    from espalier.models.bundled import KNOWN, cached

    for model in KNOWN.values():
        folder = cached(model.name, cache)
        typer.echo(f"{model.name}  {model.about}, {model.parameters} parameters, {model.licence}")
        typer.echo(f"  {folder or f'not fetched yet: espalier models fetch {model.name}'}")


@models.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Name of a bundled model.", autocompletion=model_names)],
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Download a bundled model and convert it, once."""
    from espalier.models.bundled import fetch as fetch_model

    with working(f"Fetching {name}") as tell:
        folder = fetch_model(name, cache, say=tell)
    typer.echo(folder)
