"""The front of every run: from a recipe to examples and to token rows, with what was left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError, TemplateError
from espalier.core.files import content_hash
from espalier.core.memory import all_kept
from espalier.core.text import counted
from espalier.data.mixture import places, read
from espalier.data.split import held_out, hold_out, limit, sources_of, split
from espalier.encode.batches import group_size
from espalier.encode.tokens import encode_unit, read_ahead
from espalier.formats.load import LEAVE_OUT, has_columns
from espalier.runs.events import say, working
from espalier.tasks.once import once

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.core.recipe import Recipe, TaskSection, TrainSection
    from espalier.core.records import Example
    from espalier.data.mixture import Part
    from espalier.encode.template import Template
    from espalier.encode.tokens import Unit
    from espalier.tasks.raw_rows import OnReject


NAMES = 3  # of special tokens that are listed
TASKS = 8  # that are listed
AHEAD = 256  # examples whose texts the tokenizer is given at once


@dataclass(frozen=True)
class Prepared:
    """A recipe's examples.

    Attributes:
        parts: the tasks and files of rows that they are of, in the recipe's order.
        train, test: the examples, part by part.
        rejects: the rows of no use.
        notes: sentences on what the files say and nothing looks at.
        dev: those that are held out of training.
    """

    parts: tuple[Part, ...]
    train: list[Example]
    test: list[Example]
    rejects: list[dict[str, Any]]
    notes: list[str] = field(default_factory=list[str])
    dev: list[Example] = field(default_factory=list["Example"])

    @property
    def name(self) -> str:
        """What all of it is called."""
        return self.parts[0].name if len(self.parts) == 1 else counted(len(self.parts), "task")

    @property
    def checks(self) -> tuple[str, ...]:
        """Names of the checks that any of the tasks has."""
        return tuple(dict.fromkeys(name for part in self.parts for name in part.checks))

    @property
    def hash(self) -> str:
        """The hash of what is asked, wherever its files lie."""
        hashes = [part.hash for part in self.parts]
        return hashes[0] if len(hashes) == 1 else content_hash(hashes)

    def described(self) -> list[str]:
        """Return in words how many rows there are, and of several tasks how many each has."""
        held = f" {len(self.dev)} for the held-out loss," if self.dev else ""
        rows = f"{counted(len(self.train), 'row')} to train on,{held} {len(self.test)} to score"
        if len(self.parts) == 1:
            return [f"Task {self.name}: {rows}."]
        train, test = (Counter(row.task for row in rows) for rows in (self.train, self.test))
        listed = [f"  {p.name}: {train[p.name]} to train on, {test[p.name]} to score" for p in self.parts]
        more = len(listed) - TASKS
        return [f"{self.name}: {rows}.", *listed[:TASKS], *([f"  and {more} more"] if more > 0 else [])]


@dataclass(frozen=True)
class Units:
    """Training examples as tokens, and those that fit neither the token budget nor the model's context."""

    units: list[Unit]
    rejects: list[dict[str, Any]] = field(default_factory=list[dict[str, Any]])


def prepare(recipe: Recipe) -> Prepared:
    """Load the tasks and the rows, render the tasks' rows and split each by itself.

    Raises:
        DataError: a file cannot be used, or too few rows are left.
    """
    key = ("prepared", recipe.task.model_dump_json(), recipe.data.model_dump_json(), recipe.split_seed)
    return copied(once(key, partial(_prepare, recipe), lambda made: len(made.train) + len(made.test)))


def copied(made: Prepared) -> Prepared:
    """Return it with lists of its own: a run takes out of them what its model cannot take."""
    lists = {"train": [*made.train], "test": [*made.test], "dev": [*made.dev]}
    return replace(made, **lists, rejects=[*made.rejects], notes=[*made.notes])


@working("Reading the rows", aloud=False)
@all_kept()
def _prepare(recipe: Recipe) -> Prepared:
    section = recipe.task
    prepared = Prepared((), [], [], [], [])
    on_note = prepared.notes.append
    found = places(paths_of(section), section.format, on_note)
    every, held = read(found, section, _rejecting(section, prepared.rejects), on_note), None
    if recipe.data.split == "tasks":
        every = [*every]
        held = held_out([e for _, rows in every for e in rows], recipe.data.train, recipe.split_seed)
    parts: list[Part] = []
    for part, examples in every:
        parts.append(part)
        train, test = _divided(examples, recipe, prepared, part.name if len(found) > 1 else "", held)
        prepared.train.extend(train)
        prepared.test.extend(test)
    if len(found) > 1:
        prepared.train[:] = _unscored(prepared.train, prepared)
    if not prepared.test:
        raise DataError(f"None of the {len(found)} tasks has two sources, so none can be scored.")
    if not prepared.train:
        raise DataError("No row is left to train on.", hint=prepared.rejects[-1]["reason"])
    share, seed = recipe.data.dev, recipe.split_seed
    train, dev = hold_out(prepared.train, share, seed) if share else (prepared.train, [])
    return replace(prepared, parts=tuple(parts), train=train, dev=dev)


def paths_of(section: TaskSection) -> Sequence[str]:
    """Return the paths that a recipe names."""
    return (section.path,) if isinstance(section.path, str) else section.path


def _divided(
    examples: list[Example], recipe: Recipe, prepared: Prepared, name: str, held: set[str] | None
) -> tuple[list[Example], list[Example]]:
    """Return what is trained on of a task's examples and what is scored.

    Of one of several, that has a `name`, errors tell it; one that cannot be split is not scored. Where whole
    tasks are `held` out, it is all one or all the other.
    """
    data, seed = recipe.data, recipe.split_seed
    try:
        if held is not None:
            train, test = ([], examples) if name in held else (examples, [])
        elif name and len({example.source for example in examples}) < 2:
            rows = counted(len(examples), "row")
            prepared.notes.append(f"Task {name}: {rows} of one source, so it is trained on and not scored.")
            train, test = examples, []
        else:
            train, test = split(examples, data.train, seed)
        train = _trained(train, prepared)
        train = limit(train, data.limit, seed) if data.limit else train
        return train, limit(test, data.test_limit, seed) if data.test_limit else test
    except DataError as error:
        raise DataError(error.message, where=error.where or name, hint=error.hint) from None


def announced(prepared: Prepared) -> Prepared:
    """Say how many rows there are, and return them."""
    for line in prepared.described():
        say(line)
    return prepared


def stage_rows(recipe: Recipe, prepared: Prepared) -> list[list[str]]:
    """Return the ids of the examples that each stage learns from, before any model has seen them."""
    fresh = replace(prepared, rejects=[], notes=[])
    return [[e.id for e in stage_examples(recipe.task, section, fresh)] for section in recipe.train]


def stage_examples(task: TaskSection, stage: TrainSection, prepared: Prepared) -> list[Example]:
    """Return what a stage trains on: the rows of its own file, or the recipe's training rows.

    Rows of a source that is scored go to `prepared.rejects`, as those that cannot be used do.

    Raises:
        DataError: the file cannot be used, or all its rows belong to sources that are scored.
    """
    if not stage.data:
        return prepared.train
    on_reject = _rejecting(task, prepared.rejects)
    found = places([stage.data], "auto", prepared.notes.append)
    columns = task.columns if any(has_columns(place.path, task.columns) for place in found) else {}
    section = task.model_copy(update={"format": "auto", "columns": columns})
    examples = [e for _, rows in read(found, section, on_reject, prepared.notes.append) for e in rows]
    kept = _unscored(_trained(examples, prepared), prepared)
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
    _, dev = hold_out(examples, recipe.data.dev, recipe.split_seed)
    held = set[str]().union(*map(sources_of, (*prepared.dev, *dev)))
    train = [example for example in examples if held.isdisjoint(sources_of(example))]
    if not train:
        raise DataError(
            f"All {len(examples)} rows belong to sources that are held out.",
            where=f"{stage.data} (train.data)",
            hint="Lower data.dev, or give the stage rows of its own.",
        )
    return train, [example for example in examples if not held.isdisjoint(sources_of(example))]


def _trained(examples: list[Example], prepared: Prepared) -> list[Example]:
    """Return the examples whose rows do not say that they are not trained on; those go to the rejects."""
    reason = "The row says that it is not trained on."
    prepared.rejects.extend(_left_out(e, reason) for e in examples if not e.facts.get("train", True))
    return [example for example in examples if example.facts.get("train", True)]


def _unscored(examples: list[Example], prepared: Prepared) -> list[Example]:
    """Return the examples of which neither source nor media are scored; others go to `prepared.rejects`."""
    scored = set[str]().union(*map(sources_of, prepared.test))
    reason = "Its source is in the test set, so it is not trained on."
    prepared.rejects.extend(_left_out(e, reason) for e in examples if not scored.isdisjoint(sources_of(e)))
    return [example for example in examples if scored.isdisjoint(sources_of(example))]


def _rejecting(task: TaskSection, rejects: list[dict[str, Any]]) -> OnReject | None:
    return rejects.append if task.on_bad == "reject" else None


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
    for place, example in enumerate(examples):
        if place % AHEAD == 0:
            read_ahead(examples[place : place + AHEAD], template)
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
        rows = f"{counted(len(found), 'row')} {'holds' if len(found) == 1 else 'hold'}"
        yield (
            f"{rows} names of special tokens ({', '.join(listed[:NAMES])}{more}): "
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
