"""The factor of where training rows come from: tasks, categories, or whatever a row says of itself.

A level is a source, a list of them, or their shares, `{a = 0.3, b = 0.7}`. Rows of other sources stay where
they are and are marked as not trained on, so that what is scored is the same at all levels.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError, RecipeError, nearest
from espalier.core.text import counted
from espalier.data.split import limit
from espalier.design.factors import Factor, factors
from espalier.design.files import with_rows
from espalier.encode.batches import steps_per_epoch
from espalier.runs.prepare import prepare
from espalier.tasks.facts import facts_of
from espalier.tasks.templates import Show, to_examples

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from espalier.core.recipe import Recipe
    from espalier.core.records import Example, Task
    from espalier.design.factors import Varied
    from espalier.design.files import Files

OF_TASK = {"category": "categories", "source": "sources"}  # what a task says for rows that do not


@dataclass(frozen=True)
class Setting:
    """A level that a design makes of one: `level`, in as many steps as `like` takes if that is given."""

    label: str
    level: object
    like: object = None


@factors.register("sources")
def sources(*, by: str = "task", rows: int | None = None) -> Factor:
    """Where training rows are of: a source, a list, or shares; by task, category, source, or a row's key.

    Args:
        by: what tells a row's source: "task", "category" or "source" (the row's own, else its task's first),
            or any other key of the rows.
        rows: of a mixture by shares; by default as many as the smallest source has.
    """

    def apply(recipe: Recipe, level: object, files: Files) -> Recipe:
        made = prepare(recipe)
        group = grouped(recipe, by)
        every = [*made.train, *made.dev]
        own: dict[str, list[Example]] = {}
        for example in every:
            own.setdefault(group(example), []).append(example)
        kept = _kept(own, level, rows, recipe.split_seed)
        out = {example.id for example in every} - kept
        return with_rows(
            recipe, files, lambda task: _unlearned(task, out), lambda rows: [_left(row, out) for row in rows]
        )

    return Factor(apply, "train", lambda recipe: grouped(recipe, by), rewrites=True)


def grouped(recipe: Recipe, by: str) -> Callable[[Example], str]:
    """Return the function from an example of a recipe to the source that it is of."""
    parts = [part for part in prepare(recipe).parts if part.task and by in OF_TASK]
    own = {part.name: next(iter(getattr(part.task, OF_TASK[by])), "") for part in parts}

    def group(example: Example) -> str:
        tags = cast("Mapping[str, str]", example.origin.get("tags", {}))
        return example.task if by == "task" else str(tags.get(by, own.get(example.task, "")))

    return group


def arranged(factor: Varied, settings: Sequence[Setting]) -> Varied:
    """Return a factor whose levels are a design's settings of it."""

    def apply(recipe: Recipe, level: object, files: Files) -> Recipe:
        assert isinstance(level, Setting)
        made = factor.apply(recipe, level.level, files)
        if level.like is None:
            return made
        return _in_steps_of(made, factor.apply(recipe, level.like, files))

    labels = tuple(one.label for one in settings)
    return replace(factor, levels=tuple(settings), labels=labels, apply=apply, rewrites=False)


def _in_steps_of(recipe: Recipe, like: Recipe) -> Recipe:
    """Return the recipe in the steps of another, where stages learn from the task's own rows."""
    rows, many = (len(prepare(one).train) for one in (recipe, like))
    stages = [
        stage
        if stage.data
        else stage.model_copy(update={"epochs": _epochs(stage.rows, rows, many, stage.epochs)})
        for stage in recipe.train
    ]
    return recipe.model_copy(update={"train": tuple(stages)})


def _epochs(size: int, rows: int, like: int, epochs: float) -> float:
    """Return the epochs over `rows` that come to the steps of `epochs` over `like` rows."""
    steps = max(1, -int(-epochs * steps_per_epoch(like, size) // 1))
    return (steps - 0.25) / steps_per_epoch(rows, size)  # steps are rounded up


def _kept(own: Mapping[str, Sequence[Example]], level: object, rows: int | None, seed: int) -> set[str]:
    """Return the ids of the rows that a level keeps. Raises RecipeError."""
    shares = cast("Mapping[str, float]", level) if isinstance(level, dict) else None
    names = [*shares] if shares else level if isinstance(level, list | tuple) else [level]
    for name in cast("Sequence[object]", names):
        if name not in own:
            raise RecipeError(
                f"No training row is of the source '{name}'.",
                where="factor",
                hint=nearest(str(name), [*own]) or f"There are {', '.join(sorted(own))}.",
            )
    if shares is None:
        return {e.id for name in cast("Sequence[str]", names) for e in own[name]}
    total = rows or min(len(own[name]) for name in shares)
    kept: set[str] = set()
    for name, count in _counts(shares, total).items():
        if count > len(own[name]):
            raise RecipeError(
                f"A mixture takes {counted(count, 'row')} of '{name}', which has {len(own[name])}.",
                where="factor",
                hint="Lower rows of the factor 'sources'.",
            )
        try:
            kept |= {e.id for e in limit(own[name], count, seed)} if count else set()
        except DataError:  # the first source that is drawn has more rows than the share
            continue
    if not kept:
        raise RecipeError(
            f"No row is in a mixture of {counted(total, 'row')}.", where="factor", hint="Raise rows."
        )
    return kept


def _counts(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Return how many of `total` rows each share is: whole numbers that add up, by largest remainders."""
    whole = sum(shares.values())
    exact = {name: total * share / whole for name, share in shares.items()}
    counts = {name: int(value) for name, value in exact.items()}
    most = sorted(exact, key=lambda name: counts[name] - exact[name])
    return {name: counts[name] + (name in most[: total - sum(counts.values())]) for name in counts}


def _unlearned(task: Task, out: set[str]) -> Task:
    """Return the task with these rows marked as not trained on."""
    made = to_examples(task, Show(positive=0, negative=0))
    rows = [
        replace(row, tags={**row.tags, "facts": json.dumps({**_facts(row.tags), "train": False})})
        if example.id in out
        else row
        for row, example in zip(task.rows, made, strict=True)
    ]
    return replace(task, rows=tuple(rows))


def _left(row: Example, out: set[str]) -> Example:
    """Return a row that is no task's, marked as not trained on if it is one of these."""
    return replace(row, facts={**row.facts, "train": False}) if row.id in out else row


def _facts(tags: Mapping[str, str]) -> dict[str, Any]:
    return facts_of({"facts": tags["facts"]}) if "facts" in tags else {}
