"""A task's rows as conversations: one user message that says what is asked, one trained answer.

The message runs from what all rows share to what each row owns: definition, cautions, good and bad examples,
and the row's input last. All rows of a task are then one prefix tree whose long trunk is computed once.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace

from espalier.core.records import Demonstration, Example, Layout, Task, TaskRow, example_id, message
from espalier.core.text import folded
from espalier.tasks.facts import OURS, facts_of, kept


@dataclass(frozen=True, slots=True)
class Show:
    """Which parts of a task the prompt shows; the fields are the recipe's keys under [task]."""

    definition: bool = True
    cautions: bool = True
    positive: int = 2
    negative: int = 1
    explanations: bool = False


def available(task: Task, show: Show) -> Show:
    """Return `show` with at most as many examples as the task has: where they differ, fewer are shown."""
    return replace(
        show, positive=min(show.positive, len(task.positive)), negative=min(show.negative, len(task.negative))
    )


def prompt_parts(task: Task, show: Show) -> str:
    """Return what the prompts of all rows begin with, up to a blank line; '' where nothing is shown."""
    layout, parts = task.layout, [] if task.layout.last else _definition(task, show)
    for heading, shown in (
        (layout.good, task.positive[: show.positive]),
        (layout.bad, task.negative[: show.negative]),
    ):
        parts += [f"{heading}\n{_demonstration(item, show.explanations, layout)}" for item in shown]
    return "".join(f"{part}{layout.between}" for part in parts)


def asked(task: Task, show: Show, text: str) -> str:
    """Return the prompt for a text under a task's words."""
    return _prompt(task, show, prompt_parts(task, show), text)


def to_examples(task: Task, show: Show) -> list[Example]:
    """Return one Example per row, in the task's order: the first output is trained, all outputs are
    references. A row with rejected outputs only becomes a prompt with these.

    The id depends on task, input, outputs and rejected ones, not on what is shown, so that runs with other
    prompts can be compared row by row. `origin` names the file, the row and the row's tags.
    """
    prefix = prompt_parts(task, show)
    seen: Counter[str] = Counter()
    examples: list[Example] = []
    for row in task.rows:
        identifier = example_id(task.name, row.input, row.outputs, *row.rejected)
        made = kept(_example(task, row, identifier, _prompt(task, show, prefix, row.input)), row.tags)
        seen[made.id] += 1
        if seen[made.id] > 1:  # an exact repetition is a row of its own
            made = replace(made, id=example_id(identifier, seen[made.id]))
        examples.append(made)
    return examples


def normalised(text: str) -> str:
    """Return what makes two inputs one source: the text without regard to case, width and spaces."""
    return folded(text)


def _example(task: Task, row: TaskRow, identifier: str, asked: str) -> Example:
    tags = {key: tag for key, tag in row.tags.items() if key != OURS}
    trained = [message("assistant", output, trained=True) for output in row.outputs[:1]]
    return Example(
        id=identifier,
        task=task.name,
        source=row.source or normalised(row.input),
        messages=(message("user", asked), *trained),
        references=row.outputs,
        rejected=tuple(message("assistant", text) for text in row.rejected),
        origin={"file": task.origin, "row": row.id, **({"tags": tags} if tags else {})},
        input=row.input,
        facts=facts_of(row.tags),
    )


def _definition(task: Task, show: Show) -> list[str]:
    parts = [task.definition] if show.definition and task.definition.strip() else []
    if show.cautions and task.cautions:
        parts.append("\n".join(f"{task.layout.mark}{caution}" for caution in task.cautions))
    return parts


def _prompt(task: Task, show: Show, prefix: str, text: str) -> str:
    behind = "".join(f"{task.layout.between}{part}" for part in _definition(task, show) if task.layout.last)
    return f"{prefix}{task.layout.input}{text}{behind}" if prefix or behind else text


def _demonstration(item: Demonstration, explain: bool, layout: Layout) -> str:
    why = f"\nWhy: {item.explanation}" if explain and item.explanation else ""
    return f"{layout.input}{item.input}\n{layout.output}{item.output}{why}"
