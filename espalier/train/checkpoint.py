"""Checkpoints from which a run goes on exactly: trained weights, optimizer, step, random states, recipe.

A checkpoint is a folder `step-000040/`. It is written under another name, synced and then renamed, and only
then is the one before it removed: a kill or a full disk at any moment leaves the last good one. Tensors are
in safetensors and the rest is JSON; nothing is unpickled.
"""

from __future__ import annotations

import json
import os
import random
import shutil
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from espalier.core.errors import CheckpointError, DataError
from espalier.core.files import content_hash, disk_hint, read_json

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from torch import Tensor, nn
    from torch.optim import Optimizer

PREFIX = "step-"
PARTIAL = ".partial-"


def save(folder: Path, step: int, model: nn.Module, optimizer: Optimizer, recipe: Mapping[str, Any]) -> Path:
    """Write the state after `step` steps into `folder` and return its path; older checkpoints are removed.

    Raises:
        CheckpointError: it cannot be written; the last good one stands.
    """
    final = folder / f"{PREFIX}{step:06d}"
    partial = folder / f"{PARTIAL}{step:06d}"
    state = {"step": step, "recipe": dict(recipe), "hash": content_hash(recipe), "python": random.getstate()}
    try:
        partial.mkdir(parents=True, exist_ok=True)
        save_file(_tensors(model, optimizer), partial / "state.safetensors")
        (partial / "state.json").write_text(json.dumps(state, default=str), encoding="utf-8")
        for path in (partial / "state.safetensors", partial / "state.json", partial):
            _sync(path)
        shutil.rmtree(final, ignore_errors=True)
        partial.rename(final)
        _sync(folder)
    except (OSError, SafetensorError) as error:
        shutil.rmtree(partial, ignore_errors=True)
        raise _unwritten(error, final) from None
    for entry in folder.iterdir():
        if entry != final and entry.name.startswith((PREFIX, PARTIAL)):
            shutil.rmtree(entry, ignore_errors=True)
    return final


def latest(folder: Path) -> Path | None:
    """Return the newest complete checkpoint in a folder, or None."""
    return max(folder.glob(f"{PREFIX}*"), default=None)


def restore(path: Path, model: nn.Module, optimizer: Optimizer, recipe: Mapping[str, Any]) -> int:
    """Put a checkpoint's state into the model, the optimizer and the random generators; return its step.

    Raises:
        CheckpointError: it is of another recipe (what differs is named), of another model, or damaged.
    """
    try:
        state = read_json(path / "state.json")
        tensors = load_file(path / "state.safetensors")
    except (DataError, OSError, SafetensorError) as error:
        raise CheckpointError(
            f"The checkpoint is damaged: {error}", where=str(path), hint="Remove it to start again."
        ) from None
    _check_recipe(path, state, recipe)
    names = {f"weights/{name}": weight for name, weight in _trained(model).items()}
    found = {name: tensor for name, tensor in tensors.items() if name.startswith("weights/")}
    if {name: weight.shape for name, weight in names.items()} != {n: t.shape for n, t in found.items()}:
        raise CheckpointError("The checkpoint is of another model or method.", where=str(path))
    with torch.no_grad():
        for name, weight in names.items():
            weight.copy_(found[name])
    _restore_optimizer(model, optimizer, tensors)
    _restore_random(state, tensors)
    return int(state["step"])


def _trained(model: nn.Module) -> dict[str, nn.Parameter]:
    return {name: weight for name, weight in model.named_parameters() if weight.requires_grad}


def _tensors(model: nn.Module, optimizer: Optimizer) -> dict[str, Tensor]:
    """Return all tensors of the state by name: random/…, weights/NAME, optimizer/KEY/NAME."""
    tensors: dict[str, Tensor] = {"random/torch": torch.get_rng_state()}
    trained = _trained(model)
    device = next(iter(trained.values())).device
    if device.type == "cuda":
        tensors["random/cuda"] = torch.cuda.get_rng_state(device)
    kind, keys, position, has_gauss, gauss = cast("tuple[str, Any, int, int, float]", np.random.get_state())
    assert kind == "MT19937"
    tensors["random/numpy"] = torch.from_numpy(np.array([*keys, position, has_gauss], np.int64))
    tensors["random/numpy-gauss"] = torch.tensor(gauss, dtype=torch.float64)
    for name, weight in trained.items():
        tensors[f"weights/{name}"] = weight.detach().contiguous()
        for key, value in optimizer.state[weight].items():
            tensors[f"optimizer/{key}/{name}"] = value.contiguous()
    return tensors


def _restore_optimizer(model: nn.Module, optimizer: Optimizer, tensors: Mapping[str, Tensor]) -> None:
    trained = _trained(model)
    for name, tensor in tensors.items():
        part, _, rest = name.partition("/")
        if part == "optimizer":
            key, _, weight_name = rest.partition("/")
            weight = trained[weight_name]
            optimizer.state[weight][key] = tensor.to(weight.device)


def _restore_random(state: Mapping[str, Any], tensors: Mapping[str, Tensor]) -> None:
    version, internal, gauss = state["python"]
    random.setstate((version, tuple(internal), gauss))
    *keys, position, has_gauss = tensors["random/numpy"].tolist()
    numpy_gauss = float(tensors["random/numpy-gauss"])
    np.random.set_state(("MT19937", np.array(keys, np.uint32), position, has_gauss, numpy_gauss))
    torch.set_rng_state(tensors["random/torch"])
    if "random/cuda" in tensors and torch.cuda.is_available():
        torch.cuda.set_rng_state(tensors["random/cuda"])


def _check_recipe(path: Path, state: Mapping[str, Any], recipe: Mapping[str, Any]) -> None:
    if state["hash"] == content_hash(recipe):
        return
    old, new = _flat(state["recipe"]), _flat(json.loads(json.dumps(dict(recipe), default=str)))
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


def _flat(value: object, path: str = "") -> dict[str, object]:
    """Return the leaves of nested tables by their dotted path."""
    if not isinstance(value, dict):
        return {path: value}
    table = cast("dict[str, object]", value)
    inner = [_flat(item, f"{path}.{key}" if path else key) for key, item in table.items()]
    return {name: item for leaves in inner for name, item in leaves.items()}


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _unwritten(error: OSError | SafetensorError, path: Path) -> CheckpointError:
    why = error.strerror if isinstance(error, OSError) else str(error)
    hint = disk_hint(error) if isinstance(error, OSError) else ""
    return CheckpointError(
        f"The checkpoint cannot be written: {why}.",
        where=str(path),
        hint=hint or "Free some space and run the same command again; the last good checkpoint stands.",
    )
