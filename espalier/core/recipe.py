"""The recipe: one TOML file is one run.

The models below are the whole schema; `docs/recipe.md` is generated from them. A choice point is a `Choice`:
`kind = "name"` with that factory's own parameters, or just the name. What a factory accepts is checked when
it is built (`core/registry.py`), because the factories live in rooms that this one must not import.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal, TypeVar, cast, get_args

import tomli_w
from pydantic import AfterValidator, BaseModel, BeforeValidator, Field, PrivateAttr, ValidationError

from espalier.core.bundled_recipes import recipe_path
from espalier.core.errors import DataError, RecipeError, nearest
from espalier.core.files import content_hash, parse_toml, read_text
from espalier.core.overrides import apply_overrides
from espalier.core.recipe_paths import anchor, each_path, paths_of
from espalier.core.registry import recipe_error
from espalier.core.run_name import possible_path, run_name
from espalier.core.sections import Choice, Section, keys_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

S = TypeVar("S", bound="Section")
Precision = Literal["auto", "fp32", "bf16"]


def named(value: object) -> object:
    """Return a choice that is written as its name alone as a table. For pydantic."""
    return {"kind": value} if isinstance(value, str) else value


Named = Annotated[Choice, BeforeValidator(named)]
Paths = Annotated[str | tuple[str, ...], BeforeValidator(paths_of)]


class WeightedChoice(Choice):
    """A choice with its share in a sum."""

    weight: float = Field(default=1.0, gt=0)


WeightedNamed = Annotated[WeightedChoice, BeforeValidator(named)]


class TaskSection(Section):
    """What is asked, and which parts of it the prompt shows."""

    path: Paths = "event-duration"
    """A bundled task's name, a task file (TOML, Super-NaturalInstructions JSON), a file of rows (see
    `task.format`), a folder of either, a pattern such as "tasks/*.json", or a list of such: each is split and
    limited by itself."""
    format: str = "auto"
    """Format of the file, among several of those that hold rows; "auto" tells it from the content."""
    columns: dict[str, str] = Field(default={})
    """Columns of the file whose names tell nothing: `{prompt = "ask", completion = "told"}` reads `ask` as a
    format's `prompt`, in every file of the run that has it."""
    media: Annotated[str, AfterValidator(possible_path)] = ""
    """Folder that paths of pictures and sounds in rows start from; by default that of the file of rows."""
    fetch: bool = False
    """Fetch the pictures and sounds that rows name by a URL, once; else such a row cannot be used."""
    definition: bool = True
    """Show the definition."""
    cautions: bool = True
    """Show what to avoid and what to watch."""
    positive: int = Field(default=2, ge=0)
    """How many good examples to show; a task with fewer shows what it has."""
    negative: int = Field(default=1, ge=0)
    """How many bad examples to show."""
    explanations: bool = False
    """Show why each example is good or bad."""
    checks: tuple[str, ...] | None = None
    """Names of the checks that all answers have to pass; by default those that each row's task file names."""
    special: Literal["text", "token"] = "text"
    """What the name of a special token in a row is, such as `<|im_end|>`: text, or the token itself."""
    on_bad: Literal["raise", "reject"] = "raise"
    """A row that cannot be used: stop and name it, or leave it out into rejects.jsonl."""


class DataSection(Section):
    """Which rows are learned from and which are kept for the scores."""

    train: float = Field(default=0.8, gt=0, lt=1)
    """Share of each task's sources (not rows) that are trained on; the others are the test set."""
    split: Literal["sources", "tasks"] = "sources"
    """What that is a share of: each task's sources, or the tasks, so that the test set is of whole tasks that
    are never trained on. Tasks that share a source go to the same side."""
    dev: float = Field(default=0.0, ge=0, lt=1)
    """Share of the training sources, within `data.limit`, that are held out: their loss is followed while the
    model learns, and the weights where it is lowest are kept. 0 is none."""
    limit: int | None = Field(default=None, gt=0)
    """At most so many training rows of each task, drawn by whole sources; `data.dev` is a share of them."""
    test_limit: int | None = Field(default=None, gt=0)
    """At most so many test rows of each task, drawn by whole sources."""
    seed: int | None = Field(default=None, ge=0)
    """Seed of these draws; by default the recipe's. With it set, runs of several seeds are scored on the same
    rows, and can be compared."""
    sealed: bool = False
    """Seal the test set: each look at its scores is counted and shown, and nothing is chosen by it; see
    [evaluation](evaluation.md)."""


class ModelSection(Section):
    """The model that is tuned."""

    name: str = "smollm2-135m"
    """A bundled model (`espalier models`), the folder of a run, a model or a PEFT adapter, or a hub id."""
    precision: Precision = "auto"
    """Number format of products; "auto" measures which is faster here. Trained weights are kept in fp32."""
    device: str = "auto"
    """'cpu', 'cuda', 'cuda:1', …; 'auto' takes a GPU where there is one."""
    encoders: tuple[Named, ...] = ()
    """What sees and hears for it, such as ["efficientnet-lite0"]; one for each kind of media."""
    pixels: int | None = Field(default=None, ge=784)
    """Most pixels of a picture before a model that sees by itself; larger ones are made smaller."""
    template: dict[str, bool | int | float | str] = Field(default={})
    """What the chat template is given besides the messages, such as {enable_thinking = false}."""


class TrainSection(Section):
    """How it is tuned. A list, `[[train]]`, is a run of stages, each from the weights of the one before."""

    data: str = ""
    """A file of rows for this stage, in any format of `task.format`; by default the task's training rows."""
    method: Named = Choice(kind="full")
    """Which weights move, such as "full", or "lora" with its rank."""
    objective: tuple[WeightedNamed, ...] = (WeightedChoice(kind="sft"),)
    """What is minimised: a list of objectives with weights."""
    optimizer: Named = Choice(kind="adamw")
    """How gradients become steps."""
    rate: float = Field(default=2e-5, gt=0)
    """Peak learning rate."""
    projector_rate: float = Field(default=0.0, ge=0)
    """Peak rate of the projectors before a model with encoders; 0 is that of the other weights."""
    align: bool = False
    """Begin with projectors that least squares made: from the features of a picture or a sound to the
    embeddings of its answers' words, a caption or a transcript, laid evenly over its tokens."""
    epochs: float = Field(default=2.0, gt=0)
    """How often each row is seen."""
    order: Literal["mixed", "nested"] = "mixed"
    """How rows meet in steps: "mixed", or "nested", where those of a smaller data.limit come first."""
    rows: int = Field(default=32, gt=0)
    """Rows per optimizer step; they share one prompt tree."""
    tokens: int = Field(default=4096, gt=0)
    """Most distinct tokens in one forward; a step of over half may take several, with the same result."""
    warmup: float = Field(default=0.1, ge=0, le=1)
    """Share of the steps in which the rate rises from zero."""
    schedule: Literal["linear", "cosine", "constant"] = "cosine"
    """How the rate falls after the warm-up."""
    clip: float = Field(default=1.0, gt=0)
    """Largest norm of a step's gradient."""
    decay: float = Field(default=0.0, ge=0)
    """Weight decay of the matrices."""
    noise: float = Field(default=0.0, ge=0)
    """NEFTune: size of the noise on the embeddings while training, such as 5; 0 is none."""
    recompute: bool = False
    """Activation checkpointing: less memory, a third more time."""
    parallel: Literal["ddp", "fsdp"] = "ddp"
    """Under torchrun: every process holds all weights, or a share of each."""
    checkpoint: int = Field(default=50, gt=0)
    """Steps between checkpoints."""
    dev: int = Field(default=0, ge=0)
    """Steps between evaluations of the held-out loss (`data.dev`), one more at the end; 0 is a tenth of all
    steps. A stage that samples answers (grpo) has no such loss and keeps its last weights."""
    patience: int = Field(default=0, ge=0)
    """Stop after so many evaluations in a row without a lower held-out loss; 0 is never."""
    keep: Literal["", "influence"] = ""
    """What is kept of the training besides its result: "influence" keeps what `espalier influence` needs."""
    states: int = Field(default=4, gt=0)
    """At how many steps `train.keep` keeps the trained weights and their second moments."""


class Recipe(Section):
    """One run, from the task to the report."""

    name: Annotated[str, AfterValidator(run_name)]
    """Name of the run and of its folder: letters and digits of any script, and . _ - between them."""
    folder: Annotated[str, AfterValidator(possible_path)] = "runs"
    """Where run folders are made."""
    seed: int = Field(default=0, ge=0)
    """Seed of the split (but see `data.seed`), the order of rows and the fresh weights of adapters."""
    task: TaskSection = TaskSection()
    data: DataSection = DataSection()
    model: ModelSection = ModelSection()
    train: tuple[TrainSection, ...] = Field(default=(TrainSection(),), min_length=1)
    decode: Named = Choice.model_validate({"kind": "greedy", "limit": 64})
    """How answers are decoded: a strategy with its parameters."""
    evaluate: tuple[Named, ...] = (Choice(kind="rouge_l"), Choice(kind="exact_match"))
    """Scorers, besides the task's own checks, which always run."""
    evidence: bool = True
    """Ask 212 bundled general questions before and after tuning, to see what was forgotten, and try whether
    batch, order, threads and cache change answers. It takes seconds on a small model; later runs ask no model
    twice."""
    track: tuple[Named, ...] = ()
    """Trackers that the events go to, besides events.jsonl."""

    _left_out: list[str] = PrivateAttr(default_factory=list[str])

    @property
    def left_out(self) -> list[str]:
        """What overrides have left out of the file, in sentences."""
        return self._left_out

    @property
    def split_seed(self) -> int:
        """Seed of which rows are learned from, held out and scored."""
        return self.seed if self.data.seed is None else self.data.seed

    @property
    def hash(self) -> str:
        """16 hexadecimal digits of everything that determines the run; not of where files and folders lie."""
        # What rows show is in the hash of what they ask, wherever it lies.
        table = self.model_dump(exclude={"folder": True, "data": {"sealed"}, "task": {"media", "fetch"}})
        paths = [
            (table["task"], "path"),
            (table["model"], "name"),
            *((stage, "data") for stage in table["train"]),
        ]
        for section, key in paths:
            section[key] = each_path(
                section[key], lambda path: Path(path).name if os.path.isabs(path) else path
            )
        return content_hash(table)

    def to_toml(self) -> str:
        """Return the resolved recipe as TOML, every default written out."""
        return tomli_w.dumps(self.model_dump(exclude_none=True, mode="json"))


def recipe_keys() -> Iterator[tuple[str, Any]]:
    """Yield every key of the schema as (TOML path, pydantic field), depth first."""
    return keys_of(Recipe)


def load_recipe(path: str | Path, overrides: Sequence[str] = ()) -> Recipe:
    """Read a recipe, a file or a bundled one by its name, and apply `key.path=value` overrides.

    A relative task file or folder of a model or a run in the file is meant from the file's own folder, in an
    override from the current one. All become absolute: a run is the same from wherever it is started again.
    What a run's chat template is given, a run that is made from it is given too.

    Raises:
        RecipeError: not TOML, an unknown key (the nearest is named), a value that does not fit, or a run that
            is to be made from itself.
        DataError: the file is missing or not UTF-8.
    """
    file = recipe_path(path)
    table = read_toml(file)
    anchor(table, file.parent)
    return _whole(table, overrides)


def read_toml(file: Path) -> dict[str, Any]:
    """Return what a recipe's file holds. Raises RecipeError where it is not TOML, and as `read_text`."""
    try:
        return parse_toml(read_text(file))
    except ValueError as error:
        raise RecipeError(f"The recipe is not TOML: {error}.", where=str(file)) from None


def as_recipe(source: str | Path | Mapping[str, Any] | Recipe, overrides: Sequence[str] = ()) -> Recipe:
    """Return what a program names as a recipe: a file, a bundled one's name, a table, or one read before.

    Raises:
        RecipeError, DataError: see `load_recipe`.
    """
    if isinstance(source, str | Path):
        return load_recipe(source, overrides)
    table = source.model_dump(mode="json", exclude_none=True) if isinstance(source, Recipe) else source
    return _whole(json.loads(json.dumps(dict(table), default=str)), overrides)


def parse_recipe(table: dict[str, Any]) -> Recipe:
    """Return the recipe of a table as TOML would give it. Raises RecipeError."""
    one_stage = isinstance(table.get("train"), dict)  # several are written as a list
    try:
        return parsed(Recipe, {**table, "train": [table["train"]]} if one_stage else table)
    except RecipeError as error:
        where = error.where.replace("train.0.", "train.") if one_stage else error.where
        raise RecipeError(error.message, where=where, hint=error.hint) from None


def parsed(schema: type[S], table: Mapping[str, Any]) -> S:
    """Return a table as TOML would give it as a record of a schema. Raises RecipeError."""
    try:
        # Strict, or "2" and true would pass for numbers; by way of JSON, or lists would not pass for tuples.
        return schema.model_validate_json(json.dumps(table, default=str), strict=True)
    except ValidationError as error:
        first = error.errors()[0]
        if first["type"] == "extra_forbidden":
            *parents, key = (str(step) for step in first["loc"])
            raise RecipeError(
                f"There is no key '{key}' here.",
                where=".".join((*parents, key)),
                hint=nearest(key, _section(parents, schema).model_fields),
            ) from None
        raise recipe_error(error) from None


def _section(path: list[str], schema: type[BaseModel]) -> type[BaseModel]:
    section = schema
    for step in path:
        inner = section.model_fields[step].annotation if step in section.model_fields else None
        found = [t for t in (inner, *get_args(inner)) if isinstance(t, type) and issubclass(t, BaseModel)]
        if found:
            section = found[0]
    return section


def _whole(table: dict[str, Any], overrides: Sequence[str]) -> Recipe:
    """Return the recipe of a table, with overrides. Raises RecipeError."""
    notes = apply_overrides(table, overrides, Recipe)
    anchor(table, Path())
    model = table.get("model")
    if isinstance(model, dict):
        _inherit(cast("dict[str, Any]", model))
    recipe = parse_recipe(table)
    if "\0" not in recipe.model.name and os.path.realpath(recipe.model.name) == os.path.realpath(
        Path(recipe.folder) / recipe.name
    ):
        raise RecipeError(
            "The run is to be made from itself.",
            where="model.name",
            hint="Give it a name of its own with -o name=NEW.",
        )
    recipe.left_out.extend(notes)
    return recipe


def _inherit(model: dict[str, Any]) -> None:
    """Give the model what the chat template of the run that it is was given, but for what is given here."""
    name, own = model.get("name"), model.get("template", {})
    file = Path(name) / "recipe.toml" if isinstance(name, str) and name else None
    if file is None or not os.path.isfile(file) or not isinstance(own, dict):
        return
    try:
        given: Any = parse_toml(read_text(file)).get("model", {}).get("template", {})
    except (DataError, ValueError, AttributeError):  # who loads the model says what is wrong
        return
    if given:
        model["template"] = {**given, **cast("dict[str, Any]", own)}
