"""What can be varied: a factor makes of a recipe and a level another recipe, and says where it acts.

To add one, write a factory that returns a `Factor`, with a decorator here or `kind = "my_module:function"`
from outside; its parameters are what `[[factor]]` may set besides. Any key of a recipe is a factor by its
path: `kind = "train.warmup"`.

A level that changes what rows say writes files of its own (`files.py`). Rows keep their ids, and the rows
that are scored stay the same, or cells could not be compared.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Literal, TypeAlias, cast

from espalier.core.errors import DataError, RecipeError, nearest
from espalier.core.recipe import Recipe, as_recipe, recipe_keys
from espalier.core.registry import Registry
from espalier.design.files import Files
from espalier.tasks.once import once

if TYPE_CHECKING:
    from espalier.core.records import Example
    from espalier.design.recipe import FactorChoice

At: TypeAlias = Literal["train", "test", "both"]
Apply: TypeAlias = Callable[[Recipe, object, Files], Recipe]
Group: TypeAlias = Callable[[Recipe], Callable[["Example"], str]]


@dataclass(frozen=True, slots=True)
class Factor:
    """What can be varied.

    Attributes:
        apply: from a recipe, a level and the study's files to the recipe at that level; raises RecipeError or
            DataError where the level does not fit, in one sentence.
        at: where it acts, if the study does not say: on what is trained, on how that is asked, or on both.
        group: of a recipe, the function from an example to the level that it is of; None: rows are of none.
        rewrites: whether it changes the task alone, by what the task's files and the split say.
    """

    apply: Apply
    at: At
    group: Group | None = None
    rewrites: bool = False


@dataclass(frozen=True, slots=True)
class Varied:
    """A factor of a study, ready to be applied.

    Attributes:
        name: what it is called.
        levels: as the study has them, the one first that others are compared with.
        labels: the same for a person, no two alike.
        at: where it acts.
        apply, group, rewrites: see `Factor`.
        where: its place in the study's file.
    """

    name: str
    levels: tuple[object, ...]
    labels: tuple[str, ...]
    at: At
    apply: Apply
    where: str
    group: Group | None = None
    rewrites: bool = False

    def on(self, recipe: Recipe, level: int, files: Files) -> Recipe:
        """Return the recipe at a level, by its number; a rewritten task is the same for all recipes."""
        if not self.rewrites:
            return self._on(recipe, level, files)
        told = recipe.model_dump_json(include={"task", "data"}), recipe.split_seed
        key = ("level", self.where, level, files, *told)
        made = once(key, partial(self._on, recipe, level, files), lambda _: 0)
        return recipe.model_copy(update={"task": made.task})

    def _on(self, recipe: Recipe, level: int, files: Files) -> Recipe:
        try:
            return self.apply(recipe, self.levels[level], files)
        except (RecipeError, DataError) as error:
            place = "" if error.where.startswith("factor") or not error.where else f"{error.where}: "
            raise RecipeError(
                f"{place}{error.message}", where=f"{self.where}.levels", hint=error.hint
            ) from None


factors: Registry[Factor] = Registry(
    "factor", "espalier.design.words", "espalier.design.rows", "espalier.design.sources"
)


def varied(choice: FactorChoice, number: int) -> Varied:
    """Return the factor that a study names. Raises RecipeError where there is none of that kind."""
    where = f"factor.{number}"
    known, keys = factors.names(), [key for key, _ in recipe_keys()]
    if choice.kind in known or ":" in choice.kind:
        factor = factors.build(choice.kind, choice.params, where)
    elif choice.kind in keys or choice.kind.rpartition(".")[0] in keys:  # a key, or a choice's parameter
        if choice.params:
            raise RecipeError(
                f"A key of the recipe takes no '{next(iter(choice.params))}'.",
                where=where,
                hint="It has levels, and may have a name and at.",
            )
        factor = of_key(choice.kind)
    else:
        raise RecipeError(
            f"No factor is named '{choice.kind}', nor a key of a recipe.",
            where=f"{where}.kind",
            hint=nearest(choice.kind, {*known, *(keys if "." in choice.kind else ())}),
        )
    labels = tuple(map(label, choice.levels))
    if len(set(map(plain, labels))) < len(labels):
        labels = tuple(f"{one} ({number + 1})" for number, one in enumerate(labels))
    at = choice.at or factor.at
    levels, more = tuple(choice.levels), (factor.group, factor.rewrites)
    return Varied(choice.called, levels, labels, at, factor.apply, where, *more)


def label(level: object) -> str:
    """Return a level as a person reads it: `lora rank=8`, a file by its name."""
    if isinstance(level, dict):
        table = cast("dict[str, object]", level)
        rest = [f"{key}={label(value)}" for key, value in table.items() if key != "kind"]
        return " ".join([*([str(table["kind"])] if "kind" in table else []), *rest])
    if isinstance(level, list | tuple):
        return "+".join(map(label, cast("list[object]", level)))
    if isinstance(level, str):
        return level.rpartition("/")[2].rpartition(".")[0] or level if level.startswith("/") else level
    return json.dumps(level)


def plain(text: str) -> str:
    """Return a text as it can stand in the name of a folder."""
    return re.sub(r"[^\w.]+", "-", text).strip("-._") or "x"


def of_key(key: str, at: At | None = None) -> Factor:
    """Return the factor of a recipe's key; its place says where it acts."""
    section = key.split(".")[0]
    usual: At = "both" if section == "task" else "test" if section in ("decode", "evaluate") else "train"

    def apply(recipe: Recipe, level: object, files: Files) -> Recipe:
        return as_recipe(recipe, [f"{key}={_toml(level)}"])

    return Factor(apply, at or usual)


def _toml(value: object) -> str:
    """Return a value as TOML writes it in one line."""
    if isinstance(value, dict):
        table = cast("dict[str, object]", value)
        return "{" + ", ".join(f"{json.dumps(k)} = {_toml(v)}" for k, v in table.items()) + "}"
    if isinstance(value, list | tuple):
        return "[" + ", ".join(map(_toml, cast("list[object]", value))) + "]"
    return json.dumps(value, ensure_ascii=False)


@factors.register("data.size")
def size() -> Factor:
    """Training rows: of sizes each is within the next, by the hash of the source."""
    return Factor(_sized, "train")


def _sized(recipe: Recipe, level: object, files: Files) -> Recipe:
    from espalier.runs.prepare import prepare

    sized = of_key("data.limit").apply(recipe, level, files)
    held = recipe.data.model_copy(update={"limit": None})
    rows = len(prepare(recipe.model_copy(update={"data": held})).train)
    if isinstance(level, int) and level > rows:
        raise RecipeError(
            f"A size of {level} is more than the {rows} rows that there are to train on.", where="factor"
        )
    return sized


@factors.register("rate")
def rate() -> Factor:
    """Peak learning rate."""
    return of_key("train.rate")


@factors.register("epochs")
def epochs() -> Factor:
    """How often each row is seen."""
    return of_key("train.epochs")


@factors.register("method")
def method() -> Factor:
    """Which weights move: "full", or {kind = "lora", rank = 8}."""
    return of_key("train.method")


@factors.register("noise")
def noise() -> Factor:
    """NEFTune: size of the noise on the embeddings while training."""
    return of_key("train.noise")


@factors.register("decode")
def decode() -> Factor:
    """How answers are decoded: "greedy", or {kind = "beam", beams = 4}. No training of its own."""
    return of_key("decode")


@factors.register("mixture")
def mixture() -> Factor:
    """What is trained on: a task's path, or a list of them. What is scored is always the recipe's own."""
    return of_key("task.path", "train")


@factors.register("keys")
def keys() -> Factor:
    """Several keys of the recipe at once, such as ["data.limit=32", "train.epochs=8"]."""

    def apply(recipe: Recipe, level: object, files: Files) -> Recipe:
        told = cast("list[object]", level) if isinstance(level, list) else []
        if not told or not all(isinstance(one, str) and "=" in one for one in told):
            raise RecipeError(
                f"{level!r} is no list of key=value.", where="factor", hint='["data.limit=32"] is one.'
            )
        return as_recipe(recipe, [str(one) for one in told])

    return Factor(apply, "train")
