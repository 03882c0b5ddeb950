"""The same task, asked otherwise: what its definition and its worked examples do is seen by changing them.

The levels are those of Kung & Peng (2023, arXiv 2305.11383), and for the examples of Min et al. (2022, arXiv
2202.12837). Each is a function from a task to a task; name, rows, checks and licence stay, so that the rows
keep their ids and are scored alike. What a task lacks is refused with a sentence: whoever asks for all levels
leaves that one out.
"""

from __future__ import annotations

import random
from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar

from espalier.core.errors import DataError, nearest
from espalier.core.text import folded, unpunctuated

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from espalier.core.records import Demonstration, Task

T = TypeVar("T")
DEFINITIONS = ("original", "labels", "shuffled", "empty", "another")
EXAMPLES = ("good", "delusive", "none")
ORDERS = ("permuted", "random_labels")
# What "another" says where no other task is at hand: nothing that a text's task could have in common with it.
FOREIGN = (
    "You are given a list of whole numbers, separated by commas. Write the numbers again in rising order, "
    "each one once, and then their sum after a semicolon."
)


def with_definition(
    task: Task, level: str, *, labels: Sequence[str] = (), other: str = FOREIGN, seed: int = 0
) -> Task:
    """Return the task with another definition. Its cautions are part of it: only "original" keeps them whole.

    Args:
        task: as it is.
        level: one of `DEFINITIONS`: as it is; the label space alone; its words in another order; nothing;
            what another task is asked.
        labels: the label space, where answers are few and closed (`evaluate.baselines.labels_to_draw`).
        other: another task's definition, for "another".
        seed: of the order of words.

    Raises:
        DataError: the level does not exist, or means nothing for this task.
    """
    _known(level, DEFINITIONS, "definition")
    if level == "original":
        return task
    if not task.definition.strip():
        raise _lacks(
            task, "has no definition that could be changed", "Leave the definition out of the study."
        )
    if level == "labels" and not labels:
        raise _lacks(
            task,
            "is answered in free text, so it has no label space to name",
            "Take another level: shuffled, empty or another.",
        )
    if level == "another" and folded(other) == folded(task.definition):
        raise _lacks(task, "has that very definition itself", "Give another task's.")
    words: dict[str, str] = {
        "labels": f"Answer with one of: {', '.join(labels)}.",
        "shuffled": _words_shuffled(task.definition, seed),
        "empty": "",
        "another": other,
    }
    cautions = tuple(_words_shuffled(one, seed) for one in task.cautions) if level == "shuffled" else ()
    return replace(task, definition=words[level], cautions=cautions)


def with_examples(task: Task, level: str, *, seed: int = 0) -> Task:
    """Return the task with other worked examples.

    Args:
        task: as it is.
        level: one of `EXAMPLES`: as they are; "delusive", where each good example's input has an answer of
            another one that differs from its own; or none, good or bad. Bad examples stay as they are unless
            there are none, and delusive ones lose their explanations, which would tell.
        seed: of who gets whose.

    Raises:
        DataError: the level does not exist, or means nothing for this task.
    """
    _known(level, EXAMPLES, "examples")
    if level == "good":
        return task
    if not task.positive and not task.negative:
        raise _lacks(
            task, "has no worked example that could be changed", "Leave the examples out of the study."
        )
    if level == "none":
        return replace(task, positive=(), negative=())
    return replace(task, positive=_exchanged(task, random.Random(seed)))


def with_order(
    task: Task, level: str, *, labels: Sequence[str] = (), shown: int | None = None, seed: int = 0
) -> Task:
    """Return the task with its good examples "permuted", or with "random_labels".

    Random labels are drawn evenly, right or wrong (Min et al.): the examples still show inputs, form and
    labels. No order is the task's own.

    Args:
        task: as it is.
        level: one of `ORDERS`.
        labels: the label space, as for `with_definition`.
        shown: how many good examples prompts show: only these change places; by default all.
        seed: of the draw.

    Raises:
        DataError: the level does not exist, or means nothing for this task.
    """
    _known(level, ORDERS, "order of examples")
    if level == "permuted":
        first, rest = task.positive[:shown], task.positive[len(task.positive[:shown]) :]
        if len(set(first)) < 2:
            raise _lacks(task, "shows no two good examples whose order could change", "Leave the order out.")
        return replace(task, positive=(*_permuted(first, random.Random(seed)), *rest))
    if not task.positive:
        raise _lacks(task, "has no good example whose label could be drawn", "Leave random labels out.")
    if not labels:
        raise _lacks(
            task,
            "is answered in free text, so there are no labels to draw",
            "Take examples = delusive, which exchanges the answers.",
        )
    draw = random.Random(seed)
    drawn = (replace(one, output=draw.choice(list(labels)), explanation="") for one in task.positive)
    return replace(task, positive=tuple(drawn))


def each_that_applies(
    levels: Sequence[str], make: Callable[[str], Task]
) -> tuple[dict[str, Task], dict[str, str]]:
    """Return the variants by level, and of those that mean nothing for the task the reason why."""
    made: dict[str, Task] = {}
    left: dict[str, str] = {}
    for level in levels:
        try:
            made[level] = make(level)
        except DataError as error:
            left[level] = error.message
    return made, left


def _words_shuffled(text: str, seed: int) -> str:
    """Return a text with its words in another order, where there is one."""
    words = text.split()
    if len(set(words)) < 2:
        return text
    return " ".join(_permuted(tuple(words), random.Random(seed)))


def _permuted(items: tuple[T, ...], draw: random.Random) -> tuple[T, ...]:
    """Return items in an order that is not theirs; two of them have to differ."""
    made = items
    while made == items:
        made = tuple(draw.sample(items, len(items)))
    return made


def _exchanged(task: Task, draw: random.Random) -> tuple[Demonstration, ...]:
    """Return the good examples, each with an answer that is another's and not its own; which one is drawn."""
    answers = [one.output for one in task.positive]
    made: list[Demonstration] = []
    for one in task.positive:
        wrong = [text for text in answers if unpunctuated(text) != unpunctuated(one.output)]
        if not wrong:
            raise _lacks(
                task, "has no two good examples whose answers differ, to be exchanged", "Leave delusive out."
            )
        made.append(replace(one, output=draw.choice(wrong), explanation=""))
    return tuple(made)


def _known(level: str, levels: Sequence[str], what: str) -> None:
    if level not in levels:
        raise DataError(f"There is no {what} '{level}'.", hint=nearest(level, levels))


def _lacks(task: Task, what: str, hint: str) -> DataError:
    return DataError(f"The task {what}.", where=task.name, hint=hint)
