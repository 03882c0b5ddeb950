"""The models of a run: the recipe's, and those that a run has made."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from espalier.core.errors import ModelError, RunError
from espalier.core.files import damage
from espalier.core.recipe import load_recipe
from espalier.core.records import ALONE
from espalier.core.run import stage_name
from espalier.core.standing import read_provenance
from espalier.decode.local import local_of
from espalier.encode.voice import Rendering
from espalier.models.allocator import tune_allocator
from espalier.models.device import device_of
from espalier.models.load import find_model, load_model, load_tuned
from espalier.models.reward import rates
from espalier.runs.events import working
from espalier.runs.precision import of_run
from espalier.train.parallel import on_first

if TYPE_CHECKING:
    from pathlib import Path

    from espalier.core.recipe import ModelSection, Recipe
    from espalier.core.records import Ranks
    from espalier.core.run import RunFolder
    from espalier.decode.local import Local
    from espalier.models.load import Loaded


def load_base(section: ModelSection, cache: Path) -> Loaded:
    """Fetch and load the recipe's model onto its device. Raises ModelError."""
    tune_allocator()
    with working(f"Loading {section.name}") as tell:
        return load_model(find_model(section.name, cache, tell), device_of(section.device))


def load_writer(section: ModelSection, cache: Path) -> Loaded:
    """Fetch and load a model that writes. Raises ModelError, also where it rates answers."""
    loaded = load_base(section, cache)
    if rates(loaded.model):
        raise ModelError("The model rates answers; this needs one that writes them.", where=section.name)
    return loaded


@working("Loading the tuned model", aloud=False)
def load_run(run: RunFolder, cache: Path, *, rating: bool = False) -> Loaded:
    """Load the tuned model of a run: one that writes, or with `rating` a reward model.

    Raises:
        RunError: see `check_run`.
    """
    check_run(run, rating=rating)
    recipe = load_recipe(run.recipe)
    loaded = load_tuned(run.model, base_of(run, cache), device_of(recipe.model.device))
    return rendered(loaded, rendering_of(recipe), run)


def load_to_decode(run: RunFolder, cache: Path, *, base: bool = False) -> Local:
    """Return a run's tuned model, or with `base` the one that it tuned, ready to decode as its answers were.

    Raises:
        RunError: see `check_run`.
    """
    loaded = load_base(load_recipe(run.recipe).model, cache) if base else load_run(run, cache)
    return local_of(of_run(run, loaded, "decoding"), in_place=True)


def rendered(
    loaded: Loaded, rendering: Rendering, run: RunFolder | None = None, ranks: Ranks = ALONE
) -> Loaded:
    """Return a model whose template renders so, under the date of the run's first start.

    Every rank has to call it; rank 0 says which date it is.
    """
    dated = on_first(partial(dated_as, run, rendering), ranks)
    return replace(loaded, template=loaded.template.under(dated))


def rendering_of(recipe: Recipe) -> Rendering:
    """Return how a recipe wants rows rendered, under no date yet."""
    return Rendering(recipe.task.special, arguments=recipe.model.template)


def dated_as(run: RunFolder | None, rendering: Rendering) -> Rendering:
    """Return the rendering under the date of the run's first start; that is now where it has not begun."""
    begun = read_provenance(run).get("today") if run else None
    today = datetime.fromisoformat(begun) if isinstance(begun, str) else datetime.now()
    return replace(rendering, today=today.replace(microsecond=0))


def check_run(run: RunFolder, *, rating: bool) -> None:
    """Raise RunError where the tuned model of a run is not there yet, is damaged, or is of the other sort."""
    if not run.model.is_dir():
        raise RunError(
            "The run has no tuned model yet.", where=str(run.path), hint="Finish it with `espalier run`."
        )
    stages = load_recipe(run.recipe).train
    done = run.done(stage_name(len(stages) - 1, len(stages)))
    if done and (wrong := damage(run.model, done.files)):
        raise RunError(
            f"The run's tuned model is damaged: {wrong}.",
            where=str(run.model),
            hint="The run's own command tells whether a checkpoint is left to make it from.",
        )
    if any(choice.kind == "reward" for choice in stages[-1].objective) != rating:
        does = ("writes answers", "rates them") if rating else ("rates answers", "writes them")
        raise RunError(
            f"The run's model {does[0]}; this needs one that {does[1]}.",
            where=str(run.path),
            hint="A reward model is what a run makes whose last stage has the objective 'reward'.",
        )


def base_of(run: RunFolder, cache: Path) -> str:
    """Return the folder of the model that the run's last stage began with."""
    recipe = load_recipe(run.recipe)
    if len(recipe.train) > 1:
        return str(run.path / "stages" / str(len(recipe.train) - 2) / "model")
    return find_model(recipe.model.name, cache)
