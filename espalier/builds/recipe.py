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

from espalier.builds.recipe_paths import paths_in
from espalier.core.bundled_recipes import recipe_path
from espalier.core.errors import RecipeError, nearest
from espalier.core.files import content_hash
from espalier.core.overrides import apply_override
from espalier.core.recipe import (
    Choice,
    Named,
    Precision,
    Section,
    named,
    parsed,
    read_toml,
)
from espalier.core.recipe_paths import anchor
from espalier.core.run_name import run_name

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

LISTS = ("source", "generate", "filter")  # a single one may be written as a table
COLUMNS = ("id", "task", "source", "input", "messages", "references", "rejected", "origin", "facts")


class VotesSection(Section):
    """Where several people's labels stand in a file, and what they come to."""

    how: Literal["majority", "dawid_skene", "all", "distribution"] = "majority"
    """What a row's label is: that of most, the likeliest, all of them, or their shares."""
    row: str = "id"
    """The column that names a row, where each line is one label."""
    label: str = "label"
    """The column of the label, or of all labels."""
    annotator: str = "annotator"
    """The column of who gave it, where each line is one label."""
    annotators: tuple[str, ...] = ()
    """The columns of the annotators, where each has one."""
    level: Literal["nominal", "ordinal", "interval"] = "nominal"
    """What labels are, for their agreement."""
    order: tuple[str, ...] = ()
    """Ranks, from the lowest."""


class SourceSection(Section):
    """What rows are taken from."""

    path: str
    """A file or folder of rows, FOLDER:SPLIT, a task file, a bundled task, or a data set of the hub."""
    name: str = ""
    """What the other sections call it; by default what the file is called."""
    use: Literal["rows", "seeds", "prompts"] = "rows"
    """What for: rows of the data set; or only for `generate`, rows with answers, or prompts without."""
    template: str = ""
    """A template, by name or file, that puts each row into words."""
    wordings: int = Field(default=1, ge=0)
    """How many of the template's wordings a row is put in, drawn by the seed; 0 is all."""
    votes: VotesSection | None = None
    """How the labels of several people become one, before the template."""
    format: str = "auto"
    """Format of a file of rows; "auto" tells it from the content."""
    columns: dict[str, str] = Field(default={})
    """Columns of the file whose names tell nothing: `{prompt = "ask", completion = "told"}`."""
    task: str = ""
    """What its rows call their task; by default the file's name. Prompts are put in that task's words."""
    licence: str = ""
    """Under which licence it was published, such as "apache-2.0"; by default what a task file says."""
    on_bad: Literal["raise", "reject"] = "reject"
    """A row that cannot be used: stop and name it, or leave it out into rejects.jsonl, counted."""


class AuthorSection(Section):
    """The model that writes rows, and weighs them for filters: of this machine, or behind a server."""

    name: str = "smollm2-135m"
    """A model by name or folder, or what the server calls it."""
    server: str = ""
    """Address of an OpenAI-compatible server, such as "http://localhost:8000/v1"; none is this machine."""
    key_env: str = "OPENAI_API_KEY"
    """The variable of the environment that holds the server's key."""
    price_in: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """What a million tokens of prompts cost."""
    price_out: float = Field(default=0.0, ge=0, allow_inf_nan=False)
    """What a million tokens of answers cost."""
    budget: str = ""
    """"5 USD" or "200000 tokens": nothing is sent that could go beyond it."""
    concurrency: int = Field(default=8, ge=1)
    """Most requests on their way at a time."""
    timeout: float = Field(default=120.0, gt=0, allow_inf_nan=False)
    """Seconds to wait for an answer."""
    patience: float = Field(default=600.0, ge=0, allow_inf_nan=False)
    """Seconds over which a request is tried again."""
    schemas: bool = False
    """Whether the server keeps to a JSON schema that it is sent."""
    precision: Precision = "auto"
    """Number format of products, on this machine; as `model.precision` of a run."""
    device: str = "auto"
    """As `model.device` of a run."""


class GenerateChoice(Choice):
    """A step that writes rows, with its parameters."""

    name: str = ""
    """What later steps and `[mix]` call it; by default its kind."""
    rows: list[str] | None = None
    """Names of the sources and steps whose rows it is given; by default those of the step before, or of the
    sources that are for generation, or of all."""
    keep: bool | None = None
    """Whether its rows are for the data set; by default if no later step is given them."""

    @property
    def called(self) -> str:
        """Its name."""
        return self.name or self.kind.rpartition(":")[2]


class MixSection(Section):
    """How much of each source and step goes out: in proportion to its rows, or as these keys say."""

    rows: int = Field(default=0, ge=0)
    """Rows of the mixture; 0 is as many as there are while none comes twice."""
    cap: int = Field(default=0, ge=0)
    """Rows of a source from which on more of them do not raise its share; 0 is none."""
    temperature: float = Field(default=1.0, gt=0, allow_inf_nan=False)
    """1 is in proportion to the rows, and the larger, the more equal."""
    weights: dict[str, float] = Field(default={})
    """By source; one without has 1."""
    tokens: dict[str, float] = Field(default={})
    """Shares of the tokens by source, which then decide alone."""
    epochs: dict[str, float] = Field(default={})
    """Passes over a source, exactly so many."""
    tokenizer: str = ""
    """The model whose tokens are counted; by default the one that writes, on this machine."""


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
    model: AuthorSection = AuthorSection()
    decode: Named = Choice.model_validate({"kind": "sample", "limit": 256, "temperature": 0.7, "top_p": 0.95})
    """How the model writes: a strategy with its parameters."""
    generate: tuple[Annotated[GenerateChoice, BeforeValidator(named)], ...] = ()
    """What writes rows, in this order."""
    filter: tuple[Annotated[FilterChoice, BeforeValidator(named)], ...] = ()
    """What is said of each row; no row is taken away by it."""
    mix: MixSection | None = None
    """How much of each source goes out; by default all."""
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
        return content_hash(_without_folders(self.model_dump(exclude={"folder"})))

    def to_toml(self) -> str:
        """Return the resolved recipe as TOML, every default written out."""
        return tomli_w.dumps(self.model_dump(exclude_none=True, mode="json"))


def _without_folders(value: object) -> object:
    """Return a value with the names of files in place of their absolute paths."""
    match value:
        case dict():
            return {key: _without_folders(one) for key, one in cast("dict[str, object]", value).items()}
        case list() | tuple():
            return [_without_folders(one) for one in cast("list[object]", value)]
        case _:
            return Path(value).name if isinstance(value, str) and os.path.isabs(value) else value


def load_build(path: str | Path, overrides: Sequence[str] = ()) -> BuildRecipe:
    """Read a build's recipe, a file or a bundled one by its name, and apply `key.path=value` overrides.

    Relative paths are meant from the recipe's folder, in an override from the current one.

    Raises:
        RecipeError: not TOML, an unknown key (the nearest is named), a value that does not fit, or a filter
            that is named and not there.
        DataError: the file is missing or not UTF-8.
    """
    file = recipe_path(path, "build")
    table = read_toml(file)
    for name in LISTS:
        if isinstance(table.get(name), dict):
            table[name] = [table[name]]
    return _whole(table, overrides, anchor(table, file.parent, paths_in(table)))


def as_build(
    source: str | Path | Mapping[str, Any] | BuildRecipe, overrides: Sequence[str] = ()
) -> BuildRecipe:
    """Return what a program names as a build's recipe: a file, a table, or one read before."""
    if isinstance(source, str | Path):
        return load_build(source, overrides)
    table = source.model_dump(mode="json", exclude_none=True) if isinstance(source, BuildRecipe) else source
    return _whole(json.loads(json.dumps(dict(table), default=str)), overrides)


def _whole(table: dict[str, Any], overrides: Sequence[str], names: Collection[str] = ()) -> BuildRecipe:
    for name in LISTS:
        if isinstance(table.get(name), dict):
            table[name] = [table[name]]
    if isinstance(chosen := table.get("filter"), list):
        table["filter"] = [named(choice) for choice in cast("list[object]", chosen)]
    for override in overrides:
        apply_override(table, override, BuildRecipe)
    anchor(table, Path(), paths_in(table), names)
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
