"""The recipe of a study: one TOML file is one question, put to many runs.

    recipe = "event-duration"
    seeds = 3
    margin = 3.0
    [[factor]]
    kind = "rate"
    levels = [1e-5, 1e-4]

Read as a run's recipe is (`core/recipe.py`): unknown keys are refused, a choice is `kind = "name"` with that
factory's parameters, `-o key=value` changes one key. What a level means, its factor says (`factors.py`).
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import tomli_w
from pydantic import AfterValidator, BeforeValidator, Field

from espalier.core.bundled_recipes import recipe_path
from espalier.core.errors import RecipeError
from espalier.core.overrides import apply_override
from espalier.core.recipe import Choice, Named, Section, named, parsed, read_toml
from espalier.core.recipe_paths import may_hold_rows
from espalier.core.run_name import possible_path, run_name

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

PATHS = ("mixture", "task.path")  # factors whose levels are what task.path is
FEW = 2  # seeds that a claim of equality needs


class FactorChoice(Choice):
    """What is varied: a factor by its kind, or a key of the recipe, with its levels and parameters."""

    name: str = ""
    """What it is called; by default the last part of its kind."""
    levels: list[Any]
    """What it is set to; the others are compared with the first."""
    at: Literal["train", "test", "both"] | None = None
    """Where it acts: on what is trained, on how that is asked, or on both; by default its kind says it."""

    @property
    def called(self) -> str:
        """Its name."""
        return self.name or self.kind.replace(":", ".").rpartition(".")[2]


class StudyRecipe(Section):
    """A study: what is varied in which recipe, and how it is judged."""

    recipe: str
    """The recipe that is varied: a file, or a bundled one's name."""
    name: Annotated[str, AfterValidator(run_name)]
    """Name of the study and of its folder; by default that of the file."""
    folder: Annotated[str, AfterValidator(possible_path)] = "studies"
    """Where studies' folders are made."""
    question: str = ""
    """What is asked, as the page has it; by default it is made of the factors."""
    design: Named = Choice(kind="grid")
    """Which levels meet: "grid" is all with all, "screening" as few as main effects need; `designs.py`."""
    seeds: int | tuple[int, ...] = 3
    """How many trainings of each setting, or their seeds."""
    metric: str = ""
    """What is judged by; by default what the runs lead with."""
    margin: float | None = Field(default=None, gt=0)
    """Within how many points, as shown, two levels are as good as each other; none is no such claim."""
    budget: float | None = Field(default=None, gt=0)
    """Most minutes that the study may take, over all its starts."""
    set: tuple[str, ...] = ()
    """Keys of the recipe that are other than there, for all cells: ["train.epochs=1"]."""
    factor: tuple[Annotated[FactorChoice, BeforeValidator(named)], ...] = Field(min_length=1)
    """What is varied."""

    @property
    def path(self) -> Path:
        """The study's folder."""
        return Path(self.folder) / self.name

    @property
    def seeded(self) -> tuple[int, ...]:
        """The seeds of each setting's trainings."""
        return tuple(range(self.seeds)) if isinstance(self.seeds, int) else self.seeds

    def to_toml(self) -> str:
        """Return the study as TOML, every default written out."""
        return tomli_w.dumps(self.model_dump(exclude_none=True, mode="json"))


def load_study(path: str | Path, overrides: Sequence[str] = ()) -> StudyRecipe:
    """Read a study's file, and apply `key=value` overrides; relative paths are meant from its folder.

    Raises:
        RecipeError: not TOML, an unknown key (the nearest is named), or a value that does not fit.
        DataError: the file is missing or not UTF-8.
    """
    file = recipe_path(path, "study")
    table = {"name": file.stem, **read_toml(file)}
    if "recipe" not in table and table.keys() & {"task", "data", "model", "train"}:
        raise RecipeError(
            "This is a run's recipe and no study.",
            where=str(file),
            hint=f'A study is a file with recipe = "{file.name}" and a [[factor]].',
        )
    _anchor(table, file.parent)
    return _whole(table, overrides)


def as_study(
    source: str | Path | Mapping[str, Any] | StudyRecipe, overrides: Sequence[str] = ()
) -> StudyRecipe:
    """Return what a program names as a study: a file, a table of the same keys, or one read before."""
    if isinstance(source, str | Path):
        return load_study(source, overrides)
    table = source.model_dump(mode="json", exclude_none=True) if isinstance(source, StudyRecipe) else source
    return _whole(json.loads(json.dumps({"name": "study", **table}, default=str)), overrides)


def _whole(table: dict[str, Any], overrides: Sequence[str]) -> StudyRecipe:
    if isinstance(table.get("factor"), dict):
        table["factor"] = [table["factor"]]
    for override in overrides:
        apply_override(table, override, StudyRecipe)
    _anchor(table, Path())
    study = parsed(StudyRecipe, table)
    _check(study)
    return study


def _check(study: StudyRecipe) -> None:
    """Refuse what no study can be made of. Raises RecipeError."""
    seeds = study.seeded
    if not seeds or min(seeds) < 0 or len(set(seeds)) < len(seeds):
        raise RecipeError(
            f"{study.seeds!r} does not fit: a study needs one seed or more, each once and none below 0.",
            where="seeds",
        )
    if study.margin is not None and len(seeds) < FEW:
        raise RecipeError(
            "One training a side cannot show that two levels are as good as each other: another seed may "
            "tell them apart.",
            where="seeds",
            hint="Give three or more seeds, or leave margin out.",
        )
    names = [choice.called for choice in study.factor]
    for number, choice in enumerate(study.factor):
        where = f"factor.{number}"
        if names.count(choice.called) > 1:
            raise RecipeError(
                f"Two factors are called '{choice.called}'.", where=where, hint='Give one a name = "…".'
            )
        told = [json.dumps(level, sort_keys=True) for level in choice.levels]
        if len(told) < 2:
            raise RecipeError(
                f"The factor '{choice.called}' has {len(told)} level, and nothing to compare it with.",
                where=f"{where}.levels",
                hint="Give it two or more; what is the same in all cells goes into set.",
            )
        if twice := next((one for one in told if told.count(one) > 1), ""):
            raise RecipeError(
                f"The level {twice} of '{choice.called}' is there twice.", where=f"{where}.levels"
            )


def _anchor(table: dict[str, Any], folder: Path) -> None:
    """Make the paths of a study absolute that lead somewhere from `folder`: its recipe's, and its levels."""
    name = table.get("recipe")
    if isinstance(name, str) and name and os.path.isfile(folder / name):
        table["recipe"] = str((folder / name).resolve())
    factors: Any = table.get("factor")
    for choice in cast("list[Any]", factors if isinstance(factors, list) else [factors]):
        if isinstance(choice, dict):
            inner = cast("dict[str, Any]", choice)
            is_one = may_hold_rows if inner.get("kind") in PATHS else os.path.isfile
            changed = {key: _anchored(value, folder, is_one) for key, value in inner.items() if key != "kind"}
            inner.update(changed)


def _anchored(value: Any, folder: Path, is_one: Callable[[Path], bool]) -> Any:
    if isinstance(value, list):
        return [_anchored(one, folder, is_one) for one in cast("list[Any]", value)]
    if isinstance(value, str) and value and "\0" not in value and is_one(folder / value):
        return str((folder / value).resolve())
    return value
