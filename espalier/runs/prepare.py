"""The front of every run: from a recipe to examples and to token rows, with what was left out."""

from __future__ import annotations

import os
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError, TemplateError
from espalier.core.records import Task, TaskRow
from espalier.core.text import counted
from espalier.data.formats.folders import is_split, name_of
from espalier.data.formats.hub import fetch_rows, is_hub_name
from espalier.data.formats.rows import LEAVE_OUT, has_columns, load_rows
from espalier.data.split import hold_out, limit, split
from espalier.data.templates import Show, available, to_examples
from espalier.encode.batches import group_size
from espalier.encode.tokens import encode_unit
from espalier.runs.events import working
from espalier.tasks.task_files import is_task, load_task, task_path

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.core.recipe import Recipe, TaskSection, TrainSection
    from espalier.core.records import Example
    from espalier.encode.template import Template
    from espalier.encode.tokens import Unit
    from espalier.tasks.rows import OnReject


NAMES = 3  # of special tokens that are listed


@dataclass(frozen=True)
class Prepared:
    """A recipe's examples. `shown` is what the prompt really shows, `rejects` the rows of no use.

    `notes` are sentences on what the files say and nothing looks at; `dev` is held out of training.
    """

    task: Task
    shown: Show
    train: list[Example]
    test: list[Example]
    rejects: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list[str])
    dev: list[Example] = field(default_factory=list["Example"])


@dataclass(frozen=True)
class Units:
    """Training examples as tokens, and those that fit neither the token budget nor the model's context."""

    units: list[Unit]
    rejects: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


@working("Reading the rows", aloud=False)
def prepare(recipe: Recipe) -> Prepared:
    """Load the task or the rows, render a task's rows and split them.

    Raises:
        DataError: the file cannot be used, or too few rows are left.
    """
    rejects: list[dict[str, Any]] = []
    notes: list[str] = []
    on_reject = _rejecting(recipe.task, rejects)
    task, shown, examples = loaded(recipe.task.path, recipe.task, on_reject, notes)
    train, test = split(examples, recipe.data.train, recipe.seed)
    if recipe.data.limit:
        train = limit(train, recipe.data.limit, recipe.seed)
    if recipe.data.test_limit:
        test = limit(test, recipe.data.test_limit, recipe.seed)
    train, dev = hold_out(train, recipe.data.dev, recipe.seed) if recipe.data.dev else (train, [])
    return Prepared(task, shown, train, test, rejects, notes, dev)


def stage_examples(task: TaskSection, stage: TrainSection, prepared: Prepared) -> list[Example]:
    """Return what a stage trains on: the rows of its own file, or the recipe's training rows.

    Rows of a source that is scored go to `prepared.rejects`, as those that cannot be used do.

    Raises:
        DataError: the file cannot be used, or all its rows belong to sources that are scored.
    """
    if not stage.data:
        return prepared.train
    on_reject = _rejecting(task, prepared.rejects)
    columns = task.columns if has_columns(place_of(stage.data), task.columns) else {}
    section = task.model_copy(update={"format": "auto", "columns": columns})
    _, _, examples = loaded(stage.data, section, on_reject, prepared.notes)
    scored = {example.source for example in prepared.test}
    for example in examples:
        if example.source in scored:
            reason = "Its source is in the test set, so it is not trained on."
            where = f"{example.origin['file']}, row {example.origin['row']}"
            prepared.rejects.append({"where": where, "reason": reason, "example": example.id})
    kept = [example for example in examples if example.source not in scored]
    if not kept:
        raise DataError(
            f"All {len(examples)} rows belong to sources that are scored.",
            where=f"{stage.data} (train.data)",
            hint="Give the stage rows of its own, or leave train.data out.",
        )
    return kept


def divided(
    recipe: Recipe, stage: TrainSection, examples: list[Example], prepared: Prepared
) -> tuple[list[Example], list[Example]]:
    """Return what a stage trains on of its rows, see `stage_examples`, and what is held out of that.

    Sources that are held out of the recipe's rows are held out of a stage's own file, too.

    Raises:
        DataError: its own file cannot be divided.
    """
    if not (stage.data and recipe.data.dev):
        return examples, prepared.dev
    _, dev = hold_out(examples, recipe.data.dev, recipe.seed)
    held = {example.source for example in (*prepared.dev, *dev)}
    train = [example for example in examples if example.source not in held]
    if not train:
        raise DataError(
            f"All {len(examples)} rows belong to sources that are held out.",
            where=f"{stage.data} (train.data)",
            hint="Lower data.dev, or give the stage rows of its own.",
        )
    return train, [example for example in examples if example.source in held]


def loaded(
    path: str, section: TaskSection, on_reject: OnReject | None, notes: list[str]
) -> tuple[Task, Show, list[Example]]:
    """Return the task with what its prompts show and its examples; a file of rows is a task without words."""
    file = place_of(path)
    if section.format == "auto" and file.exists() and is_task(file):
        task = load_task(path, on_reject)
        shown = available(task, show(section))
        return task, shown, to_examples(task, shown)
    examples = load_rows(file, section.format, on_reject, notes.append, section.columns)
    rows = [
        TaskRow(e.id, e.input, e.references, e.source, rejected=tuple(turn.text for turn in e.rejected))
        for e in examples
    ]
    task = Task(name_of(file), "", tuple(rows), origin=str(file))
    return task, available(task, show(section)), examples


def place_of(path: str) -> Path:
    """Return where a task or rows lie: a file, a folder, FOLDER:SPLIT, a bundled task, a data set of the hub.

    Raises:
        DataError: it is none of these.
    """
    if os.path.exists(path) or not (is_split(path) or is_hub_name(path)):
        return task_path(path)
    return Path(path) if is_split(path) else fetch_rows(path)


def _rejecting(task: TaskSection, rejects: list[dict[str, Any]]) -> OnReject | None:
    return rejects.append if task.on_bad == "reject" else None


def show(section: TaskSection) -> Show:
    """Return the parts of the task that the recipe wants shown."""
    return Show(
        definition=section.definition,
        cautions=section.cautions,
        positive=section.positive,
        negative=section.negative,
        explanations=section.explanations,
    )


def encode_units(
    examples: list[Example],
    template: Template,
    tokens: int,
    answer: int = 0,
    refused: list[dict[str, Any]] | None = None,
    *,
    what: str = "training",
) -> Units:
    """Return the examples in tokens; one beyond the budget or the model's context is left out, never cut.

    Args:
        examples: to train on.
        template: of the model.
        tokens: most distinct tokens of an example's rows.
        answer: most tokens of an answer that the model may write itself; it has to fit behind the prompt.
        refused: takes what the template refuses; without it that is an error.
        what: what they are called where none fits.

    Raises:
        DataError: no example fits.
        TemplateError: the template refuses an example, which is named.
    """
    result = Units([])
    sizes: list[int] = []  # of all rows of an example laid out together
    lengths: list[int] = []  # of its longest row
    for example in examples:
        try:
            unit = encode_unit(example, template)
        except TemplateError as error:
            if refused is None:
                raise _refused(example, error) from None
            refused.append(_left_out(example, f"{error.message} {error.hint}".strip()))
            continue
        written = len(unit.prompt) + max(1, answer)
        sizes.append(max(len(unit.rows) + group_size(unit.rows) if unit.rows else 0, written))
        lengths.append(max([written, *(len(row.ids) for row in unit.rows)]))
        if lengths[-1] > template.context:
            reason = f"The row has {lengths[-1]} tokens; the model's context is {template.context}."
        elif sizes[-1] > tokens:
            reason = f"The row has {sizes[-1]} tokens; the budget train.tokens is {tokens}."
        else:
            result.units.append(unit)
            continue
        result.rejects.append(_left_out(example, reason))
    if not sizes and refused:
        raise DataError(
            f"The chat template refuses all {len(examples)} {what} rows.", hint=refused[-1]["reason"]
        )
    if not result.units:
        raise _nothing_fits(f"None of the {len(sizes)} {what} rows fits", sizes, lengths, tokens, template)
    return result


def askable(
    examples: list[Example], template: Template, refused: list[dict[str, Any]] | None, *, rates: bool = False
) -> list[Example]:
    """Return the examples to score that the template renders.

    Args:
        examples: to score.
        template: of the model.
        refused: as in `encode_units`.
        rates: whether the examples' own answers are to be rated; else only their prompts are asked.

    Raises:
        TemplateError: the template refuses an example, which is named.
        DataError: it refuses all.
    """
    kept: list[Example] = []
    for example in examples:
        try:
            if rates:
                encode_unit(example, template)
            else:
                template.prompt_ids(example.prompt)
        except TemplateError as error:
            if refused is None:
                raise _refused(example, error) from None
            refused.append(_left_out(example, f"{error.message} {error.hint}".strip()))
        else:
            kept.append(example)
    if not kept and refused:
        reason = refused[-1]["reason"]
        raise DataError(f"The chat template refuses all {len(examples)} test rows.", hint=reason)
    return kept


def special_names(examples: Sequence[Example], template: Template) -> Iterator[str]:
    """Yield a sentence on rows that hold names of special tokens, where there are such and they are text."""
    found = [
        names for example in examples if (names := template.quoted((*example.messages, *example.rejected)))
    ]
    if found and template.rendering.special == "text":
        listed = sorted(set[str]().union(*found))
        more = f" and {len(listed) - NAMES} more" if len(listed) > NAMES else ""
        yield (
            f"{counted(len(found), 'row')} hold names of special tokens ({', '.join(listed[:NAMES])}{more}): "
            'they are text there, in several tokens each. task.special = "token" makes them the tokens.'
        )


def _refused(example: Example, error: TemplateError) -> TemplateError:
    hint = f"{error.hint} {LEAVE_OUT}".strip()
    return TemplateError(error.message, where=_place(example) or error.where, hint=hint)


def _left_out(example: Example, reason: str) -> dict[str, Any]:
    return {"where": _place(example), "reason": reason, "example": example.id}


def _place(example: Example) -> str:
    return ", row ".join(str(example.origin[key]) for key in ("file", "row") if key in example.origin)


def _nothing_fits(
    none: str, sizes: list[int], lengths: list[int], tokens: int, template: Template
) -> DataError:
    if min(lengths) > template.context:
        return DataError(
            f"{none} the model's context of {template.context} tokens; they have {min(lengths)} to "
            f"{max(lengths)}.",
            where="model.name",
            hint="Take a model with a longer context, or show fewer examples (task.positive).",
        )
    return DataError(
        f"{none} the budget of {tokens} tokens; they have {min(sizes)} to {max(sizes)}.",
        where="train.tokens",
        hint=f"Raise it with -o train.tokens={max(sizes)}, or show fewer examples (task.positive).",
    )
