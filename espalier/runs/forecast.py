"""What a recipe's training will take, from two steps of each stage; nothing is kept."""

from __future__ import annotations

import tempfile
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.run import RunFolder
from espalier.runs.execute import say_sharing
from espalier.runs.following import look_ahead
from espalier.runs.load import load_base
from espalier.runs.plan import make_plan
from espalier.runs.stages import heldout_of, ready_model, settings_of, source_of
from espalier.train.noise import noisy

if TYPE_CHECKING:
    from collections.abc import Iterator

    from espalier.models.precision import Formats
    from espalier.runs.plan import Choices, Plan, Stage
    from espalier.train.forecast import Forecast


def forecasts(choices: Choices, cache: Path) -> Iterator[tuple[Stage, Forecast, Formats]]:
    """Yield each stage with what its training will take, and the number formats of all."""
    recipe = choices.recipe
    known = RunFolder(Path(recipe.folder) / recipe.name)
    with tempfile.TemporaryDirectory(prefix="espalier-forecast-") as folder:
        plan = make_plan(choices, cache, Path(folder) / "run", known=known)
        for stage in plan.stages:
            if stage.number:  # a method changes the model that it prepares
                fresh = load_base(recipe.model, cache, recipe.seed)
                fresh = replace(fresh, formats=plan.loaded.formats, template=plan.template)
                plan = replace(plan, loaded=fresh)
            say_sharing(plan.loaded, stage.longest)
            yield stage, _ahead(plan, stage), plan.loaded.formats


def _ahead(plan: Plan, stage: Stage) -> Forecast:
    stage.folder.mkdir(parents=True, exist_ok=True)
    ready = ready_model(plan, stage)
    source = source_of(plan, stage, ready, key="forecast")
    settings = settings_of(stage, plan.loaded.formats.training)
    heldout = heldout_of(plan, stage, ready, settings)
    with noisy(ready.model, source, stage.section.noise, plan.seed) as steps:
        return look_ahead(stage, ready, steps, settings, heldout)
