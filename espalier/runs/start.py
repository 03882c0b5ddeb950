"""A run from its recipe: what is left of it is done, and torch is loaded only where something is."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.errors import EspalierError, RunError
from espalier.core.recipe import read_toml
from espalier.core.records import ALONE
from espalier.core.run import RunFolder
from espalier.report.page import write_report
from espalier.runs.events import say
from espalier.runs.finished import is_finished
from espalier.runs.plan import choose
from espalier.runs.prepare import announced, prepare

if TYPE_CHECKING:
    from espalier.core.recipe import Recipe
    from espalier.core.records import Ranks
    from espalier.runs.books import Way


def start(
    recipe: Recipe, cache: Path, *, ranks: Ranks = ALONE, way: Way = "refuse", patience: float = 0.0
) -> RunFolder:
    """Do what is left of a run, on every rank of it, and return its folder; see `execute`.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    run = RunFolder(Path(recipe.folder) / recipe.name)
    if _is_build(run.recipe):
        raise RunError(
            "A build of a data set has this name.",
            where=str(run.path),
            hint="Give this run a name of its own with -o name=NEW.",
        )
    say(f"Run {recipe.name}, in {run.path}")
    prepared = announced(prepare(recipe))
    if is_finished(run, recipe, prepared, cache, ranks):
        say(f"Training is done, and so is all else: {run.model}")
        write_report(run.path)
        return run
    choices = choose(recipe, prepared)
    from espalier.runs.execute import assist, execute

    if ranks.rank > 0:
        assist(choices, run.path, cache, ranks)
    else:
        execute(choices, run.path, cache, ranks=ranks, way=way, patience=patience)
    return run


def _is_build(recipe: Path) -> bool:
    """Tell the recipe of a build from that of a run; one that is damaged is looked at later."""
    try:
        return "source" in read_toml(recipe)
    except EspalierError:
        return False
