"""The books of a run: what it is made of, and what becomes of a folder that another recipe has written to.

A name belongs to one run. What differs from the run that has it is told before anything is touched, and it
is for the user to say whether the old one is replaced or kept under a number. Where only scores or answers
are to be made again, the model stays, and the old ones are kept in `earlier/`.
"""

from __future__ import annotations

import json
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from espalier.core.errors import DataError, RecipeError, RunError
from espalier.core.files import content_hash, file_sha256, write_atomic, write_changed
from espalier.core.identity import FAR, Difference, differences, farthest
from espalier.core.run import RunFolder, open_run, provenance
from espalier.core.standing import (
    Standing,
    forget,
    free_name,
    move_results,
    read_provenance,
    set_aside,
    standing_in,
)
from espalier.core.text import counted
from espalier.data.parents import asked_before, chain, parents
from espalier.data.table import as_parquet
from espalier.decode.strategies.registry import strategies
from espalier.models.adapters import methods
from espalier.runs.events import say
from espalier.runs.in_tokens import once_each
from espalier.runs.overview import overview, row_by_row
from espalier.runs.rating import rater_weights
from espalier.scorers.registry import scorers
from espalier.train.objectives import objectives
from espalier.train.optimizer import optimizers

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence
    from pathlib import Path

    from espalier.core.recipe import Recipe
    from espalier.core.registry import Registry
    from espalier.data.mixture import Part
    from espalier.runs.plan import Choices, Plan
    from espalier.runs.prepare import Prepared

# What to do with a run of another recipe that has the name.
Way: TypeAlias = Literal["refuse", "overwrite", "keep"]


def inputs_of(plan: Plan) -> dict[str, str]:
    """Return the hash of each thing that the run is made of."""
    loaded, rewards = plan.loaded, rater_weights(plan.choices.rewarded)
    return {
        "task": plan.prepared.hash,
        "rows": content_hash(
            [[example.id for example in (*stage.examples, *stage.dev)] for stage in plan.stages]
        ),
        "weights": loaded.weights,
        "template": loaded.template.hash,
        "formats": _formats(loaded.formats.training, loaded.formats.decoding),
        **({"rewards": content_hash(rewards)} if rewards else {}),
        "recipe": plan.choices.recipe.hash,
    }


@contextmanager
def held(
    plan: Plan, path: Path, inputs: Mapping[str, str], way: Way, patience: float = 0.0
) -> Generator[RunFolder]:
    """Hold the run's folder for writing; a run of another recipe in it is refused, or put out of the way.

    `patience` is how many seconds another process may take to let go of the folder.

    Raises:
        RunError: another process holds the folder, it is no run's, or it is of another recipe and `way` is to
            refuse.
    """
    recipe = plan.choices.recipe
    with ExitStack() as stack:
        run = stack.enter_context(open_run(path, patience))
        standing = standing_in(run, recipe)
        if standing is None:
            yield run
            return
        for note in standing.notes:
            say(note)
        _check_stages(run, standing)
        found = _changes(standing, recipe, inputs)
        reach = farthest(found)
        if reach == "model" and standing.trained:
            if way == "refuse":
                raise _refusal(run, standing, found)
            if way == "keep":
                kept = set_aside(path)
                say(f"The run that had this name is kept as {kept}. What differs: {_listed(found)}.")
                run = stack.enter_context(open_run(path))
            else:
                say(f"The run that had this name is replaced. What differs: {_listed(found)}.")
                forget(run, standing, found)
        elif reach in ("answers", "scores") and standing.finished:
            _make_room(run, found)
        elif reach != "nothing":
            say(f"What differs from the start before: {_listed(found)}.")
        same = standing.finished and bool(standing.inputs) and reach != "model"
        yield replace(run, same=same)


def look(choices: Choices, path: Path, way: Way, patience: float = 0.0) -> bool:
    """Refuse what `held` would refuse later, as far as the task and the recipe tell before a model is loaded.

    Returns:
        Whether what stands in the folder goes on, and is not of another recipe.

    Raises:
        RunError: see `held`.
    """
    recipe = choices.recipe
    with open_run(path, patience) as run:
        standing = standing_in(run, recipe)
        if standing is None or not standing.trained:
            return standing is not None
        found = _changes(standing, recipe, {"task": choices.prepared.hash})
        other = farthest(found) == "model"
        if other and way == "refuse":
            raise _refusal(run, standing, found)
        return not other


def write_books(run: RunFolder, plan: Plan, inputs: Mapping[str, str]) -> None:
    """Write down what the run is made of; what says so already is left alone."""
    recipe, prepared = plan.choices.recipe, plan.prepared
    unfit = once_each(reject for stage in plan.stages for reject in stage.encoded.rejects)
    for rejects, why in ((prepared.rejects, "cannot be used"), (unfit, "too long, or of no use to a stage")):
        if rejects:
            say(f"Rows left out, {why}: {len(rejects)}; see {run.rejects}.")
    write_changed(run.recipe, recipe.to_toml().encode())
    write_changed(run.data / "train.parquet", as_parquet(prepared.train))
    write_changed(run.data / "test.parquet", as_parquet(prepared.test))
    if prepared.dev:
        write_changed(run.data / "dev.parquet", as_parquet(prepared.dev))
    else:
        (run.data / "dev.parquet").unlink(missing_ok=True)
    run.write_rejects({"data": prepared.rejects, "encode": unfit})
    known = read_provenance(run)
    if known.get("inputs") == inputs:
        return
    encoded = {"event": "encoded", **overview(plan.stages[0], plan.seed, plan.template)}
    alone = plan.loaded.sharing.why_not(plan.stages[0].longest, training=True)
    run.log(row_by_row(encoded) if alone else encoded)
    # Last, because it says that the others are there.
    new = {**known, "inputs": dict(inputs)} if run.same else provenance(recipe.seed, inputs)
    new["tasks"] = [_files(part, prepared) for part in prepared.parts]
    new["today"] = plan.template.today.isoformat()
    name = recipe.model.name
    if before := parents(name, plan.loaded.weights):
        new |= {"parents": before, "asked_before": asked_before(name, prepared.test)}
        say(f"Made from a run: {chain(new, recipe.name)}.")
        if new["asked_before"]:
            say(
                f"Note: {new['asked_before']} of {counted(len(prepared.test), 'test row')} ask what was "
                "trained on before, in a run that this one is made from; their scores say little."
            )
    write_atomic(run.provenance, json.dumps(new, indent=1) + "\n")


def _files(part: Part, prepared: Prepared) -> dict[str, Any]:
    """Return what a task is made of: each file's name and hash, and how many rows are of it."""
    rows = {name: sum(row.task == part.name for row in rows)
            for name, rows in (("train", prepared.train), ("test", prepared.test))}  # fmt: skip
    files = {file.name: file_sha256(file) for file in part.place.files}
    return {"name": part.name, "hash": part.hash, "rows": rows, "files": files}


def _changes(standing: Standing, recipe: Recipe, inputs: Mapping[str, str]) -> list[Difference]:
    if standing.recipe is None:
        return [Difference("recipe.toml, which cannot be read", "model")]
    named = standing.recipe.model.precision
    # An earlier version did not write down what it computed in: it was what the recipe names.
    before = {"formats": _formats(named, named), **standing.inputs} if named != "auto" else standing.inputs
    return differences((_table(standing.recipe), _table(recipe)), (before, inputs))


def _formats(training: str, decoding: str) -> str:
    return f"{training} to train, {decoding} to decode"


def _table(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as a table in which the defaults of each choice are written out, too."""

    def filled(registry: Registry[Any], choice: dict[str, Any]) -> dict[str, Any]:
        own = {key: value for key, value in choice.items() if key not in ("kind", "weight")}
        try:
            return {**choice, **registry.filled(choice["kind"], own)}
        except RecipeError:  # what an earlier recipe named may be gone
            return choice

    table = recipe.model_dump(mode="json")
    for stage in table["train"]:
        stage["method"] = filled(methods, stage["method"])
        stage["optimizer"] = filled(optimizers, stage["optimizer"])
        stage["objective"] = [filled(objectives, choice) for choice in stage["objective"]]
    table["decode"] = filled(strategies, table["decode"])
    table["evaluate"] = [filled(scorers, choice) for choice in table["evaluate"]]
    return json.loads(json.dumps(table, default=str))


def _listed(found: Sequence[Difference]) -> str:
    """Return what differs, the farthest reaching first, without what makes no difference."""
    telling = [difference for difference in found if difference.reach != "nothing"]
    return ", ".join(map(str, sorted(telling, key=lambda d: FAR.index(d.reach), reverse=True)))


def _refusal(run: RunFolder, standing: Standing, found: Sequence[Difference]) -> RunError:
    state = "A finished run" if standing.finished else "An unfinished run"
    give = "Give" if standing.finished else "Change it back to go on with that run, or give"
    return RunError(
        f"{state} of another recipe has this name: {_listed(found)}.",
        where=str(run.path),
        hint=f"{give} this one a name of its own (-o name=NEW), replace the old one (--overwrite), or keep "
        f"that one as {free_name(run.path).name} (--keep).",
    )


def _make_room(run: RunFolder, found: Sequence[Difference]) -> None:
    """Keep the results that are made again, and say which these are."""
    answers = farthest(found) == "answers"
    kept, again = ("the model", "answers, scores") if answers else ("model and answers", "scores")
    say(f"What differs: {_listed(found)}. Kept: {kept}. Made again: {again} and report.")
    say(f"Those of before are in {move_results(run)}.")


def _check_stages(run: RunFolder, standing: Standing) -> None:
    """Remove a damaged stages.json where it can be made again. Raises DataError where it cannot."""
    try:
        run.done("train")
    except DataError as error:
        if not (standing.finished and standing.inputs):
            raise
        say(f"{error.where} is damaged: it is written again.")
        run.stages.unlink()
