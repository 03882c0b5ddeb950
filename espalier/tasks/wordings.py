"""The same task in other words and other forms, by rule: each asks for the same, of the same rows.

Paraphrases put the definition into another frame (an order, a question, politeness, a role) and leave
its own words; formats change labels, headings, separators and the order of blocks, as FormatSpread does
(Sclar et al. 2024, arXiv 2310.11324). A wording is a function from task to task, as in `variants.py`: rows
keep their ids and are scored alike. Definitions that somebody wrote are wordings, too.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.core.errors import DataError, nearest
from espalier.core.records import Layout
from espalier.core.text import folded

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import TypeAlias

    from espalier.core.records import Task

    Wording: TypeAlias = Callable[[Task], Task]

ORIGINAL = "original"
FRAMES = {
    "polite": "Please do the following for me. {0} Thank you.",
    "question": "Could you do this? {0}",
    "order": "Do exactly this: {0}",
    "task": "Task: {0}",
    "instruction": "Instruction: {0}",
    "role": "You are a careful and skilled assistant. {0}",
    "need": "I need your help with this. {0}",
    "given": "Below is a task, and then an input. Write an answer that completes the task.\n\n{0}",
    "read": "{0} Read everything before you answer.",
    "answer": "{0} Give your answer right away.",
    "begin": "Here is what you have to do.\n{0}",
    "again": "{0}\nOnce more: {0}",
}
_TEXT = Layout("Text: ", "Answer: ", "Example", "Wrong example")
LAYOUTS = {
    "text": _TEXT,
    "question-answer": Layout("Q: ", "A: "),
    "headings": Layout("### Input\n", "### Output\n", "## Good example", "## Bad example"),
    "rules": Layout(between="\n\n---\n\n"),
    "tight": Layout(between="\n", mark="* "),
    "capitals": Layout("INPUT: ", "OUTPUT: ", "GOOD EXAMPLE", "BAD EXAMPLE"),
    "last": Layout(last=True),
}
_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z\"“‘'])")


def _framed(frame: str) -> Wording:
    return lambda task: replace(task, definition=frame.format(task.definition))


def _bullets(task: Task) -> Task:
    parts = _SENTENCE.split(task.definition)
    return replace(task, definition="\n".join(f"- {part}" for part in parts))


def _laid(layout: Layout) -> Wording:
    return lambda task: replace(task, layout=layout)


PARAPHRASES: Mapping[str, Wording] = {
    **{name: _framed(frame) for name, frame in FRAMES.items()},
    "bullets": _bullets,
}
FORMATS: Mapping[str, Wording] = {name: _laid(layout) for name, layout in LAYOUTS.items()}
WORDINGS: Mapping[str, Wording] = {ORIGINAL: lambda task: task, **PARAPHRASES, **FORMATS}


def with_wording(task: Task, level: str) -> Task:
    """Return the task in another wording of `WORDINGS`; "original" changes nothing.

    Raises:
        DataError: the level does not exist, or the task has no definition to be put in other words.
    """
    if level not in WORDINGS:
        raise DataError(f"There is no wording '{level}'.", hint=nearest(level, WORDINGS))
    if level in PARAPHRASES and not task.definition.strip():
        raise DataError(
            "The task has no definition that could be put in other words.",
            where=task.name,
            hint=f"Take a format: {', '.join(FORMATS)}.",
        )
    return WORDINGS[level](task)


def written(task: Task, definition: str) -> Task:
    """Return the task with a definition that somebody wrote. Raises DataError where it is the task's own."""
    if not definition.strip() or folded(definition) == folded(task.definition):
        raise DataError("A written wording is empty, or is the task's own definition.", where=task.name)
    return replace(task, definition=definition.strip())
