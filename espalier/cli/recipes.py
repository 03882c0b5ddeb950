"""`espalier recipes`: the bundled recipes, and a copy of one to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from espalier.cli.completion import recipe_names
from espalier.core.bundled_recipes import SUFFIX, bundled_recipes
from espalier.core.errors import RecipeError, RunError, nearest
from espalier.core.files import read_text, write_atomic

recipes = typer.Typer(
    help="List the bundled recipes, or copy one to start from.", invoke_without_command=True
)


@recipes.callback()
def listed(context: typer.Context) -> None:
    """List the bundled recipes; each runs by its name: espalier run NAME."""
    if context.invoked_subcommand is not None:
        return
    for name, path in bundled_recipes().items():
        about = read_text(path).split("\n", 1)[0].removeprefix("# ")
        typer.echo(f"{name}\n  {about}")


@recipes.command()
def copy(
    name: Annotated[str, typer.Argument(help="Name of a bundled recipe.", autocompletion=recipe_names)],
    to: Annotated[
        Path | None,
        typer.Argument(help="The new file, or a folder; by default NAME.toml.", show_default=False),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a file that is there.")] = False,
) -> None:
    """Copy a bundled recipe, to be changed and run as your own."""
    known = bundled_recipes()
    if name not in known:
        raise RecipeError(f"No bundled recipe is named '{name}'.", hint=nearest(name, known))
    target = to or Path()
    if target.is_dir():
        target = target / f"{name}{SUFFIX}"
    if target.exists() and not overwrite:
        raise RunError(
            "The file exists.", where=str(target), hint="Name another one, or replace it with --overwrite."
        )
    write_atomic(target, read_text(known[name]))
    typer.echo(target)
