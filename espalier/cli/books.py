"""The books of a run: what it is made of, and what becomes of a folder that another recipe has written to.

A name belongs to one run. What differs from the run that has it is told before anything is touched, and it
is for the user to say whether the old one is replaced or kept under a number. Where only scores or answers
are to be made again, the model stays, and the old ones are kept in `earlier/`.
"""

from __future__ import annotations

import json
import os
import re
import shutil
import tomllib
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from itertools import count
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from espalier.cli.kept import LEFTOVERS
from espalier.cli.progress import say
from espalier.cli.rating import rater_weights
from espalier.core.errors import DataError, EspalierError, RecipeError, RunError
from espalier.core.files import content_hash, disk_hint, read_json, read_text, write_atomic, write_changed
from espalier.core.identity import FAR, Difference, differences, farthest
from espalier.core.recipe import parse_recipe
from espalier.core.run import RunFolder, open_run, provenance

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence
    from pathlib import Path

    from espalier.cli.prepare import Prepared
    from espalier.cli.stages import Stage
    from espalier.core.recipe import Recipe
    from espalier.core.registry import Registry
    from espalier.models.load import Loaded

# What to do with a run of another recipe that has the name.
Way: TypeAlias = Literal["refuse", "overwrite", "keep"]

# What is kept in `earlier/` when it is made again, besides the recipe; scores.json last, by which a run is
# known to be finished.
RESULTS = ("report.html", "outputs.jsonl", "scores.json")
# By these a folder without a recipe.toml is known to be something else, which is not to be written to.
OURS = ("data", "model", "checkpoints", "stages", "events.jsonl", "generations.jsonl", *RESULTS)


@dataclass(frozen=True)
class Standing:
    """What a run folder holds of an earlier start.

    Attributes:
        recipe: as it was resolved then; None where it cannot be read.
        inputs: the hash of each input; {} where it is not known.
        trained: whether there is a model, a checkpoint or a result, which took time to make.
        finished: whether it came to its scores.
        notes: what is damaged and is written again, a sentence each.
    """

    recipe: Recipe | None
    inputs: Mapping[str, str]
    trained: bool
    finished: bool
    notes: tuple[str, ...]


def way_of(*, overwrite: bool, keep: bool) -> Way:
    """Return what the options say. Raises RunError where they contradict each other."""
    if overwrite and keep:
        raise RunError("--overwrite and --keep contradict each other.", hint="Give one of them.")
    return "overwrite" if overwrite else "keep" if keep else "refuse"


def inputs_of(recipe: Recipe, prepared: Prepared, stages: Sequence[Stage], loaded: Loaded) -> dict[str, str]:
    """Return the hash of each thing that the run is made of."""
    rewards = rater_weights([n for stage in stages for o, _ in stage.shared for n in o.rewards])
    return {
        "task": _task_hash(prepared),
        "rows": content_hash([[example.id for example in stage.examples] for stage in stages]),
        "weights": loaded.weights,
        "template": loaded.template.hash,
        **({"rewards": content_hash(rewards)} if rewards else {}),
        "recipe": recipe.hash,
    }


@contextmanager
def held(
    recipe: Recipe, path: Path, inputs: Mapping[str, str], way: Way, patience: float = 0.0
) -> Generator[RunFolder]:
    """Hold the run's folder for writing; a run of another recipe in it is refused, or put out of the way.

    `patience` is how many seconds another process may take to let go of the folder.

    Raises:
        RunError: another process holds the folder, it is no run's, or it is of another recipe and `way` is to
            refuse.
    """
    with ExitStack() as stack:
        run = stack.enter_context(open_run(path, patience))
        standing = _standing(run, recipe)
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
                kept = _free_name(path)
                path.rename(kept)
                say(f"The run that had this name is kept as {kept}.")
                run = stack.enter_context(open_run(path))
            else:
                say(f"The run that had this name is replaced. What differs: {_listed(found)}.")
                _forget(run, standing, recipe, found)
        elif reach in ("answers", "scores") and standing.finished:
            _set_aside(run, found)
        elif reach != "nothing":
            say(f"What differs from the start before: {_listed(found)}.")
        same = standing.finished and bool(standing.inputs) and reach != "model"
        yield replace(run, same=same)


def look(recipe: Recipe, path: Path, prepared: Prepared, way: Way, patience: float = 0.0) -> None:
    """Refuse what `held` would refuse later, as far as the task and the recipe tell before a model is loaded.

    Raises:
        RunError: see `held`.
    """
    with open_run(path, patience) as run:
        standing = _standing(run, recipe)
        if standing and standing.trained and way == "refuse":
            found = _changes(standing, recipe, {"task": _task_hash(prepared)})
            if farthest(found) == "model":
                raise _refusal(run, standing, found)


def write_books(
    run: RunFolder,
    recipe: Recipe,
    prepared: Prepared,
    stages: Sequence[Stage],
    inputs: Mapping[str, str],
    overview: Callable[[], Mapping[str, Any]],
) -> None:
    """Write down what the run is made of; what says so already is left alone.

    `overview` returns what there is to log of the rows in tokens.
    """
    from espalier.data.table import as_parquet

    too_long = [reject for stage in stages for reject in stage.encoded.rejects]
    for rejects, why in ((prepared.rejects, "cannot be used"), (too_long, "longer than train.tokens")):
        if rejects:
            say(f"Rows left out, {why}: {len(rejects)}; see {run.rejects}.")
    write_changed(run.recipe, recipe.to_toml().encode())
    write_changed(run.data / "train.parquet", as_parquet(prepared.train))
    write_changed(run.data / "test.parquet", as_parquet(prepared.test))
    run.write_rejects({"data": prepared.rejects, "encode": too_long})
    known = _provenance(run)
    if known.get("inputs") == inputs:
        return
    run.log({"event": "encoded", **overview()})
    # Last, because it says that the others are there.
    new = {**known, "inputs": dict(inputs)} if run.same else provenance(recipe.seed, inputs)
    write_atomic(run.provenance, json.dumps(new, indent=1) + "\n")


def write_results(run: RunFolder, outputs: str | None, scores: str) -> None:
    """Write scores.json, and outputs.jsonl of a run that has answers; other scores of before are kept."""
    if run.scores.exists() and run.scores.read_bytes() != scores.encode():
        say("The scores came out otherwise than before, as another version of a program may have it.")
        say(f"Those of before are in {_move_results(run)}.")
    if outputs is not None:
        write_changed(run.outputs, outputs.encode())
    write_changed(run.scores, scores.encode())


def _task_hash(prepared: Prepared) -> str:
    return content_hash(asdict(replace(prepared.task, origin="")))


def _standing(run: RunFolder, recipe: Recipe) -> Standing | None:
    """Return what stands in the folder; None where nothing does. Raises RunError where it is no run's."""
    foreign = [name for name in OURS if (run.path / name).exists()]
    if not run.recipe.exists():
        if foreign:
            raise RunError(
                f"The folder holds {', '.join(foreign)} but no recipe.toml, so it is no run's.",
                where=str(run.path),
                hint="Give this run another name with -o name=NEW, or move what is there.",
            )
        return None
    notes: list[str] = []
    known = _provenance(run)
    if not known and run.provenance.exists():
        notes.append(f"{run.provenance} is damaged: it is written again.")
    inputs: Mapping[str, str] = known.get("inputs", {})
    old: Recipe | None = None
    try:
        old = parse_recipe(tomllib.loads(read_text(run.recipe)))
    except (EspalierError, tomllib.TOMLDecodeError) as error:
        if inputs.get("recipe") == recipe.hash:
            notes.append(f"{run.recipe} is damaged ({error}): it is written again.")
            old = recipe
    costly = (*RESULTS[1:], "model", "checkpoints/*", "stages/*/model", "stages/*/checkpoints/*")
    trained = any(any(run.path.glob(pattern)) for pattern in costly)
    return Standing(old, inputs, trained, run.scores.exists(), tuple(notes))


def _check_stages(run: RunFolder, standing: Standing) -> None:
    """Remove a damaged stages.json where it can be made again. Raises DataError where it cannot."""
    try:
        run.done("train")
    except DataError as error:
        if not (standing.finished and standing.inputs):
            raise
        say(f"{error.where} is damaged: it is written again.")
        run.stages.unlink()


def _provenance(run: RunFolder) -> dict[str, Any]:
    """Return what provenance.json holds; {} where it is missing or damaged."""
    try:
        table = read_json(run.provenance)
    except DataError:
        return {}
    return table if isinstance(table, dict) and isinstance(table.get("inputs"), dict) else {}


def _changes(standing: Standing, recipe: Recipe, inputs: Mapping[str, str]) -> list[Difference]:
    if standing.recipe is None:
        return [Difference("recipe.toml, which cannot be read", "model")]
    return differences((_table(standing.recipe), _table(recipe)), (standing.inputs, inputs))


def _table(recipe: Recipe) -> dict[str, Any]:
    """Return the recipe as a table in which the defaults of each choice are written out, too."""
    from espalier.decode.strategies import strategies
    from espalier.evaluate.harness import scorers
    from espalier.models.adapters import methods
    from espalier.train.objectives import objectives
    from espalier.train.optimizer import optimizers

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
        f"that one as {_free_name(run.path).name} (--keep).",
    )


def _free_name(path: Path) -> Path:
    """Return the first of NAME.1, NAME.2, … that does not exist."""
    return next(name for n in count(1) if not os.path.lexists(name := path.with_name(f"{path.name}.{n}")))


def _set_aside(run: RunFolder, found: Sequence[Difference]) -> None:
    """Keep the results that are made again, and say which these are."""
    answers = farthest(found) == "answers"
    kept, again = ("the model", "answers, scores") if answers else ("model and answers", "scores")
    say(f"What differs: {_listed(found)}. Kept: {kept}. Made again: {again} and report.")
    say(f"Those of before are in {_move_results(run)}.")


def _move_results(run: RunFolder) -> Path:
    """Move the results to a folder of their own, with the recipe that they are of. Raises RunError."""
    earlier = run.path / "earlier"
    folder = next(earlier / str(n) for n in count(1) if not (earlier / str(n)).exists())
    try:
        folder.mkdir(parents=True)
        shutil.copyfile(run.recipe, folder / "recipe.toml")
        for name in RESULTS:
            with suppress(FileNotFoundError):
                (run.path / name).rename(folder / name)
    except OSError as error:
        raise RunError(
            f"The earlier results cannot be kept: {error.strerror}.", where=str(folder), hint=disk_hint(error)
        ) from None
    return folder


def _forget(run: RunFolder, standing: Standing, recipe: Recipe, found: Sequence[Difference]) -> None:
    """Remove what the earlier recipe has made, but for stages of the training that are the same in both."""
    run.provenance.unlink(missing_ok=True)
    for name in RESULTS:
        (run.path / name).unlink(missing_ok=True)
    old = standing.recipe.train if standing.recipe else ()
    changed = [re.match(r"train\.(\d+)\.", d.name) for d in found if d.reach == "model"]
    first = min((int(match[1]) if match else 0 for match in changed), default=0)
    last = len(old) - 1
    names = {number: f"train {number}" if last else "train" for number in range(first, last + 1)}
    for number, name in names.items():
        run.forget(name)
        folder = run.path if number == last else run.path / "stages" / str(number)
        for inner in ("model", "checkpoints"):
            shutil.rmtree(folder / inner, ignore_errors=True)
        for leftover in LEFTOVERS:
            (folder / leftover).unlink(missing_ok=True)
