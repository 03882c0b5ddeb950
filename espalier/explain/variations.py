"""A run's test rows asked otherwise: definition × examples, and other orders of the examples.

A variant's rows are those of the run but for their prompts. Each has an id of its own, so that a model
answers all of them in one batch: what prompts share is computed once, equal prompts are answered once.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from espalier.core.records import message
from espalier.evaluate.baselines import labels_to_draw
from espalier.tasks.templates import asked, available, prompt_parts
from espalier.tasks.variants import (
    DEFINITIONS,
    EXAMPLES,
    FOREIGN,
    ORDERS,
    each_that_applies,
    with_definition,
    with_examples,
    with_order,
)

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from typing import TypeAlias

    from espalier.core.records import Example, Task
    from espalier.data.mixture import Part

    Levels: TypeAlias = tuple[str, str]  # of the definition, and of the examples or their order

USUAL = ("original", "good")


@dataclass(frozen=True)
class Variations:
    """Test rows under other prompts.

    Attributes:
        rows: those of each pair of levels, "original" and "good" first; their ids are the test rows' own.
        left: levels that could not be asked, and why.
    """

    rows: Mapping[Levels, Sequence[Example]]
    left: Mapping[str, str]

    def named(self) -> list[Example]:
        """Return the rows of all variants, each with an id of its own."""
        return [replace(row, id=named(levels, row.id)) for levels, rows in self.rows.items() for row in rows]


def named(levels: Levels, row: str) -> str:
    """Return what a row of a variant is called."""
    return f"{'/'.join(levels)}/{row}"


def variations(
    parts: Sequence[Part], test: Sequence[Example], train: Sequence[Example] = (), seed: int = 0
) -> Variations:
    """Return the rows of tasks as they can be asked; those of none, or of another prompt, are left out.

    Args:
        parts: the run's tasks, with what their prompts show.
        test: its test rows.
        train: its training rows, which tell the label space, too.
        seed: of what is drawn.
    """
    rows: defaultdict[Levels, list[Example]] = defaultdict(list)
    left: defaultdict[str, list[str]] = defaultdict(list)
    several = len(parts) > 1
    for part in parts:
        own = [row for row in test if row.task == part.name]
        fit = [row for row in own if part.task and is_asked(row, part)]
        if not own:
            continue
        if not fit:
            why = (
                "Its prompts are not those of its task as the file is now."
                if part.task
                else "Its rows bring their own prompts and are of no task, so nothing can be varied."
            )
            left[f"{part.name}: rows" if several else "all variants"].append(why)
            continue
        if len(fit) < len(own):
            told = f"{len(own) - len(fit)} of {len(own)} rows have other prompts than their task's."
            left[f"{part.name}: rows" if several else "some rows"].append(told)
        labels = labels_to_draw([*(row for row in train if row.task == part.name), *own])
        found, missing = _tasks(part, labels, _other(part, parts), seed)
        for levels, task in found.items():
            rows[levels] += [asked_as(row, task, part) for row in fit]
        for level, why in missing.items():
            left[f"{part.name}: {level}" if several else level].append(why)
    return Variations(dict(rows), {name: " ".join(dict.fromkeys(whys)) for name, whys in left.items()})


def _tasks(
    part: Part, labels: Sequence[str], other: str, seed: int
) -> tuple[dict[Levels, Task], dict[str, str]]:
    """Return a task's variants by their levels, and why there are no others."""
    assert part.task
    task = part.task
    definitions, left = each_that_applies(
        DEFINITIONS, lambda level: with_definition(task, level, labels=labels, other=other, seed=seed)
    )
    orders, more = each_that_applies(
        ORDERS,
        lambda level: with_order(task, level, labels=labels, shown=part.shown.positive, seed=seed),
    )
    examples, rest = each_that_applies(EXAMPLES, lambda level: with_examples(task, level, seed=seed))
    left |= more | rest
    made: dict[Levels, Task] = {}
    for levels, words, shown in [
        *((("original", order), task, one) for order, one in orders.items()),
        *(
            ((level, example), words, one)
            for level, words in definitions.items()
            for example, one in examples.items()
        ),
    ]:
        made[levels] = replace(words, positive=shown.positive, negative=shown.negative)
    return _telling(part, made, left)


def _telling(
    part: Part, made: Mapping[Levels, Task], left: dict[str, str]
) -> tuple[dict[Levels, Task], dict[str, str]]:
    """Return the variants without those levels that change nothing that the prompts show."""
    assert part.task
    prompts = {levels: _begin(task, part) for levels, task in made.items()}
    usual = _begin(part.task, part)
    for level, what in [
        *((level, "definition") for level in DEFINITIONS[1:]),
        *((level, "worked examples") for level in (*EXAMPLES[1:], *ORDERS)),
    ]:
        alone = (level, "good") if what == "definition" else ("original", level)
        if prompts.get(alone) == usual:
            left[level] = f"It changes nothing: the prompts show no {what} that differs."
    kept = {levels: task for levels, task in made.items() if not {*levels} & {*left}}
    return {USUAL: part.task, **kept}, left


def _begin(task: Task, part: Part) -> str:
    return prompt_parts(task, available(task, part.shown))


def _other(part: Part, parts: Sequence[Part]) -> str:
    """Return another task's definition: the next one's of the run, or one that ships."""
    place = parts.index(part)
    following = [one.task for one in (*parts[place + 1 :], *parts[:place]) if one.task]
    own = part.task.definition if part.task else ""
    return next((t.definition for t in following if t.definition.strip() and t.definition != own), FOREIGN)


def is_asked(row: Example, part: Part) -> bool:
    """Whether a row's prompt is that of its task, as the file is now."""
    assert part.task
    prompt = [(turn.role, turn.text) for turn in row.prompt]
    return prompt == [("user", asked(part.task, part.shown, row.input))]


def asked_as(row: Example, task: Task, part: Part) -> Example:
    """Return the row with the prompt that another form of its task makes."""
    prompt = message("user", asked(task, available(task, part.shown), row.input))
    return replace(row, messages=(prompt, *row.messages[1:]))
