"""Trainings of the same recipe on some of its rows: ordinary runs, which go on after a kill."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.building.faithful import as_written
from espalier.core.files import jsonl, read_json, write_atomic, write_changed
from espalier.core.run import RunFolder
from espalier.core.text import counted, spelt
from espalier.decode.likelihood import answer_row, numbers
from espalier.runs.events import bar, listening, say
from espalier.runs.forecast import forecasts
from espalier.runs.load import load_run
from espalier.runs.plan import resolve
from espalier.runs.precision import of_run
from espalier.runs.start import start

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.attribution.influence.subject import Kept
    from espalier.attribution.influence.subsets import Subset
    from espalier.core.recipe import Recipe
    from espalier.core.records import Example

SAID = "queries.json"  # in a run's folder: the log-probability of each query


@dataclass(frozen=True, slots=True)
class Retrained:
    """A training on a subset: its run's folder, and the log-probability of each query in nats [Q]."""

    subset: Subset
    seed: int
    run: Path
    logprobs: tuple[float, ...]


def retrained(
    kept: Kept,
    examples: Sequence[Example],
    queries: Sequence[Example],
    subsets: Sequence[Subset],
    folder: Path,
    cache: Path,
) -> list[Retrained]:
    """Train on each subset with each of its seeds, and return what became of it; what is done stays done.

    Raises:
        DataError: a row cannot be written down so that it is read as the same again.
        EspalierError: a training fails.
    """
    asked = [(subset, seed) for subset in subsets for seed in subset.seeds]
    recipes = [_recipe(kept, subset, seed, folder) for subset, seed in asked]
    left = [one for one, recipe in zip(asked, recipes, strict=True) if not _file(recipe).exists()]
    if left:
        say(_price(kept, len(examples), left, cache))
    found: list[Retrained] = []
    with bar("Trainings", len(asked), len(asked) - len(left)) as advance:
        for (subset, seed), recipe in zip(asked, recipes, strict=True):
            if not _file(recipe).exists():
                rows = as_written([examples[place] for place in subset.places], "messages", "rows")
                write_changed(Path(recipe.train[-1].data), jsonl(rows).encode())
                with listening(lambda _: None):
                    _train(recipe, queries, cache)
                advance(1, recipe.name)
            found.append(Retrained(subset, seed, _file(recipe).parent, tuple(read_json(_file(recipe)))))
    return found


def _recipe(kept: Kept, subset: Subset, seed: int, folder: Path) -> Recipe:
    """Return the run's recipe on a subset of the last stage's rows, scored on the same test rows."""
    recipe, name = kept.recipe, subset.name.replace(" ", "-")
    data = {"seed": recipe.split_seed} | ({} if subset.judged else {"test_limit": 1})
    file = folder / "rows" / f"{name}.jsonl"
    last = recipe.train[-1].model_copy(update={"keep": "", "data": str(file.absolute())})
    return recipe.model_copy(
        update={
            "name": f"{name}-{seed}",
            "folder": str(folder),
            "seed": seed,
            "evidence": False,
            "track": (),
            "data": recipe.data.model_copy(update=data),
            "train": (*recipe.train[:-1], last),
        }
    )


def _file(recipe: Recipe) -> Path:
    return Path(recipe.folder) / recipe.name / SAID


def _train(recipe: Recipe, queries: Sequence[Example], cache: Path) -> None:
    """Do a training, and write down how likely the queries' answers are then."""
    run = RunFolder(start(recipe, cache).path)
    loaded = of_run(run, load_run(run, cache), "training")
    rows = [answer_row(query, query.answer, loaded.template) for query in queries]
    write_atomic(_file(recipe), json.dumps(numbers(loaded, rows)) + "\n")


def _price(kept: Kept, rows: int, left: Sequence[tuple[Subset, int]], cache: Path) -> str:
    """Return what the trainings will take, from two steps and what the run's own answers took."""
    whole = sum(ahead.seconds for _, ahead, _ in forecasts(resolve(kept.recipe), cache))
    answers = sum(
        float(event["seconds"])
        for event in kept.run.read_events()
        if event["event"] == "stage" and event["stage"] in ("decode tuned", "evaluate")
    )
    most = sum(subset.judged for subset, _ in left)
    seconds = most * answers + sum(whole * len(subset.places) / rows for subset, _ in left)
    return (
        f"{counted(len(left), 'training')}, {most} of all or most rows and {len(left) - most} of halves: "
        f"about {spelt(seconds)}. Ctrl-C ends them; the same command goes on."
    )
