"""A model scored as it is, with nothing trained: `espalier evaluate`, from what is asked to the report.

What is scored is the test set of a recipe, or of a run, so that it compares with what that recipe trains, or
else all rows of tasks and files. The model is of this machine or behind a server. Answers go through the same
hands as those of a run, and into the same store, so that none is made twice; a second evaluation of which
nothing has changed loads nothing.
"""

from __future__ import annotations

import json
import re
import time
from contextlib import nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.bundled_recipes import bundled_recipes
from espalier.core.errors import DataError, RecipeError, RunError
from espalier.core.files import content_hash, write_atomic, write_changed
from espalier.core.journal import NAME, STORE, Journal, store_of
from espalier.core.recipe import Choice, Recipe, as_recipe, load_recipe, read_toml
from espalier.core.run import RunFolder, dev_folder, open_run, provenance, run_at
from espalier.core.text import counted
from espalier.data.asking import Asking, described
from espalier.data.inputs import texts_in
from espalier.data.mixture import place_of, places, read
from espalier.data.split import limit
from espalier.data.table import as_parquet
from espalier.evaluate.measures import AS_IS
from espalier.formats.load import has_columns
from espalier.report.page import write_report
from espalier.runs.asking import run_asking
from espalier.runs.events import bar, say, working
from espalier.runs.finished import is_finished, mark_finished
from espalier.runs.looking import seal
from espalier.runs.plan import choose
from espalier.runs.prepare import Prepared, askable, paths_of, prepare
from espalier.tasks.options import options_of
from espalier.tasks.task_files import BUNDLED

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from contextlib import AbstractContextManager

    from espalier.core.records import Completion, Example
    from espalier.decode.local import Local
    from espalier.evaluate.score_records import Limit
    from espalier.runs.plan import Choices
    from espalier.servers.remote import Remote

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
    if any(has_columns(place_of(path), columns) for path in what):
        table["task"]["columns"] = columns
    kept = {key: table[key] for key in ("model", "decode", "evaluate")}
    return {"name": "evaluation", "task": {**table["task"], "path": list(what), "format": "auto"}, **kept}


def evaluated(asked: Evaluation, cache: Path) -> RunFolder:
    """Score a model, and return the folder with outputs.jsonl, scores.json and the report.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    if left := _left(asked, cache):
        _evaluate(*left, cache)
    return asked.folder


def evaluate_together(asked: Sequence[Evaluation], cache: Path) -> None:
    """Make several evaluations of one run's model, beside each other: it is loaded once, and what prompts
    share is computed once for all of them.

    Raises:
        EspalierError: see `evaluated`.
    """
    waiting = [left for one in asked if (left := _left(one, cache))]
    if not waiting:
        return
    from espalier.runs.execute import generations_of

    first, _ = waiting[0]
    local = local_model(first.recipe, first.folder, cache)
    _answer_together([choices for _, choices in waiting], local, first.folder.path.parent)
    for one, choices in waiting:
        _evaluate(one, choices, cache, replace(local, journal=generations_of(one.folder)))


def _answer_together(every: Sequence[Choices], local: Local, runs: Path) -> None:
    """Have all prompts of each way of decoding answered in one go; the answers go into the runs' store."""
    from espalier.decode.journal import Generations
    from espalier.runs.answers import answers_of

    kept = runs / STORE / "together.jsonl"  # what a kill interrupted; the rest is in the store
    journal = Generations(kept, store_of(runs))
    groups: dict[str, list[Choices]] = {}
    for one in every:
        groups.setdefault(content_hash(one.recipe.decode.model_dump()), []).append(one)
    for group in groups.values():
        rows = [
            replace(row, id=f"{n} {row.id}") for n, one in enumerate(group) for row in _rendered(one, local)
        ]
        with bar("Answers of the model, all together", len(rows) * group[0].strategy.samples) as advance:
            answers_of(replace(local, journal=journal), rows, group[0].recipe.decode, lambda: advance(1, ""))
    kept.unlink(missing_ok=True)


def _rendered(choices: Choices, local: Local) -> list[Example]:
    """Return the rows that the template renders; the evaluation itself says which it does not."""
    refused: list[dict[str, Any]] | None = [] if choices.recipe.task.on_bad == "reject" else None
    return askable(choices.prepared.test, local.template, refused)


def _left(asked: Evaluation, cache: Path) -> tuple[Evaluation, Choices] | None:
    """Return what there is to do; None where nothing is, since nothing has changed. Raises EspalierError."""
    folder = asked.folder
    if folder.model.exists() or folder.stages.exists():
        raise RunError("A run has this name.", where=str(folder.path), hint="Give this another with --name.")
    say(f"Evaluation {asked.recipe.name}, in {folder.path}")
    prepared = _prepared(asked)
    say(f"{prepared.name}: {counted(len(prepared.test), 'row')} to score.")
    asked = _by_choice(asked, prepared)
    if is_finished(folder, asked.recipe, prepared, cache, trains=False, server=asked.server):
        say("All of it is done, and nothing has changed.")
        return None
    choices = choose(asked.recipe, prepared)
    if asked.server and choices.strategy.weighs is not None:
        raise RecipeError(
            "A server does not say how likely an option is to its model.",
            where="decode.kind",
            hint="Let it write: -o decode=greedy.",
        )
    if asked.server and asked.recipe.model.template:
        told = ", ".join(f"{key} = {json.dumps(value)}" for key, value in asked.recipe.model.template.items())
        say(f"Note: the server renders prompts in its own way; start it with the template's {told}.")
    return asked, choices


def _evaluate(asked: Evaluation, choices: Choices, cache: Path, loaded: Local | None = None) -> None:
    """Do all of an evaluation, by a model that is loaded if it is."""
    from espalier.runs.execute import answered, score_answers
    from espalier.runs.judging import say_limit, try_judges

    started = time.monotonic()
    try_judges(choices)
    prepared, recipe = choices.prepared, choices.recipe
    with (
        open_run(asked.folder.path) as run,
        nullcontext(loaded) if loaded else _model(asked, run, cache) as model,
    ):
        bound: Limit | None = None
        inputs = {"task": prepared.hash, "recipe": recipe.hash}
        if not asked.server:
            local: Any = model
            refused = prepared.rejects if recipe.task.on_bad == "reject" else None
            prepared.test[:] = askable(prepared.test, local.template, refused)
            inputs |= {"weights": local.loaded.weights, "template": local.template.hash}
            if choices.strategy.weighs is None:
                bound = say_limit(prepared.test, local.template, choices.strategy.limit)
        _write_books(run, asked, prepared, inputs)
        if asked.split == "test":
            seal(run.path, choices)
        run.log_stage("prepare", started, 0)
        answers: Sequence[Completion] = answered(choices, run, model, AS_IS)
        score_answers(choices, run, {AS_IS: answers}, bound, {}, split=asked.split)
    write_report(asked.folder.path)
    mark_finished(asked.folder, choices, cache, asked.server)


def _model(asked: Evaluation, run: RunFolder, cache: Path) -> AbstractContextManager[Local | Remote]:
    """Return what answers. Raises ModelError, RunError, MissingExtra."""
    if asked.server:
        from espalier.servers.remote import Server, remote_of

        server = Server(asked.server, asked.secret)
        return remote_of(server, asked.recipe.model.name, Journal(run.path / NAME), step="evaluate")
    return nullcontext(local_model(asked.recipe, run, cache))


def local_model(recipe: Recipe, run: RunFolder | None, cache: Path) -> Local:
    """Load a recipe's model, ready to answer as the recipe renders rows.

    A run's model computes in the number format of its own answers, unless the recipe names another.

    Args:
        recipe: whose model it is.
        run: where its answers are kept, and the formats that it computes in; what the runs beside it have
            answered is known. None where neither is.
        cache: folder of converted models.
    """
    from espalier.decode.local import local_of
    from espalier.runs.execute import generations_of
    from espalier.runs.load import load_run, load_writer, rendered, rendering_of
    from espalier.runs.precision import keep_formats, of_run, settle
    from espalier.runs.rating import raters_from
    from espalier.runs.talkers import find_talker

    talker, rendering = find_talker(recipe.model.name), rendering_of(recipe)
    section = recipe.model.model_copy(update={"name": talker.name})
    if talker.run is not None:
        loaded = rendered(load_run(talker.run, cache), rendering, talker.run)
        if section.precision in ("auto", load_recipe(talker.run.recipe).model.precision):
            loaded = of_run(talker.run, loaded, "decoding")
        else:
            loaded = settle(section, loaded)
    else:
        loaded = settle(section, rendered(load_writer(section, cache), rendering, run), run)
        if run is not None:
            keep_formats(section, run, loaded)
    journal = None if run is None else generations_of(run)
    return local_of(loaded, journal, in_place=True, raters=raters_from(cache))


def _write_books(run: RunFolder, asked: Evaluation, prepared: Prepared, inputs: dict[str, str]) -> None:
    """Write down what is evaluated."""
    write_changed(run.recipe, asked.recipe.to_toml().encode())
    write_changed(run.data / "test.parquet", as_parquet(prepared.test))
    run.write_rejects({"data": prepared.rejects})
    made = provenance(asked.recipe.seed, inputs)
    made |= {"server": asked.server, "split": asked.split}
    write_atomic(run.provenance, json.dumps(made, indent=1) + "\n")


@working("Reading the rows", aloud=False)
def _prepared(asked: Evaluation) -> Prepared:
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


def _by_choice(asked: Evaluation, prepared: Prepared) -> Evaluation:
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
