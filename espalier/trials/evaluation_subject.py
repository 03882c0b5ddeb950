"""What is to be evaluated: whose answers, to which rows, decoded and judged in which way.

What is scored is the test set of a recipe, or of a run, so that it compares with what that recipe trains, or
else all rows of tasks and files. Rows that are not a run's own are asked as it asks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.bundled_recipes import bundled_recipes
from espalier.core.errors import DataError, RecipeError
from espalier.core.files import content_hash, write_changed
from espalier.core.recipe import Choice, Recipe, as_recipe, load_recipe, read_toml
from espalier.core.run import RunFolder, dev_folder, run_at
from espalier.data.asking import Asking, described
from espalier.data.inputs import texts_in
from espalier.data.mixture import places, read
from espalier.data.split import limit
from espalier.formats.load import has_columns
from espalier.runs.asking import run_asking
from espalier.runs.events import say, working
from espalier.runs.prepare import Prepared, paths_of, prepare
from espalier.tasks.options import options_of
from espalier.tasks.task_files import BUNDLED

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from espalier.core.records import Example

RECIPES = {*Recipe.model_fields} - {"name"}  # keys that a task does not have


@dataclass(frozen=True)
class Evaluation:
    """What is to be evaluated.

    Attributes:
        recipe: its model, rows, decoding and scorers; what it says of training is of no account.
        whole: whether all rows are scored, and not only those that the recipe does not train on.
        split: "test", or "dev" for the rows that the recipe holds out of training.
        server: where the model is served; "" for one of this machine.
        secret: the server's key; written nowhere.
        own: the run in whose shape other rows are asked; None where they are asked as they stand.
        chosen: whether somebody says how to decode or to judge.
    """

    recipe: Recipe
    whole: bool
    server: str = ""
    secret: str = field(default="", repr=False)
    split: str = "test"
    own: RunFolder | None = None
    chosen: bool = False

    @property
    def folder(self) -> RunFolder:
        """Where it goes."""
        return RunFolder(Path(self.recipe.folder) / self.recipe.name)


def asked_of(
    model: str,
    what: Sequence[str],
    overrides: Sequence[str] = (),
    *,
    name: str = "",
    server: str = "",
    secret: str = "",
    model_name: str = "",
    plain: bool = False,
    split: str = "test",
) -> Evaluation:
    """Return what is asked for as an evaluation.

    Rows that are not a run's own are asked as it asks: with its settings of task, template and decoding,
    under its system turn, and judged by its scorers.

    Args:
        model: a bundled name, a folder, a run, a hub id; or its name on the server.
        what: one recipe, or tasks and files of rows; none for a run's own test set.
        overrides: of the recipe's keys.
        name: of the folder; by default made of the model and of what is asked.
        server: see `Evaluation`.
        secret: see `Evaluation`.
        model_name: what the server calls the model, if not as `model` does.
        plain: whether a run is asked rows as they stand.
        split: see `Evaluation`; the development rows of a run are scored in NAME-dev beside it.

    Raises:
        RecipeError, DataError: it cannot be read, or nothing is asked of a model that is no run.
    """
    own = run_at(Path(model).expanduser())
    if not what and own is None:
        raise RecipeError(
            "There is nothing to score the model on.",
            where=model,
            hint="Name a recipe, a task or a file of rows; only a run has a test set of its own.",
        )
    whole = bool(what) and not (len(what) == 1 and _is_recipe(what[0]))
    source: Any = {"name": "evaluation", "task": {"path": list(what)}, "model": {"name": "model"}}
    if split == "dev" and whole:
        raise RecipeError(
            "Tasks and files of rows have no development split.",
            where="--split",
            hint="Name a run alone, or a recipe that holds rows out (data.dev).",
        )
    if not whole:
        source = what[0] if what else own.recipe if own else None
    elif own is not None and not plain:
        source = _as_the_run(own, what)
    served = model_name or model
    called, beside = name or named(served if server else model, what or [Path(model).name]), []
    if split == "dev" and own and not what:
        called, beside = name or dev_folder(own.path).name, [f"folder={own.path.parent}"]
    given = [f"name={called}", *beside, *([] if server else [f"model.name={model}"]), *overrides]
    recipe = as_recipe(source, given)
    said = {"track": (), **({"model": recipe.model.model_copy(update={"name": served})} if server else {})}
    chosen = any(re.match(r"\s*(decode|evaluate)\b", one) for one in overrides)
    shape = own if whole and not plain else None
    return Evaluation(recipe.model_copy(update=said), whole, server, secret, split, shape, chosen)


def _as_the_run(run: RunFolder, what: Sequence[str]) -> dict[str, Any]:
    """Return a recipe's table for other rows, with all of the run's that says how they are asked and judged.

    Raises:
        DataError: the rows are not there.
    """
    table = load_recipe(run.recipe).model_dump(mode="json", exclude_none=True)
    columns = table["task"].pop("columns")
    if columns and any(has_columns(place.path, columns) for place in places(what, "auto")):
        table["task"]["columns"] = columns
    kept = {key: table[key] for key in ("model", "decode", "evaluate")}
    return {"name": "evaluation", "task": {**table["task"], "path": list(what), "format": "auto"}, **kept}


@working("Reading the rows", aloud=False)
def rows_of(asked: Evaluation) -> Prepared:
    """Return the rows: all of them, or a recipe's test set. Raises DataError."""
    recipe = asked.recipe
    if not asked.whole:
        return _of_split(prepare(recipe), asked.split)
    made = Prepared((), [], [], [], [])
    on_reject = made.rejects.append if recipe.task.on_bad == "reject" else None
    found = places(paths_of(recipe.task), recipe.task.format, made.notes.append)
    parts = list(read(found, recipe.task, on_reject, made.notes.append))
    most, texts = recipe.data.test_limit, False
    asking = run_asking(asked.own) if asked.own else Asking()
    for part, rows in parts:
        few = limit(rows, most, recipe.seed) if most else rows
        bare = texts_in(part.place.files, recipe.task.columns) if asked.own and part.task is None else set()
        texts = texts or bool(bare)
        made.test.extend(asking.over(row, text=_place(row) in bare) for row in few)
    _tell(asking if texts else asking.whole)
    if not made.test:
        raise DataError("There is no row to score.", where=str(found[0].path))
    return replace(made, parts=tuple(part for part, _ in parts))


def _place(row: Example) -> tuple[str, str]:
    return str(row.origin.get("file")), str(row.origin.get("row"))


def _tell(asking: Asking) -> None:
    """Say what a run puts around rows that are not its own."""
    if parts := described(asking):
        say(f"Rows are asked as the run's are, {', '.join(parts)}; --plain asks them as they stand.")
    if asking.differs:
        say("The run's rows have different system turns, so none is given to rows that have none.")


def _of_split(prepared: Prepared, split: str) -> Prepared:
    if split == "test":
        return prepared
    if not prepared.dev:
        raise DataError(
            "The recipe holds no rows out of training, so there are none to choose on.",
            where="data.dev",
            hint="Train with some held out, such as a tenth with -o data.dev=0.1.",
        )
    return replace(prepared, test=prepared.dev)


def by_choice(asked: Evaluation, prepared: Prepared) -> Evaluation:
    """Return the evaluation; where all rows have options, they are chosen from, if nobody says otherwise."""
    recipe = asked.recipe
    if not asked.whole or asked.server or asked.chosen:
        return asked
    try:
        for row in prepared.test:
            options_of(row)
    except DataError:
        return asked
    by_length = Choice.model_validate({"kind": "choice", "normalise": "characters"})
    judges = (Choice(kind="choice"), by_length)
    said = {"decode": Choice(kind="choices"), "evaluate": judges}
    return replace(asked, recipe=recipe.model_copy(update=said))


def written(rows: object, model: str, name: str, folder: str) -> tuple[str, Path]:
    """Write rows that a program holds into the folder of their evaluation; return its name, and the file.

    Raises:
        DataError: they are no rows.
    """
    from espalier.runs.tune import lines_of

    lines = list(lines_of(rows))
    called = name or named(model, [f"rows-{content_hash(lines)[:8]}"])
    file = Path(folder) / called / "rows.jsonl"
    write_changed(file, "".join(lines).encode())
    return called, file


def _is_recipe(name: str) -> bool:
    file = Path(name)
    if not file.exists():
        return name in bundled_recipes() or (name not in BUNDLED and file.suffix == ".toml")
    # A task has none of the tables of a recipe; whoever reads a damaged file says what is wrong.
    return file.is_file() and file.suffix == ".toml" and bool(RECIPES & {*_keys(file)})


def _keys(file: Path) -> Collection[str]:
    try:
        return read_toml(file)
    except (RecipeError, DataError):
        return ()


def named(model: str, what: Sequence[str]) -> str:
    """Return a name for the folder."""
    of = Path(what[0]).stem if len(what) == 1 else f"{len(what)}-tasks-{content_hash(list(what))[:6]}"
    return re.sub(r"[^\w.-]+", "-", f"{of}-by-{Path(model).name}").strip(".-_")
