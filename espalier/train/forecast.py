"""What a training will take, from two of its steps: seconds, and memory at the peak.

The steps are taken for real, at a rate of zero, so that no weight moves: the costliest for the memory, with
the optimizer's state in place as in all steps but the first, and then a typical one for the time, when the
process is warm. A checkpoint is written too. What the other steps cost follows from their trees, since a step
is a function of its number.
"""

from __future__ import annotations

import math
import random
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from espalier.encode.tree import stats
from espalier.models.forward import edge_logprobs
from espalier.train.checkpoint import save
from espalier.train.loop import Forward, Settings, backward
from espalier.train.optimizer import Updater, make_updater
from espalier.train.parallel import cost
from espalier.train.peak import forget_peak, peak_mb

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from torch import nn

    from espalier.encode.tree import Tree
    from espalier.train.steps import Source, Step

# Most steps whose trees are looked at: ten a second with 32 rows each.
STEPS = 100


@dataclass(frozen=True)
class Forecast:
    """What a training will take, from its first step to its last checkpoint.

    Attributes:
        steps: optimizer steps.
        seconds: all of it.
        peak_mb: memory at the peak, in MB: the GPU's where there is one, else all of the process.
        step_seconds: a step of mean cost, with building its trees and moving the weights.
        checkpoint_seconds: writing one checkpoint.
        own_peak: whether the peak is the training's own; where the system cannot tell it is that of all that
            the process has done, and only a bound.
    """

    steps: int
    seconds: float
    peak_mb: float
    step_seconds: float
    checkpoint_seconds: float
    own_peak: bool


def forecast(
    model: nn.Module,
    source: Source,
    settings: Settings,
    folder: Path,
    *,
    forward: Forward = edge_logprobs,
    shared: bool = True,
    look: Sequence[int] | None = None,
) -> Forecast:
    """Return what `train` with the same arguments will take; nothing in the model or in `folder` is changed.

    It takes as long as two or three steps and a checkpoint. Random states are put back.

    Args:
        model: on its device, prepared by its method.
        source: the steps.
        settings: of the training.
        folder: where checkpoints go: one is written and removed again.
        forward: as in training.
        shared: whether `forward` computes a tree in one pass, and not its rows one by one.
        look: numbers of the steps to look at, by default up to 100 from all over the training. Of a source
            that samples from the model only those can be known that learn from its first samples.

    Raises:
        CheckpointError: a checkpoint cannot be written.
        ModelError: no weight is trained.
        RecipeError: the optimizer cannot add up the gradients of a step's trees.
    """
    was_training = model.training
    own_peak = forget_peak()
    with _same_random_numbers(model):
        steps, costs, source_seconds = _look(source, look or _spread(settings.steps), shared)
        mean = sum(costs) / len(costs)
        costliest = max(zip(costs, steps, strict=True), key=lambda pair: pair[0])
        typical = min(zip(costs, steps, strict=True), key=lambda pair: abs(pair[0] - mean))
        del steps
        updater = make_updater(model, settings.optimizer, decay=settings.decay, clip=settings.clip)
        model.train()
        _make_state(model, updater)
        probed = [
            (step_cost, *_probe(model, step, updater, settings, forward))
            for step_cost, step in (costliest, typical)
        ]
        checkpoint_seconds = _write(model, updater, folder)
    model.train(was_training)
    # Whatever else goes on, the first step's warm-up or another process, can only make a step seem slower.
    computing = mean * min(seconds / step_cost for step_cost, seconds, _ in probed)
    step_seconds = source_seconds + computing + min(seconds for *_, seconds in probed)
    checkpoints = math.ceil(settings.steps / settings.checkpoint)
    seconds = settings.steps * step_seconds + checkpoints * checkpoint_seconds
    return Forecast(settings.steps, seconds, peak_mb(), step_seconds, checkpoint_seconds, own_peak)


def _spread(steps: int) -> list[int]:
    count = min(steps, STEPS)
    return [steps * part // count for part in range(count)]


def _look(source: Source, numbers: Sequence[int], shared: bool) -> tuple[list[Step], list[float], float]:
    """Return the steps of those numbers, what each costs, and in how many seconds one is made."""
    begun = time.perf_counter()
    steps = [source(number) for number in numbers]
    seconds = (time.perf_counter() - begun) / len(steps)
    return steps, [sum(_cost(tree, shared) for tree, _ in step.work) for step in steps], seconds


def _cost(tree: Tree, shared: bool) -> float:
    return cost(tree) if shared else float(stats(tree).row_tokens)


def _make_state(model: nn.Module, updater: Updater) -> None:
    """Make the optimizer's state as the first step would."""
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    for weight in trained:
        weight.grad = torch.zeros_like(weight)
    updater.start(0.0, 1)
    updater.finish(0.0)
    for weight in trained:
        weight.grad = None


def _probe(
    model: nn.Module, step: Step, updater: Updater, settings: Settings, forward: Forward
) -> tuple[float, float]:
    """Take a step at rate zero; return the seconds of its gradients and of moving the weights."""
    begun = _now()
    updater.start(0.0, len(step.work))
    backward(model, step, forward, settings.precision)
    computed = _now()
    updater.finish(0.0)
    moved = _now()
    for weight in model.parameters():
        weight.grad = None  # of a norm that is not finite, which the training will tell of
    return computed - begun, moved - computed


def _write(model: nn.Module, updater: Updater, folder: Path) -> float:
    """Write a checkpoint and remove it; return the seconds it took."""
    place = folder / "forecast"
    begun = _now()
    try:
        save(place, 0, model, updater.optimizer, {})
        return _now() - begun
    finally:
        shutil.rmtree(place, ignore_errors=True)


def _now() -> float:
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter()


@contextmanager
def _same_random_numbers(model: nn.Module) -> Iterator[None]:
    """Put Python's, numpy's and torch's random states back at the end."""
    device = next(model.parameters()).device
    python, numpy = random.getstate(), np.random.get_state()
    with torch.random.fork_rng([device] if device.type == "cuda" else []):
        try:
            yield
        finally:
            random.setstate(python)
            np.random.set_state(cast("Any", numpy))
