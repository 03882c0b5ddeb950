"""A run with nothing left to do, known by its files: nothing is loaded or built to see that, torch neither.

`finished.json` holds the hashes of all that went into it and of all that came out. Where each is still what
it was, the same command has nothing to do, and what the recipe names was tried by the run that was finished.
Else it goes the long way, which says what differs.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.errors import EspalierError
from espalier.core.files import content_hash, damage, file_sha256, read_json, write_atomic
from espalier.core.records import ALONE
from espalier.core.run import installed, open_run, run_at, stage_name
from espalier.models.files import CONFIG, weight_files
from espalier.models.places import Place, find_model, weights_of
from espalier.runs.prepare import stage_rows

if TYPE_CHECKING:
    from espalier.core.recipe import Recipe
    from espalier.core.records import Example, Ranks
    from espalier.core.run import RunFolder
    from espalier.runs.plan import Choices
    from espalier.runs.prepare import Prepared

# What `finished.json` vouches for besides the models; the log and the report are no part of the result.
KEPT = (
    "recipe.toml",
    "provenance.json",
    "precision.json",
    "stages.json",
    "rejects.jsonl",
    "generations.jsonl",
)
RESULTS = ("outputs.jsonl", "scores.json", "data/train.parquet", "data/test.parquet", "data/dev.parquet")
SMALL = 1 << 26  # bytes: what is larger in a model's folder is weights


def mark_finished(run: RunFolder, choices: Choices, cache: Path, server: str = "") -> None:
    """Write down what went into a run that is done, and what came out, where files tell all of it."""
    if _closed(choices):
        table = {"inputs": _inputs(choices.recipe, choices.prepared, cache, server), "files": _outputs(run)}
        write_atomic(run.path / "finished.json", json.dumps(table, indent=1) + "\n")


def is_finished(
    run: RunFolder,
    recipe: Recipe,
    prepared: Prepared,
    cache: Path,
    ranks: Ranks = ALONE,
    *,
    trains: bool = True,
    server: str = "",
) -> bool:
    """Say whether all is still what it was when the run was done, or what is scored without training."""
    file = run.path / "finished.json"
    if not file.exists() or ranks.size > 1:
        return False
    try:
        if run.recipe.read_bytes() != recipe.to_toml().encode():  # it lies elsewhere now
            return False
        known: Any = read_json(file)
        with open_run(run.path):
            now = {"inputs": _inputs(recipe, prepared, cache, server), "files": _outputs(run)}
            return known == now and not (trains and _damaged(run, recipe))
    except (EspalierError, OSError):  # the long way says what it is
        return False


def _closed(choices: Choices) -> bool:
    """Whether nothing takes part that is no file of the run: code from outside, another run, a tracker."""
    recipe = choices.recipe
    kinds = [choice.kind for choice in recipe.evaluate]
    kinds += [
        choice.kind for stage in recipe.train for choice in (*stage.objective, stage.method, stage.optimizer)
    ]
    return not recipe.track and not any(
        ":" in kind for kind in (*kinds, recipe.decode.kind, *choices.rewarded)
    )


def _inputs(recipe: Recipe, prepared: Prepared, cache: Path, server: str = "") -> dict[str, Any]:
    return {
        "recipe": recipe.hash,
        "task": prepared.hash,
        "rows": content_hash([*stage_rows(recipe, prepared), [_asks(e) for e in prepared.test]]),
        "packages": installed(),
        **({"server": server} if server else _files_of(recipe.model.name, cache)),
    }


def _asks(example: Example) -> list[str]:
    return [example.id, *(f"{turn.role}: {turn.text}" for turn in example.prompt)]


def _files_of(model: str, cache: Path) -> dict[str, Any]:
    place = _place(model, cache)
    folders = [Path(folder) for folder in dict.fromkeys((place.root, place.folder))]
    files = [path for folder in folders for path in sorted(folder.iterdir()) if path.is_file()]
    small = [path for path in files if path not in weight_files(path.parent)]
    return {
        "weights": weights_of(place),
        "model": {path.name: file_sha256(path) for path in small if path.stat().st_size < SMALL},
    }


def _place(name: str, cache: Path) -> Place:
    """Return where the recipe's model lies; that a plain folder fits was seen by the run that is finished."""
    folder = Path(name)
    whole = (folder / "config.json").exists() and not (folder / CONFIG).exists()
    return Place(name) if whole and run_at(folder) is None else find_model(name, cache)


def _outputs(run: RunFolder) -> dict[str, str]:
    names = [name for name in (*KEPT, *RESULTS) if (run.path / name).exists()]
    return {name: file_sha256(run.path / name) for name in names}


def _damaged(run: RunFolder, recipe: Recipe) -> bool:
    count = len(recipe.train)
    done = run.done(stage_name(count - 1, count))
    if recipe.train[-1].keep and not any((run.path / "influence").glob("*.safetensors")):
        return True
    return done is None or not done.files or not run.model.is_dir() or bool(damage(run.model, done.files))
