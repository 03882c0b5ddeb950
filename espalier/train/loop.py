"""The one training loop. What differs between kinds of training comes in as functions.

    for each step:  source(step) -> rows, trees, terms (train/steps.py; a sampler may run the model here)
                    forward(model, tree) -> log-probabilities of the tree's edges   (models/forward.py)
                    loss(edges, tree) -> LossSum       (train/objectives.py), scaled, backward
                    updater -> clip, move the weights  (train/optimizer.py)
                    save                               (train/checkpoint.py)

The loop is a generator of events, plain dicts: the caller logs them and draws the bars, and stops the
training by not asking on. `seconds_left` and `rows_per_s` are from this process's own steps.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import torch

from espalier.core.errors import RunError
from espalier.core.files import jsonl, write_atomic
from espalier.core.records import ALONE, Ranks
from espalier.encode.tree import Tree, stats
from espalier.models.forward import Edges, edge_logprobs
from espalier.models.precision import autocast
from espalier.train.checkpoint import newest_whole, restore, save
from espalier.train.optimizer import MakeUpdater, Updater, adamw, make_updater, rate_at
from espalier.train.parallel import add_up, gathered, on_first, place, share_of, split
from espalier.train.peak import peak_mb

if TYPE_CHECKING:
    from torch import nn
    from torch.optim import Optimizer

    from espalier.models.precision import Format
    from espalier.train.objectives import LossSum
    from espalier.train.steps import Source, Step, Term

Event: TypeAlias = dict[str, Any]
Forward: TypeAlias = Callable[[Any, Tree], Edges]
# Given each step's number, its gradient's norm and the optimizer, before a checkpoint of the step is written.
Keep: TypeAlias = "Callable[[int, float, Optimizer], None]"


def keep_nothing(step: int, norm: float, optimizer: Optimizer) -> None:
    """Keep nothing of a step."""


@dataclass(frozen=True)
class Settings:
    """The numbers of a training; see `docs/recipe.md`, [train], for what each means."""

    steps: int
    rate: float
    warmup: float = 0.1
    schedule: str = "cosine"
    clip: float = 1.0
    decay: float = 0.0
    projector: float = 1.0
    optimizer: MakeUpdater = field(default_factory=adamw)
    precision: Format = "fp32"
    checkpoint: int = 50


def updater_of(model: nn.Module, settings: Settings) -> Updater:
    """Return what turns the gradients of a training into changes of the weights. Raises ModelError."""
    decay, clip = settings.decay, settings.clip
    return make_updater(model, settings.optimizer, decay=decay, clip=clip, projector=settings.projector)


def train(
    model: nn.Module,
    source: Source,
    settings: Settings,
    folder: Path,
    *,
    recipe: Mapping[str, Any],
    forward: Forward = edge_logprobs,
    ranks: Ranks = ALONE,
    asked: Callable[[], int] = lambda: 0,
    keep: Keep = keep_nothing,
) -> Iterator[Event]:
    """Train `model` in place, and yield an event at the start, after each step and after each checkpoint.

    Training goes on from the newest checkpoint in `folder/checkpoints`, which must be of the same `recipe`:
    all that determines the weights. With several `ranks` each calls this and yields the same events. Where
    `asked` tells a signal, on any rank, the checkpoint that follows tells it too.

    Raises:
        RunError: the loss or the gradient is not finite; `folder/bad-step-N.jsonl` has the step's rows.
        CheckpointError: a checkpoint cannot be read or written, or is of another recipe.
        ModelError, RecipeError: no weight is trained, or the optimizer cannot add up a step's trees.
    """
    place(model, ranks)
    updater = updater_of(model, settings)
    resumed = _resume(checkpoints := folder / "checkpoints", model, updater.optimizer, recipe, ranks)
    yield {**resumed, "steps": settings.steps}
    model.train()
    begun, done = time.perf_counter(), resumed["step"]
    for number in range(done, settings.steps):
        started = time.perf_counter()
        step = split(source(number), ranks.size)
        rate = rate_of(settings, number)
        updater.start(rate, max(len(step.work), ranks.size))  # no rank's gradient is the whole
        sums = add_up(model, backward(model, share_of(step, ranks), forward, settings.precision), step, ranks)
        loss = sum(term.share * float(total.total) / max(total.weight, 1e-9) for term, total in sums.items())
        norm = updater.finish(loss)
        if not math.isfinite(norm + loss):
            raise _not_finite(folder, number, step, loss, norm)
        keep(number + 1, norm, updater.optimizer)
        now = time.perf_counter()
        yield {
            "event": "step",
            "step": number + 1,
            "steps": settings.steps,
            "loss": loss,
            "rate": rate,
            "norm": norm,
            **_work(step, sums),
            "rows_per_s": len(step.rows) / (now - started),
            "seconds": now - started,
            "seconds_left": (now - begun) / (number + 1 - done) * (settings.steps - number - 1),
            "peak_mb": peak_mb(),
        }
        signal = max(gathered(asked(), ranks))
        if signal or (number + 1) % settings.checkpoint == 0 or number + 1 == settings.steps:
            path = save(checkpoints, number + 1, model, updater.optimizer, recipe, ranks)
            yield {"event": "checkpoint", "step": number + 1, "path": str(path), "signal": signal}
    model.eval()


def _resume(
    checkpoints: Path, model: nn.Module, optimizer: Optimizer, recipe: Mapping[str, Any], ranks: Ranks
) -> Event:
    """Restore the newest checkpoint that is whole; return the event that tells of it, and of damaged ones."""
    path, damaged = on_first(partial(newest_whole, checkpoints), ranks)
    done = restore(path, model, optimizer, recipe, ranks) if path else 0
    return {"event": "train", "step": done, "trained_weights": _trained(model), "damaged": damaged}


def backward(model: nn.Module, step: Step, forward: Forward, precision: Format) -> dict[Term, LossSum]:
    """Add the gradients of a step's trees to the weights, and return the loss of each term over the step."""
    sums: dict[Term, LossSum] = {}
    for tree, terms in step.work:
        with autocast(model, precision):
            edges = forward(model, tree)
        losses = {term: term.loss(edges, tree) for term in terms}
        # The divisors are known beforehand, so each tree's graph can be freed before the next is computed.
        torch.stack(
            [loss.total * (term.share / term.divisor) for term, loss in losses.items()]
        ).sum().backward()
        for term, loss in losses.items():
            sums[term] = sums[term] + loss.detach() if term in sums else loss.detach()
    return sums


def _work(step: Step, sums: Mapping[Term, LossSum]) -> Event:
    """Return what a step consists of: rows, tokens row by row, tokens computed, tokens that carry loss.

    And what its objectives say of it: sums over their weight, such as the share of pairs in the right order.
    """
    said = {
        name: value / max(total.weight, 1e-9)
        for total in sums.values()
        for name, value in total.parts.items()
    }
    sizes = [stats(tree) for tree, _ in step.work]
    return {
        "rows": len(step.rows),
        "trees": len(step.work),
        "tokens": sum(size.row_tokens for size in sizes),
        "distinct_tokens": sum(size.distinct_tokens for size in sizes),
        "trained_tokens": sum(len(tree.weights) for tree, _ in step.work),
        "said": {**step.log, **said},
    }


def rate_of(settings: Settings, number: int) -> float:
    """Return the learning rate of a step, counted from 0."""
    peak, warmup, schedule = settings.rate, settings.warmup, settings.schedule
    return rate_at(number, settings.steps, peak=peak, warmup=warmup, schedule=schedule)


def _trained(model: nn.Module) -> int:
    return sum(weight.numel() for weight in model.parameters() if weight.requires_grad)


def _not_finite(folder: Path, number: int, step: Step, loss: float, norm: float) -> RunError:
    """Save the rows of a step whose loss or gradient is not finite; return the error that names the file."""
    path = folder / f"bad-step-{number + 1}.jsonl"
    write_atomic(
        path, jsonl({"example": row.example, "ids": row.ids, "weights": row.weights} for row in step.rows)
    )
    return RunError(
        f"Training stopped at step {number + 1}: the loss is {loss:g} and the norm of its gradient {norm:g}.",
        where=str(path),
        hint="The step's rows are in that file; the last checkpoint stands. A lower train.rate often helps.",
    )
