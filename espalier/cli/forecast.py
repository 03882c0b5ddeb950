"""`espalier forecast`: what a recipe's training will take."""

from __future__ import annotations

import json
from dataclasses import asdict
from typing import Any

import typer

from espalier.cli.settings import DEFAULT_CACHE, Cache, Json, Overrides, RecipeFile
from espalier.core.recipe import load_recipe


def forecast(
    recipe: RecipeFile,
    override: Overrides = None,
    as_json: Json = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Tell how long training will take, and in how much memory.

    Two steps of each stage are taken and thrown away. Answers and scores are not counted.
    """
    from espalier.runs.plan import resolve

    choices = resolve(load_recipe(recipe, override or ()))
    from espalier.runs.following import foretold
    from espalier.runs.forecast import forecasts

    found: dict[str, Any] = {"stages": []}
    for stage, ahead, formats in forecasts(choices, cache):
        found["precision"] = asdict(formats)
        found["stages"].append({"stage": stage.name, **asdict(ahead)})
        if not as_json:
            typer.echo(foretold(stage, ahead))
    if as_json:
        typer.echo(json.dumps(found))
