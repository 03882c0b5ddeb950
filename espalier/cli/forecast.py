"""`espalier forecast`: what a recipe's training will take, from two steps of each stage; nothing is kept."""

from __future__ import annotations

import json
import tempfile
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from espalier.cli.progress import working
from espalier.cli.settings import DEFAULT_CACHE, Cache, Json, Overrides, RecipeFile

if TYPE_CHECKING:
    from espalier.cli.stages import Stage
    from espalier.core.recipe import Recipe
    from espalier.models.load import Loaded
    from espalier.train.forecast import Forecast


def forecast(
    recipe: RecipeFile,
    override: Overrides = None,
    as_json: Json = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Tell how long training will take, and in how much memory.

    Two steps of each stage are taken and thrown away. Answers and scores are not counted.
    """
    from espalier.cli import tuning
    from espalier.cli.following import told
    from espalier.cli.precision import settle
    from espalier.cli.prepare import prepare
    from espalier.cli.stages import plan_stages
    from espalier.core.recipe import load_recipe

    plan = load_recipe(recipe, override or ())
    prepared = prepare(plan)
    with working("Getting ready"):
        from espalier.cli.run import choose

        choices = choose(plan)
    loaded = settle(plan, tuning.load(plan.model, cache))
    loaded = tuning.rendered(plan, loaded, tuning.folder_of(plan))
    found: list[dict[str, Any]] = []
    with tempfile.TemporaryDirectory(prefix="espalier-forecast-") as folder:
        for stage in plan_stages(plan, choices.objectives, prepared, loaded.template, Path(folder)):
            if found:  # a method changes the model that it prepares
                loaded = replace(
                    tuning.load(plan.model, cache), formats=loaded.formats, template=loaded.template
                )
            tuning.say_sharing(loaded.model, stage.longest)
            ahead = _ahead(plan, stage, loaded)
            found.append({"stage": stage.name, **asdict(ahead)})
            if not as_json:
                typer.echo(told(stage, ahead))
    if as_json:
        typer.echo(json.dumps({"precision": asdict(loaded.formats), "stages": found}))


def _ahead(plan: Recipe, stage: Stage, loaded: Loaded) -> Forecast:
    from espalier.cli.following import look_ahead
    from espalier.cli.stages import ready_model, settings_of, source_of
    from espalier.train.noise import noisy

    stage.folder.mkdir(parents=True, exist_ok=True)
    model, template, forward = ready_model(plan, stage, loaded)
    formats = loaded.formats
    source = source_of(plan, stage, model, template, forward, formats=formats, key="forecast")
    with noisy(model, source, stage.section.noise, plan.seed) as steps:
        return look_ahead(stage, model, steps, settings_of(stage, formats.training), forward)
