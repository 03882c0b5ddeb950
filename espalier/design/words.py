"""Factors of the prompt: what the definition says, and what the worked examples show.

What each level makes of a task is in `tasks/variants.py` (Kung and Peng 2023, arXiv 2305.11383; Min et al.
2022, arXiv 2202.12837). What it leaves is a file of the study's own; two levels are keys of the recipe.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from espalier.core.errors import RecipeError, nearest
from espalier.design.factors import Factor, factors
from espalier.design.files import tasks_of, with_tasks
from espalier.evaluate.baselines import labels_to_draw
from espalier.tasks.task_files import BUNDLED, load_task
from espalier.tasks.templates import Show, to_examples
from espalier.tasks.variants import DEFINITIONS, EXAMPLES, ORDERS, with_definition, with_examples, with_order
from espalier.tasks.wordings import WORDINGS, with_wording

if TYPE_CHECKING:
    from espalier.core.recipe import Recipe
    from espalier.core.records import Task
    from espalier.design.files import Files

SHOWN = (*EXAMPLES, *ORDERS)
NAMES = tuple(WORDINGS)


@factors.register("definition")
def definition(*, seed: int = 0) -> Factor:
    """What the task says: original, labels alone, shuffled, empty, another's, or that of a task's file."""

    def apply(recipe: Recipe, level: object, files: Files) -> Recipe:
        other = isinstance(level, str) and (os.path.isfile(level) or level in BUNDLED)
        _known("definition", level, DEFINITIONS, ", and no task's file", other=other)
        tasks = tasks_of(recipe, "its definition")
        if level == "original":
            return recipe
        if level == "empty":
            for _, task in tasks:  # one that has none is refused
                with_definition(task, "empty")
            section = recipe.task.model_copy(update={"definition": False, "cautions": False})
            return recipe.model_copy(update={"task": section})

        def otherwise(task: Task) -> Task:
            if other:
                return with_definition(
                    task, "another", other=load_task(str(level), lambda _: None).definition
                )
            return with_definition(task, str(level), labels=_labels(task), seed=seed)

        return with_tasks(recipe, files, "its definition", otherwise)

    return Factor(apply, "both", rewrites=True)


@factors.register("examples")
def examples(*, seed: int = 0) -> Factor:
    """What worked examples show: good, delusive (each another's answer), none, permuted, random_labels."""

    def apply(recipe: Recipe, level: object, files: Files) -> Recipe:
        _known("examples", level, SHOWN)
        shown = recipe.task.positive
        if shown == 0 or not all(task.positive for _, task in tasks_of(recipe, "its examples")):
            raise RecipeError(
                "The prompt shows no good example, so what examples show cannot be varied.",
                where="factor",
                hint="Raise task.positive, or give the task examples.",
            )
        if level == "good":
            return recipe
        if level == "none":
            section = recipe.task.model_copy(update={"positive": 0, "negative": 0})
            return recipe.model_copy(update={"task": section})

        def otherwise(task: Task) -> Task:
            if level == "delusive":
                return with_examples(task, "delusive", seed=seed)
            return with_order(task, str(level), labels=_labels(task), shown=shown, seed=seed)

        return with_tasks(recipe, files, "its examples", otherwise)

    return Factor(apply, "both", rewrites=True)


@factors.register("wording")
def wording() -> Factor:
    """The same task in other words or another form, by name or number (0 is "original"); asked at test."""

    def apply(recipe: Recipe, level: object, files: Files) -> Recipe:
        if isinstance(level, int) and 0 <= level < len(NAMES):
            level = NAMES[level]
        _known("wording", level, NAMES, f", which go from 0 to {len(NAMES) - 1}")
        tasks_of(recipe, "its wording")
        if level == NAMES[0]:
            return recipe
        return with_tasks(recipe, files, "its wording", lambda task: with_wording(task, str(level)))

    return Factor(apply, "test", rewrites=True)


def _known(
    factor: str, level: object, known: tuple[str, ...], more: str = "", *, other: bool = False
) -> None:
    if level not in known and not other:
        raise RecipeError(
            f"'{level}' is no level of '{factor}'{more}.", where="factor", hint=nearest(str(level), known)
        )


def _labels(task: Task) -> tuple[str, ...]:
    return labels_to_draw(to_examples(task, Show(positive=0, negative=0)))
