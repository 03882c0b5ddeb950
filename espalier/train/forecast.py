"""What a training will take, from two of its steps: seconds, and memory at the peak.

The steps are taken for real, at a rate of zero, so that no weight moves: the costliest for the memory, with
the optimizer's state in place as in all steps but the first, and then a typical one for the time, when the
process is warm. A checkpoint is written too. What the other steps cost follows from their trees, since a step
is a function of its number.

A small part of the first step comes before all: it warms up, and shows where all this would take minutes. It
is cut short then, and what was not taken follows from the trees that were.
"""

from __future__ import annotations

import math
import random
import shutil
import time
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, NamedTuple, cast

import numpy as np
import torch

from espalier.encode.batches import groups_of
from espalier.encode.media import FIRST, media_tokens
from espalier.encode.tree import build_tree, stats
from espalier.models.forward import edge_logprobs
from espalier.train.checkpoint import save
from espalier.train.heldout import HeldOut, evaluate
from espalier.train.loop import Forward, Settings, backward, updater_of
from espalier.train.optimizer import Updater
from espalier.train.parallel import cost
from espalier.train.peak import forget_peak, peak_mb
from espalier.train.steps import Step

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from torch import nn

    from espalier.encode.tree import Tree
    from espalier.train.steps import Source, Term

# Most steps whose trees are looked at: ten a second with 32 rows each.
STEPS = 100
# Most seconds that trees are computed for; another one is begun where it is likely to fit.
PATIENCE = 60.0
# What a forward takes of a forward and a backward.
FORWARD = 1 / 3


@dataclass(frozen=True)
class Forecast:
    """What a training will take, from its first step to its last checkpoint.

    Attributes:
        steps: optimizer steps.
        seconds: all of it.
        peak_mb: memory at the peak, in MB: the GPU's where there is one, else all of the process; None where
            the largest tree would have taken too long.
        step_seconds: a step of mean cost, with building its trees and moving the weights.
        checkpoint_seconds: writing one checkpoint.
        own_peak: whether the peak is the training's own; where the system cannot tell it is that of all that
            the process has done, and only a bound.
        cut: whether it was cut short; the seconds are then those of the gradients.
        evaluation_seconds: all evaluations of the held-out loss, with writing the best weights each time.
        step_tokens: that a mean step computes, and `step_media` those of them that are media's.
    """

    steps: int
    seconds: float
    peak_mb: float | None
    step_seconds: float
    checkpoint_seconds: float
    own_peak: bool
    cut: bool = False
    evaluation_seconds: float = 0.0
    step_tokens: float = 0.0
    step_media: float = 0.0


@dataclass(frozen=True)
class Sight:
    """How far the look ahead is: after so many of its trees, the seconds that the training seems to take.

    The first tree is a small one in a cold process, and makes all seem slower by far.
    """

    done: int
    trees: int
    seconds: float


def forecast(
    model: nn.Module,
    source: Source,
    settings: Settings,
    folder: Path,
    *,
    forward: Forward = edge_logprobs,
    shared: bool = True,
    look: Sequence[int] | None = None,
    heldout: HeldOut | None = None,
    tell: Callable[[Sight], object] = lambda _: None,
) -> Forecast:
    """Return what `train` with the same arguments will take; the model and `folder` stay as they are.

    It takes two or three steps and a checkpoint, but about a minute at most. Random states are put back.

    Args:
        model: on its device, prepared by its method.
        source: the steps.
        settings: of the training.
        folder: where checkpoints go: one is written and removed again.
        forward: as in training.
        shared: whether `forward` computes a tree in one pass.
        look: numbers of the steps to look at, by default up to 100; of a source that samples from the model
            only those can be known that learn from its first samples.
        heldout: what the training is watched by.
        tell: told after every tree.

    Raises:
        CheckpointError, ModelError, RecipeError: as `train`.
    """
    was_training = model.training
    own_peak = forget_peak()
    with _same_random_numbers(model):
        steps, costs, sizes, source_seconds = _look(source, look or _spread(settings.steps), shared)
        mean = sum(costs) / len(costs)
        costliest = max(zip(costs, steps, strict=True), key=lambda pair: pair[0])[1]
        typical = min(zip(costs, steps, strict=True), key=lambda pair: abs(pair[0] - mean))[1]
        del steps
        updater = updater_of(model, settings)
        model.train()
        _make_state(model, updater)
        trees = 1 + len(costliest.work) + len(typical.work)
        probe = _Probe(model, updater, settings, forward, partial(_cost, shared=shared), mean, trees, tell)
        probe.begin(_part(costliest), costliest)
        begun = probe.done
        taken = probe.steps(costliest, typical)
        cut = len(taken) < 2
        checkpoint_seconds = 0.0 if cut else _write(model, updater, folder)
        evaluations = probe.evaluations(heldout, checkpoint_seconds) if heldout else 0.0
    model.train(was_training)
    # Whatever else goes on, the first step's warm-up or another process, can only make a step seem slower.
    pace = min((step.pace for step in taken), default=probe.pace)
    step_seconds = source_seconds + mean * pace + min((step.moving for step in taken), default=0.0)
    checkpoints = math.ceil(settings.steps / settings.checkpoint)
    seconds = settings.steps * step_seconds + checkpoints * checkpoint_seconds + evaluations
    peak = peak_mb() if probe.done > begun else None
    moments = (step_seconds, checkpoint_seconds, own_peak, cut, evaluations)
    return Forecast(settings.steps, seconds, peak, *moments, *sizes)


def _spread(steps: int) -> list[int]:
    count = min(steps, STEPS)
    return [steps * part // count for part in range(count)]


def _look(
    source: Source, numbers: Sequence[int], shared: bool
) -> tuple[list[Step], list[float], tuple[float, float], float]:
    """Return the steps of those numbers, what each costs, `_tokens`, and in how many seconds one is made."""
    begun = time.perf_counter()
    steps = [source(number) for number in numbers]
    seconds = (time.perf_counter() - begun) / len(steps)
    costs = [sum(_cost(tree, shared) for tree, _ in step.work) for step in steps]
    return steps, costs, _tokens(steps, shared), seconds


def _tokens(steps: Sequence[Step], shared: bool) -> tuple[float, float]:
    """Return how many tokens a mean step computes, and how many of them are media's."""
    trees = [tree for step in steps for tree, _ in step.work]
    if shared:
        sizes = [(len(tree.ids), int((tree.ids >= FIRST).sum())) for tree in trees]
    else:
        sizes = [(stats(tree).row_tokens, sum(media_tokens(row.ids) for row in tree.rows)) for tree in trees]
    tokens, media = np.array(sizes).sum(0) / len(steps)
    return float(tokens), float(media)


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


class _Taken(NamedTuple):
    """A step that was taken: the seconds of its gradients by what they cost, and of moving the weights."""

    pace: float
    moving: float


@dataclass
class _Probe:
    """Takes steps at rate zero, tree by tree, as long as they fit `PATIENCE`.

    Attributes:
        cost: of a tree.
        mean: cost of a step of the training.
        trees: all that are to be taken.
        pace: seconds by cost of the fastest tree; the first, in a cold process, counts until the second.
    """

    model: nn.Module
    updater: Updater
    settings: Settings
    forward: Forward
    cost: Callable[[Tree], float]
    mean: float
    trees: int
    tell: Callable[[Sight], object]
    done: int = 0
    spent: float = 0.0
    pace: float = 0.0

    def begin(self, part: Step, step: Step) -> None:
        """Take a part of a step; once more where the step would not fit: the first was in a cold process."""
        self.step(part)
        if not self._fits(max(self.cost(tree) for tree, _ in step.work)):
            self.trees += 1
            self.spent = 0.0
            self.step(part)

    def step(self, step: Step) -> _Taken | None:
        """Take a step, its costliest tree first; None where not all of it fits."""
        costs = {id(tree): self.cost(tree) for tree, _ in step.work}
        work = sorted(step.work, key=lambda pair: costs[id(pair[0])], reverse=True)
        if not self._fits(costs[id(work[0][0])]):
            return None
        self.updater.start(0.0, len(work))
        times: list[float] = []
        for tree, terms in work:
            if self._fits(costs[id(tree)]):
                times.append(self._tree(tree, terms, costs[id(tree)]))
        computed = _now()
        self.updater.finish(0.0)
        moving = _now() - computed
        for weight in self.model.parameters():
            weight.grad = None  # of a norm that is not finite, which the training will tell of
        return _Taken(sum(times) / sum(costs.values()), moving) if len(times) == len(work) else None

    def evaluations(self, heldout: HeldOut, checkpoint: float) -> float:
        """Return the seconds of all evaluations, from the costliest tree of one where that fits.

        A checkpoint is about three times the weights, and so are its seconds.
        """
        begun = _now()
        step = heldout.step()
        costs = [self.cost(tree) for tree, _ in step.work]
        largest, made = max(range(len(costs)), key=costs.__getitem__), _now() - begun
        pace = self.pace * FORWARD
        if self._fits(costs[largest] * FORWARD):
            part = replace(step, work=[step.work[largest]])
            evaluate(self.model, part, self.forward, self.settings.precision)
            pace = (_now() - begun - made) / costs[largest]
        return (made + sum(costs) * pace + checkpoint / 3) * math.ceil(self.settings.steps / heldout.every)

    def steps(self, *steps: Step) -> list[_Taken]:
        """Take steps, up to the first of which not all fits."""
        taken: list[_Taken] = []
        for step in steps:
            found = self.step(step)
            if found is None:
                break
            taken.append(found)
        return taken

    def _fits(self, cost: float) -> bool:
        return self.spent + cost * self.pace <= PATIENCE

    def _tree(self, tree: Tree, terms: Sequence[Term], cost: float) -> float:
        begun = _now()
        backward(self.model, Step([], [(tree, terms)]), self.forward, self.settings.precision)
        seconds = _now() - begun
        self.done += 1
        self.spent += seconds
        self.pace = seconds / cost if self.done <= 2 else min(self.pace, seconds / cost)
        self.tell(Sight(self.done, self.trees, self.settings.steps * self.mean * self.pace))
        return seconds


def _part(step: Step) -> Step:
    """Return the least part of a step: the rows of one example, or one answer."""
    tree, terms = step.work[0]
    rows = groups_of(tree.rows)[0]
    return Step(rows, [(build_tree(rows), terms)])


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
