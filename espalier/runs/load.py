"""The models of a run: the recipe's, and those that a run has made."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime
from functools import partial
from typing import TYPE_CHECKING

from espalier.core.errors import ModelError
from espalier.core.recipe import load_recipe
from espalier.core.records import ALONE
from espalier.core.standing import read_provenance
from espalier.decode.local import local_of
from espalier.encode.voice import Rendering
from espalier.models.allocator import tune_allocator
from espalier.models.device import device_of
from espalier.models.load import load_model, load_tuned, with_encoders, with_pixels
from espalier.models.places import check_run, find_model, place_of
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


def load_base(section: ModelSection, cache: Path, seed: int = 0) -> Loaded:
    """Fetch and load the recipe's model onto its device, fresh projectors by the seed. Raises ModelError."""
    tune_allocator()
    with working(f"Loading {section.name}") as tell:
        loaded = load_model(find_model(section.name, cache, tell), device_of(section.device))
        loaded = with_pixels(loaded, section.pixels)
        return with_encoders(loaded, section.encoders, seed) if section.encoders else loaded


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
    place = place_of(run, cache)
    loaded = load_tuned(run.model, place.base or place, device_of(recipe.model.device))
    loaded = with_pixels(loaded, recipe.model.pixels)
    return rendered(loaded, rendering_of(recipe), run)


def load_base_of(run: RunFolder, cache: Path) -> Loaded:
    """Load the model that a run has tuned, to be asked as the run's rows are. Raises ModelError."""
    recipe = load_recipe(run.recipe)
    return rendered(load_base(recipe.model, cache, recipe.seed), rendering_of(recipe), run)


def load_to_decode(run: RunFolder, cache: Path, *, base: bool = False) -> Local:
    """Return a run's tuned model, or with `base` the one that it tuned, ready to decode as its answers were.

    Raises:
        RunError: see `check_run`.
    """
    loaded = load_base_of(run, cache) if base else load_run(run, cache)
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
