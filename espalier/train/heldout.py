"""The loss of rows that are held out of training, while it goes on, and the weights with which it was lowest.

An evaluation lies between two events of the loop. It is computed as a step's loss is: by the objectives
themselves, in prompt trees, as sums; but without noise, dropout or a gradient. It draws no random number and
moves no weight, so that a training with it is the same, bitwise, as one without.

What was found is in `checkpoints/heldout.json` and the best weights in `checkpoints/best-N.safetensors`. Both
are written before the checkpoint that follows, and the best of the last checkpoint stays until then: a killed
training goes on with the best so far and with the patience that is left.
"""

from __future__ import annotations

import json
import math
import time
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file

from espalier.core.errors import DataError
from espalier.core.files import read_json, sync, write_atomic
from espalier.core.records import ALONE, Ranks
from espalier.models.precision import autocast
from espalier.train.checkpoint import attempt, damaged
from espalier.train.parallel import on_all, on_first, reshard, share_of, split, sum_losses, whole

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch import nn

    from espalier.models.precision import Format
    from espalier.train.loop import Event, Forward
    from espalier.train.objectives import LossSum
    from espalier.train.steps import Step, Term

Found: TypeAlias = list[tuple[int, float]]  # of each evaluation the step and the loss
BEST = "best-"


@dataclass(frozen=True)
class HeldOut:
    """What is held out, and when it is looked at.

    Attributes:
        step: makes the work of one evaluation: all rows, in trees.
        every: optimizer steps between two evaluations.
        patience: evaluations in a row without a lower loss after which a training ends; 0 is never.
    """

    step: Callable[[], Step]
    every: int
    patience: int


def watched(
    events: Iterator[Event],
    model: nn.Module,
    heldout: HeldOut,
    folder: Path,
    *,
    forward: Forward,
    precision: Format,
    ranks: Ranks = ALONE,
) -> Iterator[Event]:
    """Yield the events of `train` in `folder`, after some steps one with the held-out loss, and a last one.

    They end where the patience does; `take_best` gives the model its best weights then. Every rank has to
    call it, and yields the same.

    Raises:
        CheckpointError, RunError: what was found cannot be read or written.
    """
    place, found, saved, steps = folder / "checkpoints", Found(), 0, 0
    for event in events:
        if event["event"] == "train":
            saved, steps = event["step"], event["steps"]
            found = on_first(partial(_read, place, saved, heldout.every), ranks)
        yield event
        if event["event"] == "checkpoint":
            saved = event["step"]
            on_first(partial(_remove_others, place, found, saved), ranks)
        elif event["event"] == "step" and (event["step"] % heldout.every == 0 or event["step"] == steps):
            begun = time.perf_counter()
            loss, counts = evaluate(model, heldout.step(), forward, precision, ranks)
            found.append((event["step"], loss))
            if _best(found) == found[-1]:
                _write_best(place, event["step"], model, ranks)
            on_first(partial(_keep, place, found, saved), ranks)
            told = {"event": "dev", "step": event["step"], "steps": steps, "loss": loss}
            yield {**told, **counts, "seconds": time.perf_counter() - begun}
            if heldout.patience and _waited(found) >= heldout.patience:
                break
    last = found[-1]
    step, loss = _best(found) or last
    told = {"event": "kept", "step": step, "steps": steps, "loss": loss}
    yield {**told, "last": last[0], "last_loss": last[1]}


@torch.no_grad()
def evaluate(
    model: nn.Module, step: Step, forward: Forward, precision: Format, ranks: Ranks = ALONE
) -> tuple[float, dict[str, int]]:
    """Return the loss over all rows of a step, and how many rows and tokens with loss these are.

    It is what a training step of these rows would tell: each objective's sum over its weight, times its
    share. Every rank has to call it, and gets the same.
    """
    step = split(step, ranks.size)
    training = model.training
    model.eval()
    sums: dict[Term, LossSum] = {}
    for tree, terms in share_of(step, ranks).work:
        with autocast(model, precision):
            edges = forward(model, tree)
        for term in terms:
            loss = term.loss(edges, tree)
            sums[term] = sums[term] + loss if term in sums else loss
    reshard(model)
    model.train(training)
    total = sum_losses(sums, step, ranks) if ranks.size > 1 else sums
    loss = sum(term.share * float(found.total) / max(found.weight, 1e-9) for term, found in total.items())
    tokens = sum(len(tree.weights) for tree, _ in step.work)
    return loss, {"rows": len(step.rows), "trained_tokens": tokens}


def take_best(model: nn.Module, folder: Path) -> None:
    """Give the model the best weights, where a loss was a number at all.

    Raises:
        CheckpointError: they cannot be read.
    """
    model.eval()
    trained = dict(model.named_parameters())
    for path in sorted((folder / "checkpoints").glob(f"{BEST}*"))[-1:]:  # each is better than those before it
        try:
            weights = load_file(path)
        except (OSError, SafetensorError) as error:
            raise damaged(path, str(error)) from None
        with torch.no_grad():
            for name, weight in weights.items():
                trained[name].copy_(weight)


def _best(found: Sequence[tuple[int, float]]) -> tuple[int, float] | None:
    """Return the first evaluation with the lowest loss; None where no loss is a number."""
    finite = [evaluation for evaluation in found if math.isfinite(evaluation[1])]
    return min(finite, key=lambda evaluation: evaluation[1], default=None)


def _waited(found: Found) -> int:
    """Return how many evaluations there were since the best one."""
    best = _best(found)
    return len(found) - (found.index(best) + 1 if best else 0)


def _path(place: Path, step: int) -> Path:
    return place / f"{BEST}{step:06d}.safetensors"


def _write_best(place: Path, step: int, model: nn.Module, ranks: Ranks) -> None:
    """Write the trained weights, in full; every rank has to call it. Raises CheckpointError."""
    path, first = _path(place, step), ranks.rank == 0
    tensors: dict[str, torch.Tensor] = {}
    for name, weight in model.named_parameters():
        if weight.requires_grad:
            full = whole(weight.detach())
            if first:
                tensors[name] = full.cpu().contiguous()

    def write() -> None:
        unfinished = path.with_name(f".{path.name}")
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            save_file(tensors, unfinished)
            sync(unfinished)
            unfinished.rename(path)
            sync(path.parent)
        finally:
            unfinished.unlink(missing_ok=True)

    on_all(partial(attempt, write, first, path), ranks)


def _keep(place: Path, found: Found, saved: int) -> None:
    """Write down what was found, and remove what that makes needless. Raises RunError."""
    write_atomic(place / "heldout.json", json.dumps([(step, str(loss)) for step, loss in found]) + "\n")
    _remove_others(place, found, saved)


def _remove_others(place: Path, found: Found, saved: int) -> None:
    """Remove weights that are neither the best of all nor the best of the last checkpoint's step."""
    bests = (_best(found), _best([evaluation for evaluation in found if evaluation[0] <= saved]))
    kept = [_path(place, best[0]) for best in bests if best]
    for path in place.glob(f"{BEST}*"):
        if path not in kept:
            path.unlink(missing_ok=True)


def _read(place: Path, step: int, every: int) -> Found:
    """Return the evaluations up to a step. Raises CheckpointError where they are not there."""
    if step < every:
        return []
    path = place / "heldout.json"
    try:
        table: Any = read_json(path)
        found = [(int(number), float(loss)) for number, loss in table if number <= step]
    except (DataError, TypeError, ValueError) as error:
        raise damaged(path, str(error)) from None
    best = _best(found)
    if not found or (best and not _path(place, best[0]).exists()):
        raise damaged(path, "the best weights are not there.")
    return found
