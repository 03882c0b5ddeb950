"""What a run folder holds of an earlier start, and how that is put out of the way.

A folder whose `recipe.toml` or `provenance.json` is damaged is still a run's. What can be written again from
the recipe at hand is; what then stays unknown is taken for another one.
"""

from __future__ import annotations

import os
import re
import shutil
import tomllib
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError, EspalierError, RunError
from espalier.core.files import disk_hint, read_json, read_text
from espalier.core.recipe import parse_recipe

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from espalier.core.identity import Difference
    from espalier.core.recipe import Recipe
    from espalier.core.run import RunFolder

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


def standing_in(run: RunFolder, recipe: Recipe) -> Standing | None:
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
    known = read_provenance(run)
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


def read_provenance(run: RunFolder) -> dict[str, Any]:
    """Return what provenance.json holds; {} where it is missing or damaged."""
    try:
        found: object = read_json(run.provenance)
    except DataError:
        return {}
    table = cast("dict[str, Any]", found if isinstance(found, dict) else {})
    return table if isinstance(table.get("inputs"), dict) else {}


def set_aside(path: Path) -> Path:
    """Give a run's folder its name with a number, and return that. Raises RunError."""
    kept = free_name(path)
    try:
        path.rename(kept)
    except OSError as error:
        raise RunError(
            f"The earlier run cannot be kept as {kept}: {error.strerror}.", where=str(path)
        ) from None
    return kept


def free_name(path: Path) -> Path:
    """Return the first of NAME.1, NAME.2, … that does not exist."""
    return next(name for n in count(1) if not os.path.lexists(name := path.with_name(f"{path.name}.{n}")))


def move_results(run: RunFolder) -> Path:
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


def forget(run: RunFolder, standing: Standing, found: Sequence[Difference]) -> None:
    """Remove what the earlier recipe has made, but for stages of the training before the first difference."""
    run.provenance.unlink(missing_ok=True)
    for name in RESULTS:
        (run.path / name).unlink(missing_ok=True)
    for folder in ("model", "checkpoints", "export", "influence"):
        shutil.rmtree(run.path / folder, ignore_errors=True)
    count = len(standing.recipe.train) if standing.recipe else 0
    changed = [re.match(r"train\.(\d+)\.", d.name) for d in found if d.reach == "model"]
    first = min((int(match[1]) if match else 0 for match in changed), default=0)
    if first == 0:
        run.stages.unlink(missing_ok=True)
        shutil.rmtree(run.path / "stages", ignore_errors=True)
    for number in range(first, count):
        run.forget(f"train {number}")
        shutil.rmtree(run.path / "stages" / str(number), ignore_errors=True)
