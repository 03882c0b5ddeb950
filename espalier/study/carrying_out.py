"""A study carried out: its trainings one after another, and all that is asked of each at once.

What is done stands in `study.json`, written anew after each folder, so that a killed study goes on with the
same command. One process at a time holds the study's folder. A folder is of a cell as long as all that went
into it is the same; what was of an earlier edition of the study is kept beside, under a number, and said.
"""

from __future__ import annotations

import json
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from espalier.core.errors import DataError, EspalierError, RunError
from espalier.core.files import read_json, write_atomic
from espalier.core.identity import differences
from espalier.core.recipe import load_recipe
from espalier.core.standing import set_aside
from espalier.core.text import counted, some, spelt
from espalier.runs.events import say
from espalier.runs.start import start
from espalier.trials.evaluation import evaluate_together
from espalier.trials.evaluation_subject import Evaluation

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from espalier.core.recipe import Recipe
    from espalier.study.cells import Planned, Training

Kind: TypeAlias = Literal["run", "evaluation"]
FILE = "study.json"
SHOWN = 3  # names in a sentence


@dataclass
class Book:
    """What is recorded of a study: its cells and trainings by their folders' names, and the time it took."""

    path: Path
    folders: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    seconds: float = 0.0

    def is_done(self, name: str, key: str) -> bool:
        """Say whether a folder was completed with all that goes into it now."""
        known = self.folders.get(name, {})
        return known.get("state") == "done" and known.get("key") == key


def read_book(path: Path) -> Book:
    """Return what is recorded in a study's folder. Raises DataError where that cannot be read."""
    file = path / FILE
    if not file.exists():
        return Book(path)
    try:
        table = cast("dict[str, Any]", read_json(file))
        folders = {one["name"]: one for one in (*table["others"], *table["trainings"], *table["cells"])}
        return Book(path, folders, float(table["seconds"]))
    except (KeyError, TypeError, ValueError):
        raise DataError(
            "It does not say which cells are done.",
            where=str(file),
            hint="Remove it: the runs beside it are looked at, and not made again.",
        ) from None


def carry_out(plan: Planned, book: Book, cache: Path) -> None:
    """Do what is left of a study; the caller holds its folder.

    Raises:
        RunError: the budget is spent, or somebody else's run is in a cell's folder.
        EspalierError: a run or an evaluation fails.
    """
    _tell(plan, book)
    longest = 0.0
    left = [one for one in plan.trainings if not is_complete(plan, book, one)]
    for number, training in enumerate(left):
        _within(plan, book, longest, len(plan.trainings) - len(left) + number)
        began = time.monotonic()
        if len(plan.trainings) > 1:
            with_cells = counted(len(training.cells), "cell")
            say(f"Training {number + 1} of {len(left)} that are left, with {with_cells}.")
        _train(plan, book, training, cache)
        _evaluate(plan, book, training, cache)
        longest = max(longest, time.monotonic() - began)
        book.seconds += time.monotonic() - began
        write(plan, book)


def write(plan: Planned, book: Book) -> None:
    """Write study.json: each cell and each training with its folder and whether it is done."""
    names = [factor.name for factor in plan.factors]
    wanted = {one.name for one in (*plan.trainings, *plan.cells)}
    table = {
        "name": plan.study.name,
        "factors": {f.name: list(f.labels) for f in plan.factors},
        "seconds": round(book.seconds, 3),
        "cells": [
            {
                "name": cell.name,
                "levels": {name: cell.labels[name] for name in names},
                "seed": cell.seed,
                "kind": "run" if cell.run else "evaluation",
                "folder": f"runs/{cell.name}",
                "training": training.name,
                "training key": training.key,
                "key": cell.key,
                "state": "done" if book.is_done(cell.name, cell.key) else "planned",
            }
            for training in plan.trainings
            for cell in training.cells
        ],
        "trainings": [
            {
                "name": one.name,
                "kind": "run",
                "folder": f"runs/{one.name}",
                "key": one.content,
                "state": "done" if book.is_done(one.name, one.content) else "planned",
            }
            for one in plan.trainings
            if not any(cell.run for cell in one.cells)
        ],
        # Of an earlier edition of the study; they are valid again where it comes back.
        "others": [
            {"name": name, **{key: one[key] for key in ("kind", "key", "state")}}
            for name, one in book.folders.items()
            if name not in wanted and one.get("state") == "done"
        ],
    }
    write_atomic(book.path / FILE, json.dumps(table, ensure_ascii=False, indent=1) + "\n")


def _tell(plan: Planned, book: Book) -> None:
    """Say what is there, what is gone, and what an edition of the study before this had otherwise."""
    wanted = {**{one.name: one.content for one in plan.trainings}, **{c.name: c.key for c in plan.cells}}
    runs, cells = counted(len(plan.trainings), "training"), counted(len(plan.cells), "cell")
    say(f"Study {plan.study.name}, in {book.path}: {cells}, {runs}.")
    done = {name: one for name, one in book.folders.items() if one.get("state") == "done"}
    kept = [name for name, key in wanted.items() if book.is_done(name, key)]
    gone = [name for name in kept if not plan.folder(name).scores.exists()]
    if gone:
        say(f"Deleted, and made again: {some(gone, SHOWN)}.")
    changed = [name for name, key in wanted.items() if name in done and not book.is_done(name, key)]
    if changed:
        recipes = {c.name: c.recipe for c in plan.cells} | {t.name: t.recipe for t in plan.trainings}
        keys = _changed(plan.folder(changed[0]).recipe, recipes[changed[0]])
        say(
            f"The study was edited ({some(keys, SHOWN)}). Made again: {some(changed, SHOWN)}; still valid: "
            f"{counted(len(kept), 'folder')}."
        )
    unknown = [name for name in done if name not in wanted]
    if unknown and not plan.layout.next:  # of a design that grows they may come yet
        say(f"No cells of this study any more, and left where they are: {some(unknown, SHOWN)}.")


def _changed(file: Path, recipe: Recipe) -> list[str]:
    """Return in words how a folder's recipe was another one; what its files hold where it was not."""
    try:
        before = load_recipe(file)
    except EspalierError:
        return ["its recipe cannot be read"]
    tables = before.model_dump(mode="json"), recipe.model_dump(mode="json")
    found = [one for one in differences(tables, ({}, {})) if one.name not in ("name", "folder")]
    return [str(one) for one in found] or ["what a file of its task holds"]


def is_complete(plan: Planned, book: Book, training: Training) -> bool:
    """Say whether all of a training's cells are done, and are there as they were."""
    wanted = [(training.name, training.content, training.recipe)]
    wanted += [(cell.name, cell.key, cell.recipe) for cell in training.cells]
    return all(stands(plan, book, *one) for one in wanted)


def stands(plan: Planned, book: Book, name: str, key: str, recipe: Recipe) -> bool:
    """Say whether a folder is done, and is there as it was."""
    folder = plan.folder(name)
    if not (book.is_done(name, key) and folder.scores.exists()):
        return False
    return folder.recipe.exists() and folder.recipe.read_bytes() == recipe.to_toml().encode()


def _within(plan: Planned, book: Book, longest: float, done: int) -> None:
    """Refuse to begin what the budget does not hold. Raises RunError."""
    if plan.study.budget is None or (budget := 60 * plan.study.budget) >= book.seconds + longest:
        return
    took = (
        f"one training with its cells takes {spelt(longest)}"
        if longest
        else f"{spelt(book.seconds)} are spent"
    )
    what = "is below one training" if longest > budget else "does not hold the next training"
    raise RunError(
        f"The budget of {plan.study.budget:g} minutes {what}: {took}; {done} of "
        f"{counted(len(plan.trainings), 'training')} are done.",
        where=str(book.path),
        hint="Raise budget, and the same command goes on; or take fewer levels or seeds.",
    )


def _train(plan: Planned, book: Book, training: Training, cache: Path) -> None:
    """Do the run of a training, if it is not done."""
    name = training.name
    if stands(plan, book, name, training.content, training.recipe):
        return
    known = book.folders.get(name, {})
    ours = known.get("state") == "done" and known.get("key") != training.content
    if ours and known.get("kind") == "evaluation" and plan.folder(name).path.exists():
        set_aside(plan.folder(name).path)
    _started(training, cache, way="keep" if ours else "refuse")
    _done(plan, book, name, training.content, "run")


def _started(training: Training, cache: Path, way: Literal["keep", "refuse"]) -> None:
    try:
        start(training.recipe, cache, way=way)
    except RunError as error:
        if "of another recipe" not in error.message:
            raise
        raise RunError(
            f"The cell differs from the others in more than its factors. {error.message}",
            where=error.where,
            hint="Move or remove that run: the study makes its own.",
        ) from None


def _evaluate(plan: Planned, book: Book, training: Training, cache: Path) -> None:
    """Ask a training's model all that is not asked yet, at once."""
    left = [cell for cell in training.cells if not stands(plan, book, cell.name, cell.key, cell.recipe)]
    for cell in left:
        folder = plan.folder(cell.name)
        if book.folders.get(cell.name, {}).get("kind") == "run" and folder.path.exists():
            set_aside(folder.path)
    evaluate_together([Evaluation(cell.recipe, whole=False) for cell in left], cache)
    for cell in left:
        _done(plan, book, cell.name, cell.key, "evaluation")


def _done(plan: Planned, book: Book, name: str, key: str, kind: Kind) -> None:
    book.folders[name] = {"name": name, "key": key, "kind": kind, "state": "done"}
    write(plan, book)


def steps_of(plan: Planned) -> list[tuple[int, int]]:
    """Return of each training its steps, and how many of them were taken from a smaller size."""
    return [_counted(plan.folder(training.name).read_events()) for training in plan.trainings]


def _counted(events: Sequence[Mapping[str, Any]]) -> tuple[int, int]:
    """Return how many steps a run did, those done again after a kill once, and how many it took."""
    done, taken = dict[str, int](), dict[str, int]()  # by stage
    for event in events:
        stage, step = event.get("stage", "train"), event.get("step", 0)
        match event.get("event"):
            case "train":  # begins behind this step, whatever was told before
                done[stage], taken[stage] = step, min(taken.get(stage, 0), step)
            case "step":
                done[stage] = step
            case "trunk":
                taken[stage] = step
            case _:
                pass
    return sum(done.values()), sum(taken.values())


def trained_here(plan: Planned) -> int:
    """Return how many trainings were done, and not taken from a run that had done the same."""
    events = [plan.folder(training.name).read_events() for training in plan.trainings]
    return sum(not any(event.get("event") == "taken" for event in own) for own in events)
