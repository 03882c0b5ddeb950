"""Espalier from Python: the same runs as on the command line, and drawn as there, in a script or a notebook.

run = espalier.run("recipe.toml", "train.rate=1e-5")
model = espalier.load("smollm2-135m")
tuned = espalier.tune("smollm2-135m", rows, method="lora")
"""

from __future__ import annotations

import os
from contextlib import contextmanager, nullcontext
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from espalier.cli.keys import key_of
from espalier.cli.notebook import drawn_in_cell, in_notebook
from espalier.cli.progress import beating
from espalier.core.recipe import as_recipe
from espalier.core.runtime import prepare_environment
from espalier.models.bundled import default_cache
from espalier.runs.events import heard, say, streamed

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Iterable, Iterator, Mapping, Sequence

    from espalier.builds.built import Build
    from espalier.builds.recipe import BuildRecipe
    from espalier.comparison.records import Comparison
    from espalier.core.recipe import Precision, Recipe
    from espalier.core.records import Estimate
    from espalier.explain.influence.check_record import Checked
    from espalier.explain.influence.record import Influence
    from espalier.explain.record import Explanation
    from espalier.runs.books import Way
    from espalier.runs.events import Event
    from espalier.runs.model import Model
    from espalier.runs.run import Run
    from espalier.study.recipe import StudyRecipe
    from espalier.study.record import Findings
    from espalier.trials.decoding_record import Decodings
    from espalier.trials.judged import Judged
    from espalier.trials.judging import Judge, Manner

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
    with _shown("espalier.run"):
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
    with _shown("espalier.load"):
        from espalier.runs.model import load as load_model

        return load_model(name, cache or default_cache(), device=device, precision=precision)


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
    with _shown("espalier.tune"):
        from espalier.runs.model import Model, load
        from espalier.runs.run import Run
        from espalier.runs.tune import recipe_of_rows

        place = model.name if isinstance(model, Model) else model.path if isinstance(model, Run) else model
        place, cache = str(place), cache or default_cache()
        recipe = recipe_of_rows(rows, place, overrides, method=method, name=name, folder=folder, cache=cache)
        return load(_run(recipe, exists, cache), cache)


def score(
    scorer: str,
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    *,
    sources: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Estimate:
    """Return what texts score against their references, with the 95 % interval: 0 to 1 for most measures.

    Args:
        scorer: "rouge_l", "exact_match", "numeric", "label", …, or "my_module:function" (`docs/scores.md`).
        predictions: texts.
        references: of each, one text or several.
        sources: what each row was made of, where rows are not independent: the interval is by source.
        settings: of the scorer, as a recipe has them: {"pattern": "\\d+"}.

    Raises:
        DataError: there are not as many references as predictions.
        RecipeError: no scorer has that name, or takes these settings.
    """
    from espalier.evaluate.texts import score_texts

    return score_texts(scorer, predictions, references, sources, settings)


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
    with _shown("espalier.api.evaluate"):
        from espalier.runs.model import Model
        from espalier.runs.run import Run
        from espalier.trials.evaluation import evaluated
        from espalier.trials.evaluation_subject import asked_of, written

        cache = cache or default_cache()
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


def judge(
    predictions: Run | str | Path | Sequence[str],
    prompts: str | Path | Sequence[str] | None = None,
    against: Run | str | Path | Sequence[str] | None = None,
    *,
    model: str | Path | Run | Judge,
    server: str = "",
    secret: str = "",
    gold: str | Path | Sequence[str | float | None] | None = None,
    manner: Manner | None = None,
    name: str = "",
    folder: str = "runs",
    cache: Path | None = None,
) -> Judged:
    """Have a model judge which of two systems answers better, as `espalier score judge` does.

    It prints as two sentences: who wins by how much, and whether the judge can be believed.
    `.score.rate` is the win rate, `.trust` "none" where the judge says nothing. Verdicts are kept.

    Args:
        predictions: a file of answers, a run, RUN:SYSTEM, or texts.
        prompts: what was asked: a task or a file of rows, or as many texts; by default a run's test rows.
        against: the answers of the other system; None has each answer graded from 1 to 10.
        model: who judges: as for `load`, its name on the server, or a `Judge` that asks in its own way.
        server: address of an OpenAI-compatible server that has the model.
        secret: its key; written nowhere.
        gold: persons' verdicts (A, B, tie) or grades, as a file or a list.
        manner: the rubric, on how many rows controls are tried, and the seed.
        name: of the folder of the record.
        folder: of such folders.
        cache: as for `run`.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    with _shown("espalier.api.judge"):
        from espalier.comparison.contest import contest
        from espalier.trials.judges import Who, judged
        from espalier.trials.judging import Judge, Manner

        who = model if isinstance(model, Judge) else Who(os.fspath(model), server, secret)
        what = contest(predictions, against, prompts, gold)
        return judged(what, who, manner or Manner(), name=name, folder=folder, cache=cache or default_cache())


def compare(
    *sides: Run | str | Path | Sequence[Run | str | Path],
    measures: Sequence[str] = (),
    allow: Sequence[str] = (),
    margin: float | None = None,
    looks: int | Literal["all"] = 1,
    split: Literal["test", "dev"] = "test",
    confirm: bool = False,
    references: str | None = None,
    report: str | Path | None = None,
) -> Comparison:
    """Return how the other sides differ from the first, on the rows that all were scored on, by measure.

    `espalier.compare(a, b)["rouge_l"].difference` is b's value less a's, with its interval; `.won` counts the
    rows on which b is better, `.verdict` and `.said` are what may be said. It prints as a table.

    Args:
        sides: runs or their folders, RUN:SYSTEM for another of a run's systems, or files of another tool,
            JSONL of `{"id", "prediction"}`; a list is one recipe trained with several seeds.
        measures: by which to compare; by default all that all have, of files ROUGE-L and exact match.
        allow: what may differ all the same: "data", "template", "decoding".
        margin: within how many points, as they are shown, two are as good as each other.
        looks: how often the rows were used to choose what is compared; "all" counts what is known of.
        split: "dev" compares on the rows that were held out, as `evaluate(run, split="dev")` scored them.
        confirm: whether this is the one comparison that a sealed test set is kept for; it is counted.
        references: what files are scored against, as `espalier score --references`.
        report: where to write the page.

    Raises:
        EspalierError: what is compared is not there or not comparable: in one sentence why, and what to do.
    """
    from espalier.comparison.compare import compare as compare_sides

    page = Path(report) if report is not None else None
    return compare_sides(
        sides,
        measures=measures,
        allow=allow,
        margin=margin,
        looks=looks,
        split=split,
        confirm=confirm,
        references=references,
        report=page,
    )


def compare_decodings(
    source: Source | Run,
    *overrides: str,
    tries: Sequence[str | Mapping[str, Any]] = (),
    budget: int = 4,
    samples: int = 3,
    metric: str = "",
    rows: int | None = None,
    rounds: int = 5,
    again: bool = False,
    cache: Path | None = None,
) -> Decodings:
    """Say which way of decoding to take, as `espalier decode` does; see `espalier.trials.decoding`.

    The record prints as a table: `found.sentence`, `found.advised`, `found["beam beams=4"].seconds`.
    """
    with _shown("espalier.decode"):
        from espalier.trials.decoding import compare_decodings as compare

        return compare(
            source, overrides, cache=cache or default_cache(), tries=tries, budget=budget, samples=samples,
            metric=metric, rows=rows, rounds=rounds, again=again,
        )  # fmt: skip


def explain(
    run: Run | str | Path,
    *,
    parts: Collection[str] = ("card", "shift", "style"),
    rows: int | None = None,
    cache: Path | None = None,
) -> Explanation:
    """Say what is behind a run's score, as `espalier explain` does; see `espalier.explain.explain`.

    The record prints as its tables and sentences: `found.sentences`, `found.shift.shares["shifted"]`.

    Args:
        run: a run or its folder.
        parts: those to explain.
        rows: most test rows that are asked, by whole sources.
        cache: as for `run`.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    with _shown("espalier.explain"):
        from espalier.explain.explain import explain as explain_run

        return explain_run(Path(run), cache or default_cache(), parts, rows)


def study(
    asked: str | Path | Mapping[str, Any] | StudyRecipe, *overrides: str, cache: Path | None = None
) -> Findings:
    """Say which choice made a difference, as `espalier study` does, and return what was found.

    It prints as a table: `found.sentence`, `found["rate"].compared.difference`, `found.cells`.

    Args:
        asked: a file, a table of the same keys, or a `StudyRecipe`.
        overrides: of its keys, such as "seeds=5".
        cache: as for `run`.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    with _shown("espalier.api.study"):
        from espalier.study.recipe import as_study
        from espalier.study.study import study as carry_out

        return carry_out(as_study(asked, overrides), cache or default_cache())


def influence(
    run: Run | str | Path,
    query: str = "test",
    *,
    by: str = "tracin",
    top: int = 10,
    queries: int = 20,
    project: int = 0,
    cache: Path | None = None,
) -> Influence:
    """Say which training rows taught a run what, as `espalier influence` does; see `espalier.explain`.

    `found.queries[0].helped[0].text` is the row that helped the first query most, `found.scores["tracin"]`
    all scores [Q, R] of `found.examples`.
    """
    with _shown("espalier.influence"):
        from espalier.explain.influence.asking import influence as ask

        path = Path(run)
        return ask(path, query, cache=cache or default_cache(), by=by, top=top, most=queries, project=project)


def check_influence(
    run: Run | str | Path,
    query: str = "test",
    *,
    by: str = "tracin",
    queries: int = 20,
    project: int = 0,
    remove: float = 0.1,
    seeds: int = 5,
    again: int = 1,
    halves: int = 20,
    cache: Path | None = None,
) -> Checked:
    """Train again without the rows that a score names, as `espalier influence --check` does."""
    with _shown("espalier.influence"):
        from espalier.explain.influence.checking import check

        return check(
            Path(run), query, cache=cache or default_cache(), by=by, most=queries, project=project,
            remove=remove, seeds=seeds, again=again, halves=halves,
        )  # fmt: skip


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
    with _shown("espalier.build"):
        from espalier.builds.build import build as build_set
        from espalier.builds.model import Terms
        from espalier.builds.recipe import as_build

        asked = as_build(recipe, overrides)
        terms = Terms(cache or default_cache(), key_of(asked), replay)
        return build_set(asked, Path(asked.folder) / asked.name, terms)


def _run(recipe: Recipe, exists: Way, cache: Path | None) -> Run:
    from espalier.runs.run import Run
    from espalier.runs.start import start

    cache = cache or default_cache()
    return Run(start(recipe, cache, way=exists).path, cache)


@contextmanager
def _shown(what: str) -> Generator[None]:
    """Draw what is told, unless somebody listens already."""
    late = prepare_environment()
    drawn = nullcontext() if heard() else drawn_in_cell() if in_notebook() else beating(what)
    with drawn:
        if late:
            say(
                f"Note: torch was loaded before espalier could set {', '.join(late)}: training takes more "
                "memory. Import espalier first and call one of its functions, or set them by hand."
            )
        yield
