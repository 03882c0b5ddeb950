"""Factors of what is learned from: whose answers the training rows have, and which rows these are.

Only rows of sources that are not scored are changed, so that what is scored stays as it is.
"""

from __future__ import annotations

import os
import random
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.errors import DataError, RecipeError, nearest
from espalier.core.files import read_jsonl
from espalier.core.text import counted
from espalier.data.judgement import filters
from espalier.design.factors import Factor, factors
from espalier.design.files import answering, with_tasks
from espalier.runs.prepare import prepare
from espalier.tasks.templates import Show, to_examples

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.recipe import Recipe
    from espalier.core.records import Example, Task
    from espalier.design.files import Files

ANSWERS = ("gold", "shuffled", "style-only")
FRAME = 0.1  # of the answers that a word is in, from which on it belongs to their style


@factors.register("output.source")
def outputs(*, seed: int = 0) -> Factor:
    """Whose answers are learned: gold, shuffled, style-only (rare words are other rows'), a file of them."""

    def apply(recipe: Recipe, level: object, files: Files) -> Recipe:
        if level == "gold":
            return recipe
        if level not in ANSWERS and not (isinstance(level, str) and os.path.isfile(level)):
            raise RecipeError(
                f"'{level}' is no level of 'output.source', and no file of {{id, output}}.",
                where="factor",
                hint=nearest(str(level), ANSWERS),
            )
        train = _trained(recipe)
        if level == "shuffled":
            said = _shuffled(train, seed)
        elif level == "style-only":
            said = _style(train, seed)
        else:
            said = _of_file(Path(str(level)), train)
        taken = {example: (text,) for example, text in said.items()}
        return with_tasks(recipe, files, "whose answers are learned", lambda task: answering(task, taken))

    return Factor(apply, "train", rewrites=True)


@factors.register("data.filter")
def data_filter() -> Factor:
    """Which training rows stay: all, or those that a filter of `espalier build` passes."""

    def apply(recipe: Recipe, level: object, files: Files) -> Recipe:
        if level == "all":
            return recipe
        table = {"kind": level} if isinstance(level, str) else level
        if not (isinstance(table, dict) and isinstance(table.get("kind"), str)):
            raise RecipeError(f"{level!r} names no filter.", where="factor", hint="Write all, or a filter.")
        params = {key: value for key, value in table.items() if key != "kind"}
        judge = filters.build(str(table["kind"]), params)
        train = _trained(recipe)
        out = {e.id for e, verdict in zip(train, judge(train), strict=True) if verdict.ok is False}
        if len(out) == len(train):
            raise RecipeError(f"No training row passes {table['kind']}.", where="factor")
        return with_tasks(recipe, files, "which rows are learned", lambda task: _without(task, out))

    return Factor(apply, "train", rewrites=True)


def _trained(recipe: Recipe) -> list[Example]:
    """Return all rows of sources that are not scored, whatever the recipe takes of them."""
    whole = recipe.data.model_copy(update={"limit": None, "dev": 0.0})
    return prepare(recipe.model_copy(update={"data": whole})).train


def _shuffled(rows: Sequence[Example], seed: int) -> dict[str, str]:
    """Return another row's answer for each."""
    order = list(range(len(rows)))
    random.Random(seed).shuffle(order)
    turned = [*order[1:], *order[:1]]  # a cycle, so that none keeps its own
    return {rows[at].id: rows[other].answer for at, other in zip(order, turned, strict=True)}


def _style(rows: Sequence[Example], seed: int) -> dict[str, str]:
    """Return answers of the same form and frequent words, whose other words are drawn from other answers."""
    texts = [re.findall(r"\w+", row.answer) for row in rows]
    held = Counter(word.lower() for words in texts for word in {*words})
    rare = [word for words in texts for word in words if held[word.lower()] < max(2, FRAME * len(rows))]
    if not rare:
        raise RecipeError(
            "All words of the answers are frequent, so nothing but style is in them.", where="factor"
        )
    rng = random.Random(seed)

    def other(found: re.Match[str]) -> str:
        word = found.group()
        if held[word.lower()] >= max(2, FRAME * len(rows)):
            return word
        drawn = rng.choice(rare)
        return drawn.capitalize() if word[:1].isupper() else drawn

    return {row.id: re.sub(r"\w+", other, row.answer) for row in rows}


def _of_file(path: Path, rows: Sequence[Example]) -> dict[str, str]:
    """Return the answers of a file, by the rows' ids or what their file calls them. Raises DataError."""
    said: dict[str, str] = {}
    for number, line in read_jsonl(path):
        if not isinstance(line.get("id"), str) or not isinstance(line.get("output"), str):
            raise DataError("The line has no id or no output, both texts.", where=f"{path}:{number}")
        said[line["id"]] = line["output"]
    found = {row.id: said.get(row.id, said.get(str(row.origin.get("row")))) for row in rows}
    if lacking := [name for name, text in found.items() if text is None]:
        raise DataError(
            f"It has no answer for {len(lacking)} of {counted(len(rows), 'training row')}.",
            where=str(path),
            hint=f"The first is {lacking[0]}.",
        )
    return {name: text for name, text in found.items() if text}


def _without(task: Task, out: set[str]) -> Task:
    made = to_examples(task, Show(positive=0, negative=0))
    kept = tuple(row for row, example in zip(task.rows, made, strict=True) if example.id not in out)
    return replace(task, rows=kept)
