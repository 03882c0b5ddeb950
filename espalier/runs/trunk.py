"""What trainings of nested sizes have in common is computed once.

Under `train.order = "nested"` the steps of a smaller set are the first of a larger one's
(`encode/batches.py`), and with a constant rate and one epoch so are the weights. A training leaves its state
after its last full step, under the hash of all that led there; a larger one goes on from the longest such
state that it would have come to itself, to the same bits. The journal says where states are; their files stay
with their runs.
"""

from __future__ import annotations

import json
import shutil
from itertools import accumulate
from typing import TYPE_CHECKING

from espalier.core.errors import CheckpointError
from espalier.core.files import content_hash
from espalier.core.run import RunFolder, installed
from espalier.encode.tokens import unit_hashes
from espalier.runs.events import say
from espalier.runs.taken import link_file
from espalier.train.checkpoint import latest, newest_whole, save

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Any

    from torch import nn
    from torch.optim import Optimizer

    from espalier.core.journal import Journal
    from espalier.core.recipe import Recipe, TrainSection
    from espalier.encode.tokens import Unit
    from espalier.runs.plan import Stage
    from espalier.train.states import Keep

FOLDER = "trunk"


def why_alone(section: TrainSection, *, dev: bool, apart: bool = True) -> str:
    """Return why a stage shares no steps with those of nested sizes, as a sentence goes on; '' where it does.

    Args:
        section: of the recipe.
        dev: whether rows are held out of the training rows.
        apart: whether each step depends on its own rows alone, see `Objective.apart`.
    """
    rules = {
        'train.order is not "nested"': section.order != "nested",
        'train.schedule is not "constant"': section.schedule != "constant",
        "train.warmup is not 0": section.warmup != 0,
        "train.epochs is not 1": section.epochs != 1,
        "data.dev holds rows out, by which the weights are chosen": dev,
        "train.keep keeps states of a whole training": bool(section.keep),
        "an objective's step depends on other steps' rows": not apart,
    }
    return next((why for why, holds in rules.items() if holds), "")


def alone_as(recipe: Recipe) -> str:
    """Return why a recipe's runs of nested sizes share no steps, as far as it tells; '' where they do."""
    if len(recipe.train) != 1:
        return "the recipe has several stages"
    return why_alone(recipe.train[0], dev=bool(recipe.data.dev))


def alone(stage: Stage) -> str:
    """Return why a stage of a run shares no steps; '' where it does."""
    apart = all(objective.apart and not objective.rewards for objective, _ in stage.shared)
    return why_alone(stage.section, dev=bool(stage.heldout), apart=apart)


def go_on(
    run: RunFolder, stage: Stage, determined: Mapping[str, Any], keys: Sequence[str], store: Journal
) -> None:
    """Take the longest state that the stage would have come to as its checkpoint, where it has none.

    `keys` are those of `step_keys`.
    """
    checkpoints = stage.folder / "checkpoints"
    if latest(checkpoints):
        return
    for step, key in reversed([*enumerate(keys, start=1)]):
        for known in store.under(f"trunk:{key}:").values():
            other = RunFolder(run.path.parent / known["run"])
            if other.path == run.path:
                continue
            try:
                path, _ = newest_whole(other.path / known["folder"])
            except CheckpointError as error:
                say(f"{error} Its steps are trained again: {other.path / known['folder']}")
                continue
            if path is None or path.name != known["name"]:
                continue
            for event in other.read_events():
                same = event.get("event") == "step" and event.get("stage") == known["stage"]
                if same and event["step"] <= step:
                    run.log({**event, "stage": stage.name})
            run.log({"event": "trunk", "stage": stage.name, "run": known["run"], "step": step})
            _adopt(path, checkpoints, determined)  # last: a kill before it leaves no steps untold
            say(f"The first {step} steps were done in {other.path}: training goes on from there.")
            return


def leaving(
    run: RunFolder,
    stage: Stage,
    determined: Mapping[str, Any],
    keys: Sequence[str],
    model: nn.Module,
    store: Journal,
) -> Keep:
    """Return what writes down the state after the last full step; see `go_on`."""
    folder = stage.folder / FOLDER

    def keep(step: int, norm: float, optimizer: Optimizer) -> None:
        if step != len(keys):
            return
        path = save(folder, step, model, optimizer, determined)
        where = {
            "run": run.path.name,
            "stage": stage.name,
            "folder": str(folder.relative_to(run.path)),
            "name": path.name,
        }
        store.add({f"trunk:{keys[-1]}:{content_hash(where)}": where})

    return keep


def step_keys(stage: Stage, determined: Mapping[str, Any], units: Sequence[Unit]) -> list[str]:
    """Return the hash of all that the weights depend on after each full step, the first one's first."""
    size = stage.section.rows
    rows = unit_hashes(units)
    rest = {key: value for key, value in determined.items() if key != "rows"}
    begun = content_hash([rest, installed()])
    taken = (rows[start : start + size] for start in range(0, len(rows) - size + 1, size))
    return [*accumulate(taken, lambda key, step: content_hash([key, step]), initial=begun)][1:]


def _adopt(path: Path, checkpoints: Path, determined: Mapping[str, Any]) -> None:
    """Make another run's state a checkpoint of a stage, which is determined so."""
    checkpoints.mkdir(parents=True, exist_ok=True)
    partial = checkpoints / f".adopted-{path.name}"
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    for file in path.glob("*.safetensors"):
        link_file(file, partial / file.name)
    state = json.loads((path / "state.json").read_text(encoding="utf-8"))
    state |= {"recipe": dict(determined), "hash": content_hash(determined)}
    (partial / "state.json").write_text(json.dumps(state, default=str), encoding="utf-8")
    partial.rename(checkpoints / path.name)
