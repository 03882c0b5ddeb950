"""Factors of the prompt: what the definition says, and what the worked examples show.

Kung and Peng 2023 (arXiv 2305.11383): a model that does as well with the label space alone, or with examples
whose answers are wrong, has not learned from the words. What a level leaves of the task is a file of the
study's own; `empty` and `none` are keys of the recipe.
"""

from __future__ import annotations

import os
import random
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.errors import RecipeError, nearest
from espalier.evaluate.baselines import labels_to_draw
from espalier.study.factors import Factor, factors
from espalier.study.files import tasks_of, with_tasks
from espalier.tasks.task_files import BUNDLED, load_task
from espalier.tasks.templates import Show, to_examples

if TYPE_CHECKING:
    from espalier.core.recipe import Recipe
    from espalier.core.records import Demonstration, Task
    from espalier.study.files import Files

WORDINGS = ("original", "labels", "shuffled", "empty")
SHOWN = ("good", "delusive", "none")


@factors.register("definition")
def definition(*, seed: int = 0) -> Factor:
    """What the task says: original, labels (their names alone), shuffled, empty, another task's file."""

    def apply(recipe: Recipe, level: object, files: Files) -> Recipe:
        if level == "original":
            return recipe
        if level == "empty":
            section = recipe.task.model_copy(update={"definition": False, "cautions": False})
            return recipe.model_copy(update={"task": section})
        if level == "labels":
            return with_tasks(recipe, files, "its definition", _labels)
        if level == "shuffled":
            return with_tasks(recipe, files, "its definition", lambda task: _shuffled(task, seed))
        if isinstance(level, str) and (os.path.isfile(level) or level in BUNDLED):
            other = load_task(Path(level), lambda _: None)
            return with_tasks(
                recipe,
                files,
                "its definition",
                lambda task: replace(task, definition=other.definition, cautions=other.cautions),
            )
        raise _no_level("definition", level, WORDINGS, ", and no task's file")

    return Factor(apply, "both")


@factors.register("examples")
def examples() -> Factor:
    """What the worked examples show: good, delusive (each with another's answer), or none."""

    def apply(recipe: Recipe, level: object, files: Files) -> Recipe:
        if level not in SHOWN:
            raise _no_level("examples", level, SHOWN)
        if recipe.task.positive == 0 or not all(
            task.positive for _, task in tasks_of(recipe, "its examples")
        ):
            raise RecipeError(
                "The prompt shows no good example, so what examples show cannot be varied.",
                where="factor",
                hint="Raise task.positive, or give the task examples.",
            )
        if level == "none":
            section = recipe.task.model_copy(update={"positive": 0, "negative": 0})
            return recipe.model_copy(update={"task": section})
        return with_tasks(recipe, files, "its examples", _delusive) if level == "delusive" else recipe

    return Factor(apply, "both")


def _no_level(factor: str, level: object, known: tuple[str, ...], more: str = "") -> RecipeError:
    return RecipeError(
        f"'{level}' is no level of '{factor}'{more}.", where="factor", hint=nearest(str(level), known)
    )


def _labels(task: Task) -> Task:
    """Return the task whose words are its label space, and nothing on how to choose from it."""
    labels = labels_to_draw(to_examples(task, Show(positive=0, negative=0)))
    if not labels:
        raise RecipeError(
            f"The answers of {task.name} are free text or numbers, so there are no labels to name.",
            where="factor",
            hint="Leave the level 'labels' out.",
        )
    return replace(task, definition=f"Answer with one of: {', '.join(labels)}.", cautions=())


def _shuffled(task: Task, seed: int) -> Task:
    """Return the task with the words of its definition and cautions in an order that says nothing."""
    words = " ".join([task.definition, *task.cautions]).split()
    random.Random(seed).shuffle(words)
    return replace(task, definition=" ".join(words), cautions=())


def _delusive(task: Task) -> Task:
    """Return the task whose good examples have answers that are not theirs, in the same form.

    Each takes that of the next one whose answer is another, or else that of a row.
    """
    outputs = [one.output for one in task.positive]
    rows = [output for row in task.rows for output in row.outputs[:1]]

    def wrong(place: int, one: Demonstration) -> str:
        others = [*outputs[place + 1 :], *outputs[:place], *rows]
        return next((output for output in others if output != one.output), one.output)

    shown = tuple(replace(one, output=wrong(i, one), explanation="") for i, one in enumerate(task.positive))
    if all(new.output == old.output for new, old in zip(shown, task.positive, strict=True)):
        raise RecipeError(
            f"All answers of {task.name} are the same, so no example can be given another's.", where="factor"
        )
    return replace(task, positive=shown)
