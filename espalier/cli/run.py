"""`espalier run`: from a recipe to a report."""

from __future__ import annotations

from espalier.cli.interruption import going_on
from espalier.cli.progress import hushed, shown
from espalier.cli.ranks import joined, restarted
from espalier.cli.settings import DEFAULT_CACHE, Cache, Keep, Overrides, Overwrite, RecipeFile
from espalier.cli.summary import print_summary
from espalier.core.errors import RunError
from espalier.core.recipe import load_recipe
from espalier.runs.events import say
from espalier.runs.signals import stoppable

# Seconds that the processes before a restart may take to let go of the run's folder.
RESTART = 60.0


def run(
    recipe: RecipeFile,
    override: Overrides = None,
    *,
    overwrite: Overwrite = False,
    keep: Keep = False,
    cache: Cache = DEFAULT_CACHE,
) -> None:
    """Tune a model on a task and write a report.

    The same command goes on after an interruption; what is done is not done again. Another recipe under the
    name of a run that has trained is refused.
    """
    from espalier.report.page import scores_of
    from espalier.runs.start import start

    if overwrite and keep:
        raise RunError("--overwrite and --keep contradict each other.", hint="Give one of them.")
    way = "overwrite" if overwrite else "keep" if keep else "refuse"
    with going_on(), stoppable(hushed, shown), joined() as ranks:
        asked = load_recipe(recipe, override or ())
        done = start(asked, cache, ranks=ranks, way=way, patience=RESTART if restarted() else 0.0)
    if ranks.rank == 0:
        print_summary(scores_of(done.path))
        say(f"Report: {done.report}")
