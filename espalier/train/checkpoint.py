"""Checkpoints from which a run goes on exactly: trained weights, optimizer, step, random states, recipe.

A checkpoint is a folder `step-000040/`. It is written under another name, synced and then renamed, and only
then is the one before it removed: a kill or a full disk at any moment leaves the last good one. Tensors are
in safetensors and the rest is JSON; nothing is unpickled.

Where ranks hold a share of each weight (`train/parallel.py`), each writes its own rows into a file of its
own, and rank 0 gives the folder its name once all have. The rows of all files, one after the other, are the
whole, so that any number of ranks goes on from any other. Otherwise rank 0 writes one file. The folder must
be one that all ranks see.
"""

from __future__ import annotations

import json
import random
import shutil
from contextlib import ExitStack
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch.distributed.tensor import DTensor, Shard

from espalier.core.errors import CheckpointError, DataError
from espalier.core.files import content_hash, disk_hint, read_json, sync
from espalier.core.identity import flat
from espalier.core.records import ALONE, Ranks
from espalier.train.parallel import gathered, on_all

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from pathlib import Path

    from torch import Tensor, nn
    from torch.optim import Optimizer

    # The rows of one tensor, as the files hold them: what `safe_open(…).get_slice(name)` returns.
    Rows: TypeAlias = list[Any]

PREFIX = "step-"
PARTIAL = ".partial-"


def save(
    folder: Path,
    step: int,
    model: nn.Module,
    optimizer: Optimizer,
    recipe: Mapping[str, Any],
    ranks: Ranks = ALONE,
) -> Path:
    """Write the state after `step` steps into `folder` and return its path; older checkpoints are removed.

    Every rank has to call it.

    Raises:
        CheckpointError: this rank or another cannot write it; the last good one stands.
    """
    final = folder / f"{PREFIX}{step:06d}"
    unfinished = folder / f"{PARTIAL}{step:06d}"
    first = ranks.rank == 0
    random_states = gathered(_random_tensors(model), ranks)
    state = {"step": step, "files": ranks.size if ranks.sharded else 1, "python": random.getstate()}
    state |= {"recipe": dict(recipe), "hash": content_hash(recipe)}

    def begin() -> None:
        shutil.rmtree(unfinished, ignore_errors=True)  # of a killed run, which may have had more ranks
        unfinished.mkdir(parents=True)

    def write() -> None:
        path = unfinished / (f"state-{ranks.rank:05d}.safetensors" if ranks.sharded else "state.safetensors")
        tensors = _held_tensors(model, optimizer, first)
        for rank, own in enumerate(random_states if first else ()):
            tensors |= {f"random/{rank}/{name}": tensor for name, tensor in own.items()}
        save_file(tensors, path)
        sync(path)

    def publish() -> None:
        (unfinished / "state.json").write_text(json.dumps(state, default=str), encoding="utf-8")
        sync(unfinished / "state.json")
        sync(unfinished)
        shutil.rmtree(final, ignore_errors=True)
        unfinished.rename(final)
        sync(folder)

    try:
        for act, here in ((begin, first), (write, first or ranks.sharded), (publish, first)):
            on_all(partial(attempt, act, here, final), ranks)
    except CheckpointError:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise
    if first:
        _remove_others(folder, final)
    return final


def latest(folder: Path) -> Path | None:
    """Return the newest complete checkpoint in a folder, or None."""
    return max(folder.glob(f"{PREFIX}*"), default=None)


def newest_whole(folder: Path) -> tuple[Path | None, list[str]]:
    """Return the newest checkpoint that is whole, and what is wrong with those that are newer.

    Raises:
        CheckpointError: there are some, and all are damaged.
    """
    found = sorted(folder.glob(f"{PREFIX}*"), reverse=True)
    flaws: list[str] = []
    for path in found:
        try:
            with ExitStack() as files:
                _open(path, files)
            return path, flaws
        except (DataError, OSError, SafetensorError) as error:
            flaws.append(f"{path}: {error}")
    if found:
        raise damaged(found[0], flaws[0].removeprefix(f"{found[0]}: "))
    return None, []


def restore(
    path: Path,
    model: nn.Module,
    optimizer: Optimizer,
    recipe: Mapping[str, Any],
    ranks: Ranks = ALONE,
) -> int:
    """Put a checkpoint's state into the model, the optimizer and the random generators; return its step.

    Every rank has to call it. How many wrote it does not matter; one that was not among them keeps its own
    random numbers.

    Raises:
        CheckpointError: it is of another recipe (what differs is named), of another model, or damaged.
    """
    return on_all(partial(_restore, path, model, optimizer, recipe, ranks.rank), ranks)


def _restore(path: Path, model: nn.Module, optimizer: Optimizer, recipe: Mapping[str, Any], rank: int) -> int:
    trained = _trained(model)
    try:
        with ExitStack() as files:
            state, rows = _open(path, files)
            _check_recipe(path, state, recipe)
            shapes = {f"weights/{name}": list(weight.shape) for name, weight in trained.items()}
            if shapes != {name: _shape(parts) for name, parts in rows.items() if name.startswith("weights/")}:
                raise CheckpointError("The checkpoint is of another model or method.", where=str(path))
            _restore_tensors(trained, optimizer, rows)
            _restore_random(state, rows, rank)
    except (DataError, OSError, SafetensorError) as error:
        raise damaged(path, str(error)) from None
    return int(state["step"])


def _open(path: Path, files: ExitStack) -> tuple[dict[str, Any], dict[str, Rows]]:
    """Return a checkpoint's state and the rows of its tensors, with its files open and their sizes checked.

    Raises:
        DataError, OSError, SafetensorError: it is damaged.
    """
    state: Any = read_json(path / "state.json")
    if not (isinstance(state, dict) and {"step", "files", "python", "recipe", "hash"} <= state.keys()):
        raise DataError("state.json is not one of a checkpoint.")
    found = sorted(path.glob("state*.safetensors"))
    if len(found) != state["files"]:
        raise DataError(f"it has {len(found)} of {state['files']} files.")
    rows: dict[str, Rows] = {}
    for file in found:
        opened: Any = files.enter_context(safe_open(file, "pt"))
        for name in opened.keys():  # noqa: SIM118 (it is no dict)
            rows.setdefault(name, []).append(opened.get_slice(name))
    return state, rows


def damaged(path: Path, why: str) -> CheckpointError:
    """Return the error of a checkpoint, or of what lies beside it, that cannot be read."""
    return CheckpointError(
        f"The checkpoint is damaged: {why}", where=str(path), hint="Remove it to start again."
    )


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _held_tensors(model: nn.Module, optimizer: Optimizer, first: bool) -> dict[str, Tensor]:
    """Return what this rank writes, as weights/NAME and optimizer/KEY/NAME; the first also what is whole."""
    tensors: dict[str, Tensor] = {}
    for name, weight in _trained(model).items():
        tensors[f"weights/{name}"] = weight.detach()
        for key, value in optimizer.state[weight].items():
            if isinstance(value, torch.Tensor):
                tensors[f"optimizer/{key}/{name}"] = value
            else:
                tensors[f"number/{key}/{name}"] = _number(key, value)
    held: dict[str, Tensor] = {}
    written: set[int] = set()
    for name, tensor in tensors.items():
        if isinstance(tensor, DTensor):
            assert tensor.placements == (Shard(0),)
            held[name] = tensor.to_local().contiguous()
        elif first:
            # A tensor that weights share, such as the levels of 8-bit numbers, is written for each of them.
            held[name] = tensor.clone() if tensor.data_ptr() in written else tensor.contiguous()
            written.add(tensor.data_ptr())
    return held


def _number(key: str, value: object) -> Tensor:
    """Return a number of an optimizer's state as a tensor. Raises CheckpointError for anything else."""
    if isinstance(value, int | float):
        return torch.tensor(value, dtype=torch.int64 if isinstance(value, int) else torch.float64)
    raise CheckpointError(
        f"The optimizer keeps a {type(value).__name__} as '{key}', which cannot be saved.",
        where="train.optimizer",
    )


def _random_tensors(model: nn.Module) -> dict[str, Tensor]:
    """Return this process's random states, besides Python's."""
    kind, keys, position, has_gauss, gauss = cast("tuple[str, Any, int, int, float]", np.random.get_state())
    assert kind == "MT19937"
    tensors = {
        "torch": torch.get_rng_state(),
        "numpy": torch.from_numpy(np.array([*keys, position, has_gauss], np.int64)),
        "numpy-gauss": torch.tensor(gauss, dtype=torch.float64),
    }
    device = next(iter(_trained(model).values())).device
    if device.type == "cuda":
        tensors["cuda"] = torch.cuda.get_rng_state(device)
    return tensors


def _shape(parts: Rows) -> list[int]:
    """Return the shape of a saved tensor over all files."""
    first: list[int] = parts[0].get_shape()
    return [sum(part.get_shape()[0] for part in parts), *first[1:]] if first else first


def _share_of(weight: Tensor, parts: Rows) -> Tensor:
    """Return a saved tensor of a weight: this rank's share of it, where the weight is shared out as well."""
    if not (isinstance(weight, DTensor) and list(weight.shape) == _shape(parts)):
        return torch.cat([part[:] for part in parts]) if parts[0].get_shape() else parts[0][...].clone()
    size = -(-len(weight) // weight.device_mesh.size())
    start = size * weight.device_mesh.get_local_rank()
    pieces: list[Tensor] = []
    for part in parts:
        pieces.append(part[max(start, 0) : max(start + size, 0)])
        start -= part.get_shape()[0]
    local = torch.cat(pieces).to(weight.device)
    return DTensor.from_local(
        local, weight.device_mesh, weight.placements, shape=weight.shape, stride=weight.stride()
    )


@torch.no_grad()
def _restore_tensors(
    trained: Mapping[str, nn.Parameter], optimizer: Optimizer, rows: Mapping[str, Rows]
) -> None:
    for path, parts in rows.items():
        match path.split("/", 2):
            case ["weights", *name]:
                weight = trained["/".join(name)]
                weight.copy_(_share_of(weight, parts))
            case ["optimizer", key, name]:
                weight = trained[name]
                optimizer.state[weight][key] = _share_of(weight, parts).to(weight.device)
            case ["number", key, name]:
                optimizer.state[trained[name]][key] = parts[0][...].item()
            case _:
                pass


def _restore_random(state: Mapping[str, Any], rows: Mapping[str, Rows], rank: int) -> None:
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    own = {
        name: parts[0][...]
        for path, parts in rows.items()
        if (name := path.removeprefix(f"random/{rank}/")) != path
    }
    if not own:
        return
    *keys, position, has_gauss = own["numpy"].tolist()
    np.random.set_state(
        ("MT19937", np.array(keys, np.uint32), position, has_gauss, float(own["numpy-gauss"]))
    )
    torch.set_rng_state(own["torch"])
    if "cuda" in own and torch.cuda.is_available():
        torch.cuda.set_rng_state(own["cuda"])


def _check_recipe(path: Path, state: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    if state["hash"] == content_hash(recipe):
        return
    old, new = flat(state["recipe"]), flat(json.loads(json.dumps(dict(recipe), default=str)))
    changed = [
        f"{key} ({old.get(key)} before, {new.get(key)} now)"
        for key in sorted({**old, **new})
        if old.get(key) != new.get(key)
    ]
    raise CheckpointError(
        f"The checkpoint is of another recipe: {', '.join(changed) or 'the hashes differ'}.",
        where=str(path),
        hint="Change it back to go on, remove the checkpoints to start again, or give the run another name.",
    )


def attempt(act: Callable[[], None], here: bool, path: Path) -> None:
    """Do what writes a file of this path, if it is to be done here. Raises CheckpointError."""
    try:
        if here:
            act()
    except (OSError, SafetensorError) as error:
        raise _unwritten(error, path) from None


def _remove_others(folder: Path, kept: Path) -> None:
    for entry in folder.iterdir():
        if entry != kept and entry.name.startswith((PREFIX, PARTIAL)):
            shutil.rmtree(entry, ignore_errors=True)


def _unwritten(error: OSError | SafetensorError, path: Path) -> CheckpointError:
    why = error.strerror if isinstance(error, OSError) else str(error)
    hint = disk_hint(error) if isinstance(error, OSError) else ""
    return CheckpointError(
        f"The checkpoint cannot be written: {why}.",
        where=str(path),
        hint=hint or "Free some space and run the same command again; the last good checkpoint stands.",
    )
