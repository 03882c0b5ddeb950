"""Whose ways of decoding are compared, and on what: a run with its tuned model, or a recipe with its own."""

from __future__ import annotations

import os
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.errors import DataError, RecipeError, RunError
from espalier.core.recipe import Recipe, as_recipe, load_recipe
from espalier.core.run import RunFolder, find_run, run_at
from espalier.core.text import counted
from espalier.data.looks import keys_of, looks_in, sealed_by
from espalier.data.split import hold_out, limit
from espalier.data.table import read_examples
from espalier.models.places import check_run
from espalier.runs.events import say
from espalier.runs.in_tokens import askable
from espalier.runs.judging import build_scorers
from espalier.runs.load import load_to_decode
from espalier.runs.plan import choose
from espalier.runs.prepare import announced, prepare
from espalier.runs.rating import raters_from
from espalier.runs.run import Run
from espalier.trials.evaluation import local_model

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from typing import Any, TypeAlias

    from espalier.core.records import Example, Scorer
    from espalier.decode.local import Local

    Source: TypeAlias = str | Path | Run | Recipe | Mapping[str, Any]


@dataclass(frozen=True)
class Subject:
    """What is asked, and who judges.

    Attributes:
        name: of the run.
        model: what is asked, for a person.
        folder: where what is found goes.
        recipe: of the run.
        test: rows to score, of which some may go to the development split.
        dev: rows that were held out of training; maybe none.
        scorers: by the names of their measures.
        checks: names of those of the task.
        own: which of them judge a task's answers, by its name.
        load: gives the model, ready to decode.
        apart: whether the test rows are those that were held out, as its own are sealed.
    """

    name: str
    model: str
    folder: Path
    recipe: Recipe
    test: Sequence[Example]
    dev: Sequence[Example]
    scorers: Mapping[str, Scorer]
    checks: Sequence[str]
    own: Mapping[str, Sequence[str]]
    load: Callable[[], Local]
    apart: bool = False


@dataclass(frozen=True)
class Split:
    """Rows to choose settings on, of no source that is tested on; none where nothing is to be chosen.

    `said` is how the rows were divided.
    """

    dev: Sequence[Example]
    test: Sequence[Example]
    said: str


def subject_of(source: Source, overrides: Sequence[str], cache: Path) -> Subject:
    """Return a run, or a recipe: its finished run, or else the model that it tunes.

    Raises:
        RecipeError, DataError: the recipe or its rows cannot be used.
        RunError: the run has no scores yet, its model rates answers, or another recipe has its name.
    """
    return _apart(_subject_of(source, overrides, cache))


def _apart(subject: Subject) -> Subject:
    """Return the subject without its test rows where these are sealed: what is held out is divided instead.

    Raises:
        RecipeError: they are, and no row is held out.
    """
    owner = subject.name if subject.recipe.data.sealed else ""
    if not owner:
        found = sealed_by(keys_of(subject.test), looks_in(subject.folder.parent.parent))
        owner = next(iter(found.values()), "")
    if not owner:
        return subject
    if not subject.dev:
        raise RecipeError(
            f"The test rows are sealed by {owner}: to compare ways of decoding on them is to choose by them.",
            where="data.sealed",
            hint="Name a run or recipe that holds rows out, such as with -o data.dev=0.2: these are asked.",
        )
    say(f"The test rows are sealed by {owner}: only the rows that were held out (data.dev) are asked.")
    return replace(subject, test=subject.dev, dev=(), apart=True)


def _subject_of(source: Source, overrides: Sequence[str], cache: Path) -> Subject:
    folder = source.path if isinstance(source, Run) else source
    run = run_at(Path(folder)) if isinstance(folder, str | Path) else None
    if run is None and isinstance(folder, str | Path) and os.path.isdir(folder):
        find_run(Path(folder))
    if run is not None:
        if overrides:
            raise RunError(
                "A run's recipe is not changed.", where=str(folder), hint="Name its recipe to do so with -o."
            )
        return _of_run(run, cache)
    recipe = as_recipe(folder, overrides)
    known = RunFolder(Path(recipe.folder) / recipe.name)
    if known.recipe.exists() and load_recipe(known.recipe).hash != recipe.hash:
        raise RunError(
            "A run of another recipe has this name.",
            where=str(known.path),
            hint="Name that run's folder, or give this one a name of its own with -o name=NEW.",
        )
    return _of_run(known, cache) if known.scores.exists() else _of_recipe(recipe, cache)


def _of_run(run: RunFolder, cache: Path) -> Subject:
    check_run(run, rating=False)
    recipe, scores = load_recipe(run.recipe), Run(run.path, cache).scores
    test = read_examples(run.data / "test.parquet")
    dev = run.data / "dev.parquet"
    tasks = {example.id: example.task for example in test}
    checks = [*scores.systems["tuned"].checks]
    own: dict[str, set[str]] = {task: set() for task in tasks.values()}
    for row in scores.examples:
        judged = row.systems["tuned"]
        own[tasks[row.id]] |= {name for name in checks if name in judged and judged[name].value is not None}
    return Subject(
        name=recipe.name,
        model="the tuned model",
        folder=run.path / "decoding",
        recipe=recipe,
        test=_some(test, run.path),
        dev=read_examples(dev) if dev.exists() else [],
        scorers=build_scorers(recipe.evaluate),
        checks=checks,
        own={task: [name for name in checks if name in names] for task, names in own.items()},
        load=lambda: replace(load_to_decode(run, cache), raters=raters_from(cache)),
    )


def _of_recipe(recipe: Recipe, cache: Path) -> Subject:
    choices = choose(recipe, announced(prepare(recipe)))
    if choices.rates:
        raise RecipeError(
            "The recipe makes a reward model, which writes no answers.",
            where="train.objective",
            hint="Name a recipe or a run whose model writes.",
        )
    path = Path(recipe.folder) / recipe.name
    return Subject(
        name=recipe.name,
        model=f"{recipe.model.name}, which is not tuned yet",
        folder=path / "decoding",
        recipe=recipe,
        test=_some(choices.prepared.test, path),
        dev=choices.prepared.dev,
        scorers=choices.scorers,
        checks=choices.checks,
        own=choices.checks_of,
        load=partial(local_model, recipe, None, cache),
    )


def _some(test: Sequence[Example], path: Path) -> Sequence[Example]:
    if not test:
        raise DataError("There are no test rows to answer.", where=str(path))
    return test


def divided(subject: Subject, *, choosing: bool, rows: int | None = None) -> Split:
    """Return the rows to choose settings on, where some are to be chosen, and those to test them on.

    Args:
        subject: whose rows.
        choosing: whether a kind has several settings to choose from.
        rows: most of each split, by whole sources.

    Raises:
        DataError: there are too few sources.
    """
    seed = subject.recipe.seed

    def few(examples: Sequence[Example]) -> Sequence[Example]:
        return limit(examples, rows, seed) if rows else examples

    if not choosing:
        return Split((), few(subject.test), "no kind has several settings, so that all rows are tested on")
    if subject.dev:
        told = "settings are chosen on the rows that were held out of training (data.dev)"
        return Split(few(subject.dev), few(subject.test), told)
    count = len({example.source for example in subject.test})
    if count < 2:
        raise DataError(
            f"{counted(len(subject.test), 'test row')} of one source cannot be divided into rows to choose "
            "settings on and rows to test them on.",
            where=str(subject.folder.parent),
            hint="Name one setting of each kind with --try, or score more rows.",
        )
    test, dev = hold_out(subject.test, 0.5, seed)
    whose = "the held-out rows'" if subject.apart else "the test rows'"
    told = f"settings are chosen on about half of {whose} sources, and tested on the others"
    return Split(few(dev), few(test), told)


def renderable(split: Split, subject: Subject, local: Local) -> Split:
    """Return the rows that the model's template renders. Raises TemplateError where one is to be refused."""
    refused = [] if subject.recipe.task.on_bad == "reject" else None
    dev, test = (
        askable([*rows], local.template, refused) if rows else [] for rows in (split.dev, split.test)
    )
    return Split(dev, test, split.said)
