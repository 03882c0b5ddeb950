"""The front of every run: from a recipe to examples and to token rows, with what was left out."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError
from espalier.data.split import limit, split
from espalier.data.templates import Show, available, to_examples
from espalier.encode.tokens import encode
from espalier.tasks.task_files import load_task

if TYPE_CHECKING:
    from espalier.core.recipe import Recipe, TaskSection
    from espalier.core.records import Encoded, Example, Task
    from espalier.encode.template import Template


@dataclass(frozen=True)
class Prepared:
    """A recipe's examples. `shown` is what the prompt really shows, `rejects` the rows of no use."""

    task: Task
    shown: Show
    train: list[Example]
    test: list[Example]
    rejects: list[dict[str, Any]]


@dataclass(frozen=True)
class Rows:
    """Training examples as tokens, and those that do not fit the token budget."""

    rows: list[Encoded]
    rejects: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def prepare(recipe: Recipe) -> Prepared:
    """Load the task, render its rows and split them.

    Raises:
        DataError: the task file cannot be used, or too few rows are left.
    """
    rejects: list[dict[str, Any]] = []
    on_reject = rejects.append if recipe.task.on_bad == "reject" else None
    task = load_task(recipe.task.path, on_reject)
    shown = available(task, show(recipe.task))
    train, test = split(to_examples(task, shown), recipe.data.train, recipe.seed)
    if recipe.data.limit:
        train = limit(train, recipe.data.limit, recipe.seed)
    if recipe.data.test_limit:
        test = limit(test, recipe.data.test_limit, recipe.seed)
    return Prepared(task, shown, train, test, rejects)


def show(section: TaskSection) -> Show:
    """Return the parts of the task that the recipe wants shown."""
    return Show(
        definition=section.definition,
        cautions=section.cautions,
        positive=section.positive,
        negative=section.negative,
        explanations=section.explanations,
    )


def encode_rows(examples: list[Example], template: Template, tokens: int) -> Rows:
    """Return the examples in tokens; a row longer than the budget is left out with the reason, never cut.

    Raises:
        DataError: no row fits.
    """
    result = Rows([])
    sizes: list[int] = []
    for example in examples:
        row = encode(example, template)
        sizes.append(len(row.ids))
        if len(row.ids) <= tokens:
            result.rows.append(row)
            continue
        reason = f"The row has {len(row.ids)} tokens; the budget train.tokens is {tokens}."
        where = ", row ".join(str(example.origin[key]) for key in ("file", "row") if key in example.origin)
        result.rejects.append({"where": where, "reason": reason, "example": example.id})
    if not result.rows:
        raise DataError(
            f"None of the {len(examples)} training rows fits the budget of {tokens} tokens; they have "
            f"{min(sizes)} to {max(sizes)}.",
            where="train.tokens",
            hint=f"Raise it with -o train.tokens={max(sizes)}, or show fewer examples (task.positive).",
        )
    return result
