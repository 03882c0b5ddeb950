"""Espalier from Python: the same runs as on the command line, and drawn as there, in a script or a notebook.

run = espalier.run("recipe.toml", "train.rate=1e-5")
model = espalier.load("smollm2-135m")
tuned = espalier.tune("smollm2-135m", rows, method="lora")
"""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from espalier.cli.keys import key_of
from espalier.cli.notebook import shown
from espalier.core.caches import keep_in
from espalier.core.recipe import as_recipe
from espalier.core.runtime import prepare_environment
from espalier.evidence import check_influence as check_influence
from espalier.evidence import claims as claims
from espalier.evidence import compare as compare
from espalier.evidence import compare_decodings as compare_decodings
from espalier.evidence import explain as explain
from espalier.evidence import explain_parts as explain_parts
from espalier.evidence import explain_tail as explain_tail
from espalier.evidence import explain_wording as explain_wording
from espalier.evidence import influence as influence
from espalier.evidence import judge as judge
from espalier.evidence import plan_study as plan_study
from espalier.evidence import score as score
from espalier.evidence import study as study
from espalier.runs.events import streamed

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from espalier.builds.built import Build
    from espalier.builds.recipe import BuildRecipe
    from espalier.core.recipe import Precision, Recipe
    from espalier.runs.books import Way
    from espalier.runs.events import Event
    from espalier.runs.model import Model
    from espalier.runs.run import Run

    Source: TypeAlias = str | Path | Mapping[str, Any] | Recipe


def run(recipe: Source, *overrides: str, exists: Way = "refuse", cache: Path | None = None) -> Run:
    """Tune a model on a task, as `espalier run` does, and return the run.

    What is done is not done again; what was interrupted goes on.

    Args:
        recipe: a file, a bundled recipe's name, a table of the same keys, or a `Recipe`.
        overrides: of its keys, such as "train.rate=1e-5".
        exists: what to do with a run of another recipe that has the name: "refuse" it, "overwrite" the old
            one, or "keep" that under a number.
        cache: folder of converted models; by default that of the command line.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    with shown("espalier.run"):
        return _run(as_recipe(recipe, overrides), exists, cache)


def events(
    recipe: Source, *overrides: str, exists: Way = "refuse", cache: Path | None = None
) -> Iterator[Event]:
    """Do the same as `run` does, and yield what it tells as it goes, for who draws it himself.

    See `espalier.runs.events` for the events. The run goes on in a thread; an error is raised at the end.
    Who stops listening lets the run end after its step, with a checkpoint.
    """
    prepare_environment()
    return streamed(partial(_run, as_recipe(recipe, overrides), exists, cache))


def load(
    name: str | Path | Run, *, device: str = "auto", precision: Precision = "auto", cache: Path | None = None
) -> Model:
    """Load a model to be asked: a bundled name, a folder, a hub id, a run or its folder.

    See `espalier.runs.model.load`.
    """
    with shown("espalier.load"):
        from espalier.runs.model import load as load_model

        return load_model(name, keep_in(cache), device=device, precision=precision)


def tune(
    model: Model | Run | str | Path,
    rows: Iterable[Mapping[str, Any]],
    *overrides: str,
    method: str = "lora",
    name: str = "",
    folder: str = "runs",
    exists: Way = "refuse",
    cache: Path | None = None,
) -> Model:
    """Tune a model on rows that are in memory, and return the tuned one; its run is in `runs/NAME`.

    A fifth of the rows is kept for the scores. Rate, epochs, limit of answers and measures are those that
    `espalier init` would choose for such rows; overrides change them.

    Args:
        model: as for `load`: a run too, or a model that was loaded.
        rows: dicts in any format that a file may have, a data set of `datasets`, or an Arrow table.
        overrides: of the recipe's keys, such as "train.rate=1e-4".
        method: as `train.method`: "lora", "full", …
        name: of the run; by default made of the rows.
        folder: of runs.
        exists: as for `run`.
        cache: as for `run`.
    """
    with shown("espalier.tune"):
        from espalier.runs.model import Model, load
        from espalier.runs.run import Run
        from espalier.runs.tune import recipe_of_rows

        place = model.name if isinstance(model, Model) else model.path if isinstance(model, Run) else model
        place, cache = str(place), keep_in(cache)
        recipe = recipe_of_rows(rows, place, overrides, method=method, name=name, folder=folder, cache=cache)
        return load(_run(recipe, exists, cache), cache)


def evaluate(
    model: Model | Run | str | Path,
    what: str | Path | Sequence[str | Path] | Iterable[Mapping[str, Any]] = (),
    *overrides: str,
    name: str = "",
    folder: str = "runs",
    server: str = "",
    secret: str = "",
    model_name: str = "",
    plain: bool = False,
    split: Literal["test", "dev"] = "test",
    cache: Path | None = None,
) -> Run:
    """Score a model as it is, as `espalier evaluate` does, and return where it went: `.scores["model"]`.

    Args:
        model: as for `load`; or its name on the server.
        what: a recipe, whose test set is scored, or tasks, files of rows, or rows in memory: all of them;
            of a run by default its own test set.
        overrides: of the recipe's keys, such as "decode.limit=32".
        name: of the folder of the results; by default made of the model and of what is scored.
        folder: of such folders.
        server: address of an OpenAI-compatible server that has the model.
        secret: its key; written nowhere.
        model_name: what the server calls the model, where `model` is the run whose model it serves.
        plain: ask a run other rows as they stand, and not as its own were asked.
        split: "dev" scores the rows that the recipe holds out of training; of a run in NAME-dev beside it.
        cache: as for `run`.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    with shown("espalier.api.evaluate"):
        from espalier.runs.model import Model
        from espalier.runs.run import Run
        from espalier.trials.evaluation import evaluated
        from espalier.trials.evaluation_subject import asked_of, written

        cache = keep_in(cache)
        place = str(
            model.name if isinstance(model, Model) else model.path if isinstance(model, Run) else model
        )
        given: list[Any] = [what] if isinstance(what, str | Path) else list(what)
        if given and not all(isinstance(one, str | Path) for one in given):
            name, file = written(given, place, name, folder)
            given = [file]
        asked = asked_of(
            place,
            [*map(str, given)],
            [*([f"folder={folder}"] if split == "test" else []), *overrides],
            name=name,
            server=server,
            secret=secret,
            model_name=model_name,
            plain=plain,
            split=split,
        )
        return Run(evaluated(asked, cache).path, cache)


def build(
    recipe: str | Path | Mapping[str, Any] | BuildRecipe,
    *overrides: str,
    replay: bool = False,
    cache: Path | None = None,
) -> Build:
    """Build a data set, as `espalier build` does, and return it: its rows with verdicts, and the funnel.

    Args:
        recipe: a file, a table of the same keys, or a `BuildRecipe`.
        overrides: of its keys, such as "export.format=alpaca".
        replay: write what a model wrote again, from the journal; ask no server.
        cache: folder of bundled models.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    with shown("espalier.build"):
        from espalier.builds.build import build as build_set
        from espalier.builds.model import Terms
        from espalier.builds.recipe import as_build

        asked = as_build(recipe, overrides)
        terms = Terms(keep_in(cache), key_of(asked), replay)
        return build_set(asked, Path(asked.folder) / asked.name, terms)


def _run(recipe: Recipe, exists: Way, cache: Path | None) -> Run:
    from espalier.runs.run import Run
    from espalier.runs.start import start

    cache = keep_in(cache)
    return Run(start(recipe, cache, way=exists).path, cache)
