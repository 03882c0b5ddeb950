"""The front of every run: from a recipe to examples and to token rows, with what was left out."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError
from espalier.core.files import content_hash
from espalier.core.memory import all_kept
from espalier.core.text import counted
from espalier.data.mixture import places, read
from espalier.data.split import held_out, hold_out, limit, sources_of, split
from espalier.formats.load import has_columns
from espalier.runs.events import say, working
from espalier.runs.in_tokens import left_out
from espalier.tasks.once import once

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.recipe import Recipe, TaskSection, TrainSection
    from espalier.core.records import Example
    from espalier.data.mixture import Part
    from espalier.tasks.raw_rows import OnReject


TASKS = 8  # that are listed


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
    prepared.rejects.extend(left_out(e, reason) for e in examples if not e.facts.get("train", True))
    return [example for example in examples if example.facts.get("train", True)]


def _unscored(examples: list[Example], prepared: Prepared) -> list[Example]:
    """Return the examples of which neither source nor media are scored; others go to `prepared.rejects`."""
    scored = set[str]().union(*map(sources_of, prepared.test))
    reason = "Its source is in the test set, so it is not trained on."
    prepared.rejects.extend(left_out(e, reason) for e in examples if not scored.isdisjoint(sources_of(e)))
    return [example for example in examples if scored.isdisjoint(sources_of(example))]


def _rejecting(task: TaskSection, rejects: list[dict[str, Any]]) -> OnReject | None:
    return rejects.append if task.on_bad == "reject" else None
