"""`espalier init`: look at rows, and write a recipe that fits them, with the reasons."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from espalier.cli.settings import DEFAULT_CACHE, Cache
from espalier.core.errors import RecipeError, RunError
from espalier.core.files import write_atomic
from espalier.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence


def init(
    file: Annotated[
        str,
        typer.Argument(
            help="Rows, a folder of them, a task file, a bundled task, or a data set of the hub.",
            show_default=False,
        ),
    ],
    out: Annotated[Path, typer.Option(help="The recipe to write.")] = Path("recipe.toml"),
    model: Annotated[str, typer.Option(help="The model to tune, as model.name.")] = "smollm2-135m",
    column: Annotated[
        list[str] | None,
        typer.Option(
            metavar="KEY=COLUMN", help="Which column is meant, as in task.columns. Can be repeated."
        ),
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace a recipe that is there.")] = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Look at rows, and write a recipe that fits them.

    It says why for each choice, in the recipe and here.
    """
    from espalier.runs.first_recipe import first_recipe, written
    from espalier.runs.look import look_at

    if out.is_dir():
        out = out / "recipe.toml"
    if out.exists() and not overwrite:
        hint = "Name another with --out, or replace it with --overwrite."
        raise RunError("The file exists.", where=str(out), hint=hint)
    seen = look_at(file, out, model, _columns(column or ()), cache)
    choices = first_recipe(seen)
    about = f"A first recipe for {seen.path}, written by espalier init. Each line stands under its reason."
    write_atomic(out, written(choices, about))
    for choice in choices:
        if choice.why:
            typer.echo(f"{choice.line}\n    {choice.why}")
    typer.echo(f"{out}: written for {counted(len(seen.examples), 'row')}. Look: espalier inspect {out}")
    typer.echo(f"Then: espalier run {out}")


def _columns(pairs: Sequence[str]) -> dict[str, str]:
    split = [pair.partition("=") for pair in pairs]
    if wrong := next((key for key, equals, column in split if not (key and equals and column)), None):
        raise RecipeError(f"'{wrong}' names no column.", hint="Write it as --column prompt=query.")
    return {key: column for key, _, column in split}
