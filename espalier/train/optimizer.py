"""The optimizers, the rate over the steps, and clipping: what happens to the gradients of a step.

An optimizer is a function that makes an `Updater`, chosen by `train.optimizer`. The loop calls `start` before
a step's backward and `finish` after it, so that one which moves each weight during the backward and keeps no
gradients looks like the others. Only `optimizer.state` outlives a step, and checkpoints hold all of it.

Weights are kept in fp32, and bf16 is autocast's affair (`docs/decisions/bf16.md`), so there is one set of
weights. For the bundled model AdamW's update takes 0.13 s a step on 2 quiet cores: the norm 0.03, the scaling
0.02 where it clips, fused AdamW 0.08 (foreach: 1.4 s).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias, cast

import torch
from torch import nn
from torch.nn.utils import get_total_norm

from espalier.core.errors import MissingExtra, ModelError, RecipeError
from espalier.core.registry import Registry
from espalier.models.media import media_embedding
from espalier.train.parallel import whole

if TYPE_CHECKING:
    from torch import Tensor
    from torch.optim import Optimizer

SHARE = "rate_share"
# From the share of the falling phase that is over, 0 to 1, to the share of the peak rate.
SCHEDULES: dict[str, Callable[[float], float]] = {
    "constant": lambda over: 1.0,
    "linear": lambda over: 1.0 - over,
    "cosine": lambda over: 0.5 * (1.0 + math.cos(math.pi * over)),
}


def rate_at(step: int, steps: int, *, peak: float, warmup: float, schedule: str) -> float:
    """Return the learning rate of a step, counted from 0: a pure function, so a resumed run has the same.

    The rate rises linearly over the first `warmup` share of the steps and falls to zero just after the last.
    """
    rising = math.ceil(warmup * steps)
    if step < rising:
        return peak * (step + 1) / rising
    return peak * SCHEDULES[schedule]((step - rising) / (steps - rising))


class Updater(Protocol):
    """Turns the gradients of a step into a change of the weights; `optimizer` holds the state of it."""

    optimizer: Optimizer

    def start(self, rate: float, trees: int) -> None:
        """Make ready for the backward passes of a step of so many trees, at this rate."""
        ...

    def finish(self, loss: float) -> float:
        """Move the weights, drop the gradients, and return the norm of the gradient before clipping.

        Nothing moves where the loss or the norm is not finite: the caller decides what then happens.
        """
        ...


# From groups of weights, each with its weight_decay, and the largest norm of a step's gradient.
MakeUpdater: TypeAlias = Callable[[list[dict[str, Any]], float], Updater]

optimizers: Registry[MakeUpdater] = Registry("optimizer")


@optimizers.register("adamw")
def adamw(*, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> MakeUpdater:
    """AdamW (Loshchilov and Hutter 2019, arXiv 1711.05101): 8 bytes of state per weight."""
    return lambda groups, clip: AfterBackward(
        torch.optim.AdamW(groups, betas=betas, eps=eps, fused=True), clip
    )


@optimizers.register("adamw8bit")
def adamw8bit(*, betas: tuple[float, float] = (0.9, 0.999), eps: float = 1e-8) -> MakeUpdater:
    """AdamW with its state in blocks of 8 bits (Dettmers et al. 2022, arXiv 2110.02861), by bitsandbytes."""
    try:
        from bitsandbytes.optim import AdamW8bit  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtra("The optimizer adamw8bit", "qlora") from None
    optimizer = cast("Any", AdamW8bit)
    return lambda groups, clip: AfterBackward(optimizer(groups, betas=betas, eps=eps), clip)


@optimizers.register("adafactor")
def adafactor(*, beta2_decay: float = -0.8, limit: float = 1.0) -> MakeUpdater:
    """Adafactor (Shazeer and Stern 2018, arXiv 1804.04235): a row and a column of state per matrix.

    The rate is relative to a weight's own size: 5e-4 does what 5e-5 does with AdamW. `limit` bounds the root
    mean square of an update before the rate.
    """
    return lambda groups, clip: AfterBackward(_adafactor(groups, beta2_decay, limit), clip)


@optimizers.register("lomo")
def lomo(*, beta2_decay: float = -0.8, limit: float = 1.0) -> MakeUpdater:
    """Adafactor in the backward pass: each weight moves as its gradient comes, which is then dropped.

    The idea is LOMO's (Lv et al. 2023, arXiv 2306.09782). Its plain SGD trains language models badly;
    factored second moments with each update's size bounded are what AdaLomo (arXiv 2310.10195) found to train
    them as AdamW does, and that is Adafactor. `train.clip` has no effect, since the common norm is known only
    when all weights have moved; `limit` does its work, weight by weight.
    """
    return lambda groups, clip: InBackward(_adafactor(groups, beta2_decay, limit))


def _adafactor(groups: list[dict[str, Any]], beta2_decay: float, limit: float) -> Optimizer:
    return torch.optim.Adafactor(groups, beta2_decay=beta2_decay, d=limit)


def make_updater(
    model: nn.Module, make: MakeUpdater, *, decay: float, clip: float, projector: float = 1.0
) -> Updater:
    """Return the updater of the weights that are trained.

    Matrices decay; norms and biases do not. Frozen weights are not in it and cost nothing. What
    projects media learns at `projector` times the rate.

    Raises:
        ModelError: no weight is trained.
    """
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    if not trained:
        raise ModelError("No weight of the model is trained.", where="train.method")
    embedding = media_embedding(model)
    projecting = set(embedding.projecting) if embedding else set[nn.Parameter]()
    groups: dict[tuple[bool, float], dict[str, Any]] = {}
    for weight in trained:
        matrix, share = weight.ndim > 1, (projector if weight in projecting else 1.0)
        own = {
            "params": [],
            "weight_decay": decay if matrix else 0.0,
            **({} if share == 1 else {SHARE: share}),
        }
        groups.setdefault((not matrix, share), own)["params"].append(weight)
    return make([groups[key] for key in sorted(groups)], clip)


class AfterBackward:
    """Gradients add up over a step's trees; then they are clipped to the norm `clip` and all weights move."""

    def __init__(self, optimizer: Optimizer, clip: float) -> None:
        self.optimizer = optimizer
        self.clip = clip

    def start(self, rate: float, trees: int) -> None:
        """Set the rate; trees may be many."""
        _set_rate(self.optimizer, rate)

    def finish(self, loss: float) -> float:
        """Clip, step, and drop the gradients; see `Updater`."""
        gradients = [weight.grad for weight in _weights(self.optimizer) if weight.grad is not None]
        norm = float(whole(get_total_norm(gradients, foreach=True)))
        if not math.isfinite(norm + loss):
            return norm
        if norm > self.clip:
            for gradient in gradients:
                gradient.mul_(self.clip / norm)
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return norm


class InBackward:
    """Each weight moves as soon as its gradient is there, and the gradient is dropped: one exists at a time.

    A gradient that is not finite moves nothing and is told by `finish`, but weights nearer to the output have
    moved by then. The loop stops there, and the last checkpoint stands.
    """

    def __init__(self, optimizer: Optimizer) -> None:
        self.optimizer = optimizer
        self._square = 0.0
        self._hooks: list[torch.utils.hooks.RemovableHandle] = []

    def start(self, rate: float, trees: int) -> None:
        """Set the rate and let the weights move. Raises RecipeError for a step of several trees."""
        if trees > 1:
            raise RecipeError(
                f"A step has {trees} trees, whose gradients must be kept to be added up; 'lomo' keeps none.",
                where="train.tokens",
                hint="Raise train.tokens, lower train.rows, or take another optimizer, such as adafactor.",
            )
        _set_rate(self.optimizer, rate)
        self._square = 0.0
        self._hooks = [
            weight.register_post_accumulate_grad_hook(self._move) for weight in _weights(self.optimizer)
        ]

    def finish(self, loss: float) -> float:
        """Return the norm of the gradient that was; all has moved."""
        for hook in self._hooks:
            hook.remove()
        return math.sqrt(self._square)

    def _move(self, weight: Tensor) -> None:
        assert weight.grad is not None
        square = float(weight.grad.norm()) ** 2
        self._square += square
        if math.isfinite(square):
            self.optimizer.step()  # of all the weights only this one has a gradient now
        weight.grad = None


def _set_rate(optimizer: Optimizer, rate: float) -> None:
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(SHARE, 1.0)


def _weights(optimizer: Optimizer) -> list[Tensor]:
    return [weight for group in optimizer.param_groups for weight in group["params"]]
