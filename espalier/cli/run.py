"""`espalier run`: from a recipe to a report."""

from __future__ import annotations

from pathlib import Path

import typer

from espalier.cli.ranks import joined, restarted
from espalier.cli.settings import DEFAULT_CACHE, Cache, Keep, Overrides, Overwrite, RecipeFile
from espalier.cli.signals import stoppable
from espalier.cli.summary import print_summary
from espalier.core.errors import RunError
from espalier.core.recipe import load_recipe
from espalier.core.run import RunFolder
from espalier.evaluate.scores import Scores
from espalier.runs.events import say
from espalier.runs.plan import resolve
from espalier.runs.stopping import Stopped

# Seconds that the processes before a restart may take to let go of the run's folder.
RESTART = 60.0
GOES_ON = "The same command goes on from here: what is complete is not done again."


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
    if overwrite and keep:
        raise RunError("--overwrite and --keep contradict each other.", hint="Give one of them.")
    try:
        with stoppable(), joined() as ranks:
            asked = load_recipe(recipe, override or ())
            path = Path(asked.folder) / asked.name
            say(f"Run {asked.name}, in {path}")
            choices = resolve(asked)
            from espalier.runs.execute import assist, execute

            if ranks.rank > 0:
                assist(choices, path, cache, ranks)
                return
            report = execute(
                choices,
                path,
                cache,
                ranks=ranks,
                way="overwrite" if overwrite else "keep" if keep else "refuse",
                patience=RESTART if restarted() else 0.0,
            )
    except KeyboardInterrupt:
        say(f"Interrupted. {GOES_ON}")
        raise typer.Exit(130) from None
    except Stopped as stopped:
        say(f"Stopped by {stopped}. {GOES_ON}")
        raise typer.Exit(stopped.status) from None
    print_summary(Scores.read(RunFolder(path).scores))
    say(f"Report: {report}")
