"""The recipe of a build: one TOML file is one data set.

Its own schema, beside that of a run (`recipe.py`), and read in the same way: unknown keys are refused, a
choice is `kind = "name"` with that factory's parameters, `-o key=value` changes one key. A section is a stage
of the build, in the order in which they stand here.
"""

from __future__ import annotations

import json
import os
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import tomli_w
from pydantic import AfterValidator, BeforeValidator, Field

from espalier.core.bundled_recipes import recipe_path
from espalier.core.errors import RecipeError, nearest
from espalier.core.files import content_hash
from espalier.core.recipe import Choice, Section, apply_override, named, parsed, read_toml
from espalier.core.recipe_paths import may_hold_rows
from espalier.core.run_name import run_name

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

LISTS = ("source", "filter")  # a single one may be written as a table
COLUMNS = ("id", "task", "source", "input", "messages", "references", "rejected", "origin", "facts")


class SourceSection(Section):
    """What rows are taken from."""

    path: str
    """A file or folder of rows, FOLDER:SPLIT, a task file, a bundled task, or a data set of the hub."""
    format: str = "auto"
    """Format of a file of rows; "auto" tells it from the content."""
    columns: dict[str, str] = Field(default={})
    """Columns of the file whose names tell nothing: `{prompt = "ask", completion = "told"}`."""
    task: str = ""
    """What its rows call their task; by default what the file is called."""
    licence: str = ""
    """Under which licence it was published, such as "apache-2.0"; by default what a task file says."""
    on_bad: Literal["raise", "reject"] = "reject"
    """A row that cannot be used: stop and name it, or leave it out into rejects.jsonl, counted."""


class FilterChoice(Choice):
    """A filter by its kind, with its parameters; `name` is the column that its verdicts stand in."""

    name: str = ""

    @property
    def column(self) -> str:
        """The name of its verdicts."""
        return self.name or self.kind.rpartition(":")[2]


class ExportSection(Section):
    """What leaves the build, and in which form. Until here every row is in the table."""

    path: str
    """File in the run's folder, or an absolute path: .jsonl, .csv or .parquet."""
    format: str = "messages"
    """Format of its rows."""
    drop: tuple[str, ...] | None = None
    """Names of the filters whose rows are taken out; by default all but those of `mask`."""
    mask: tuple[str, ...] = ()
    """Names of the filters of which what they found is replaced by a tag, such as [EMAIL]."""


class BuildRecipe(Section):
    """A data set, from its sources to the file."""

    name: Annotated[str, AfterValidator(run_name)]
    """Name of the build and of its folder: letters and digits of any script, and . _ - between them."""
    folder: str = "runs"
    """Where the folder is made."""
    seed: int = Field(default=0, ge=0)
    """Seed of all that is drawn."""
    source: tuple[SourceSection, ...] = Field(min_length=1)
    """Where rows come from, in this order."""
    filter: tuple[Annotated[FilterChoice, BeforeValidator(named)], ...] = ()
    """What is said of each row; no row is taken away by it."""
    export: ExportSection | None = None

    @property
    def dropped(self) -> tuple[str, ...]:
        """The filters whose rows do not go out, in the order of the filters."""
        names = [choice.column for choice in self.filter]
        if self.export is None:
            return tuple(names)
        drop, mask = self.export.drop, self.export.mask
        return tuple(name for name in names if (name not in mask if drop is None else name in drop))

    @property
    def hash(self) -> str:
        """16 hexadecimal digits of all that it says; not of where files and folders lie."""
        table = self.model_dump(exclude={"folder"})
        for source in table["source"]:
            if os.path.isabs(source["path"]):
                source["path"] = Path(source["path"]).name
        return content_hash(table)

    def to_toml(self) -> str:
        """Return the resolved recipe as TOML, every default written out."""
        return tomli_w.dumps(self.model_dump(exclude_none=True, mode="json"))


def load_build(path: str | Path, overrides: Sequence[str] = ()) -> BuildRecipe:
    """Read a build's recipe, a file or a bundled one by its name, and apply `key.path=value` overrides.

    Relative paths of sources, and of files that a filter is given, are meant from the recipe's folder, in an
    override from the current one.

    Raises:
        RecipeError: not TOML, an unknown key (the nearest is named), a value that does not fit, or a filter
            that is named and not there.
        DataError: the file is missing or not UTF-8.
    """
    file = recipe_path(path)
    table = read_toml(file)
    _anchor(table, file.parent)
    return _whole(table, overrides)


def as_build(
    source: str | Path | Mapping[str, Any] | BuildRecipe, overrides: Sequence[str] = ()
) -> BuildRecipe:
    """Return what a program names as a build's recipe: a file, a table, or one read before."""
    if isinstance(source, str | Path):
        return load_build(source, overrides)
    table = source.model_dump(mode="json", exclude_none=True) if isinstance(source, BuildRecipe) else source
    return _whole(json.loads(json.dumps(dict(table), default=str)), overrides)


def _whole(table: dict[str, Any], overrides: Sequence[str]) -> BuildRecipe:
    for name in LISTS:
        if isinstance(table.get(name), dict):
            table[name] = [table[name]]
    if isinstance(chosen := table.get("filter"), list):
        table["filter"] = [named(choice) for choice in cast("list[object]", chosen)]
    for override in overrides:
        apply_override(table, override, BuildRecipe)
    _anchor(table, Path())
    recipe = parsed(BuildRecipe, table)
    _check_names(recipe)
    return recipe


def _check_names(recipe: BuildRecipe) -> None:
    names = Counter(choice.column for choice in recipe.filter)
    for number, choice in enumerate(recipe.filter):
        if choice.column in COLUMNS or names[choice.column] > 1:
            taken = "that of a column of each row" if choice.column in COLUMNS else "taken twice"
            raise RecipeError(
                f"The filter's name '{choice.column}' is {taken}.",
                where=f"filter.{number}.name",
                hint='Give it another: name = "…".',
            )
    for key in ("drop", "mask"):
        wanted = recipe.export.model_dump()[key] if recipe.export else None
        for name in wanted or ():
            if name not in names:
                raise RecipeError(
                    f"No filter of this build is named '{name}'.",
                    where=f"export.{key}",
                    hint=nearest(name, names),
                )


def _anchor(table: dict[str, Any], folder: Path) -> None:
    """Make the paths of sources, and files that filters are given, absolute where they lead somewhere."""

    def anchored(value: object, is_one: Any) -> object:
        if isinstance(value, list):
            return [anchored(item, is_one) for item in cast("list[object]", value)]
        return str((folder / value).resolve()) if isinstance(value, str) and is_one(folder / value) else value

    for section, is_one in (("source", may_hold_rows), ("filter", os.path.isfile)):
        found = table.get(section)
        for values in cast("list[object]", found if isinstance(found, list) else [found]):
            if isinstance(values, dict):
                inner = cast("dict[str, Any]", values)
                for key in inner.keys() - {"kind", "name", "columns", "format", "task", "licence", "on_bad"}:
                    inner[key] = anchored(inner[key], is_one)
