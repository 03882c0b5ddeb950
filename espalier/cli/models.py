"""`espalier models`: the bundled models, and fetching one."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from espalier.cli.settings import DEFAULT_CACHE, Cache

models = typer.Typer(help="List the bundled models, or fetch one.", invoke_without_command=True)


@models.callback()
def listed(context: typer.Context, cache: Cache = DEFAULT_CACHE) -> None:
    """List the bundled models."""
    if context.invoked_subcommand is not None:
        return
    from espalier.models.bundled import KNOWN, cached

    table = Table("name", "what", "parameters", "licence", "folder", box=None, pad_edge=False)
    for model in KNOWN.values():
        folder = cached(model.name, cache)
        place = str(folder) if folder else f"not fetched: espalier models fetch {model.name}"
        table.add_row(model.name, model.about, model.parameters, model.licence, place)
    Console(soft_wrap=True).print(table)


@models.command()
def fetch(
    name: Annotated[str, typer.Argument(help="Name of a bundled model.")], cache: Cache = DEFAULT_CACHE
) -> None:
    """Download a bundled model and convert it, once."""
    from espalier.models.bundled import fetch as fetch_model

    console = Console(soft_wrap=True)
    with console.status(f"Fetching {name}") as status:
        folder = fetch_model(name, cache, say=lambda text: status.update(text))
    console.print(folder, highlight=False)
