"""`espalier models`: the bundled models, and fetching one."""

from __future__ import annotations

from typing import Annotated

import typer

from espalier.cli.completion import package_names
from espalier.cli.settings import DEFAULT_CACHE, Cache
from espalier.models import bundled
from espalier.runs.events import working

models = typer.Typer(help="List the bundled models, or fetch one.", invoke_without_command=True)


@models.callback()
def listed(context: typer.Context, cache: Cache = DEFAULT_CACHE) -> None:
    """List the bundled models, and the encoders that see and hear for them."""
    if context.invoked_subcommand is not None:
        return
    for model in (*bundled.KNOWN.values(), *bundled.ENCODERS.values()):
        folder = bundled.cached(model.name, cache)
        typer.echo(f"{model.name}  {model.about}, {model.parameters} parameters, {model.licence}")
        typer.echo(f"  {folder or f'not fetched yet: espalier models fetch {model.name}'}")


@models.command()
def fetch(
    name: Annotated[
        str, typer.Argument(help="Name of a bundled model or encoder.", autocompletion=package_names)
    ],
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Download a bundled model and convert it, once."""
    with working(f"Fetching {name}") as tell:
        folder = bundled.fetch(name, cache, say=tell)
    typer.echo(folder)
