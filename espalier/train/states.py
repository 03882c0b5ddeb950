"""What is kept of a training so that it can be asked later which rows taught it what: weights and moments.

Steps of a training are divided into as many spans of equal length as states are asked for, and the middle
step of each leaves a file `STEP.safetensors`: the trained weights and Adam's second moments after that step,
with the sum of the span's learning rates. A state is written before a checkpoint of its step is, so a run
that goes on from a checkpoint has every state up to it, and writes the later ones again, the same.
"""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any

from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file

from espalier.core.errors import RecipeError, RunError
from espalier.core.files import replacing
from espalier.train.loop import rate_of

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor, nn
    from torch.optim import Optimizer

    from espalier.core.recipe import TrainSection
    from espalier.train.loop import Keep, Settings


@dataclass(frozen=True)
class State:
    """A step of a training whose weights and second moments were kept.

    Attributes:
        key: the hash of all that determines the training.
        step: after which they were kept, counted from 1.
        steps: of the whole training.
        rate: sum of the learning rates of the steps that the state stands for.
        clip: what the step's gradient was multiplied by to keep to the largest norm.
        beta, eps: of Adam: the decay of the second moments, and what is added to their root.
    """

    key: str
    step: int
    steps: int
    rate: float
    clip: float
    beta: float
    eps: float


def check_keep(section: TrainSection, where: str, *, last: bool) -> None:
    """Refuse to keep states of which no influence can be told. Raises RecipeError."""
    kinds = [choice.kind for choice in section.objective]
    adam = section.optimizer.kind
    rules = {
        "objective": (kinds == ["sft"], f"is told of the objective sft alone, not of {' + '.join(kinds)}."),
        "optimizer": (adam == "adamw", f"needs Adam's second moments as adamw has them; {adam} has others."),
        "parallel": (section.parallel == "ddp", "needs each weight in one piece; fsdp shares them out."),
        "keep": (last, "is told of the last stage alone."),
    }
    for key, (fits, rule) in rules.items():
        if not fits:
            raise RecipeError(
                f"The influence of rows {rule}", where=f"{where}.{key}", hint="Leave train.keep out here."
            )


def kept_steps(steps: int, count: int) -> list[range]:
    """Return the spans of steps, counted from 1, that `count` states stand for; at most one for each step."""
    count = min(steps, count)
    cuts = [steps * part // count for part in range(count + 1)]
    return [range(begin + 1, end + 1) for begin, end in pairwise(cuts)]


def middle(span: range) -> int:
    """Return the step of a span after which its state is kept."""
    return span[len(span) // 2]


def keeper(folder: Path, model: nn.Module, settings: Settings, key: str, count: int) -> Keep:
    """Return what writes a training's states into `folder` as their steps come; others there are removed.

    It raises RunError where a file cannot be written.
    """
    spans = {middle(span): span for span in kept_steps(settings.steps, count)}
    for path in folder.glob("*.safetensors"):
        known = _state(path)
        if known is None or known.key != key or known.step not in spans:
            path.unlink(missing_ok=True)

    def keep(step: int, norm: float, optimizer: Optimizer) -> None:
        if step not in spans:
            return
        group = optimizer.param_groups[0]
        clip = min(1.0, settings.clip / norm) if norm > 0 else 1.0
        rates = sum(rate_of(settings, number - 1) for number in spans[step])
        state = State(key, step, settings.steps, rates, clip, group["betas"][1], group["eps"])
        tensors: dict[str, Tensor] = {}
        for name, weight in model.named_parameters():
            if weight.requires_grad and "exp_avg_sq" in optimizer.state[weight]:
                tensors[f"weights/{name}"] = weight.detach().cpu().contiguous()
                tensors[f"squares/{name}"] = optimizer.state[weight]["exp_avg_sq"].cpu().contiguous()
        with replacing(folder / f"{step:06d}.safetensors") as new:
            save_file(tensors, new, {"state": json.dumps(asdict(state))})

    return keep


def states_in(folder: Path, key: str) -> list[tuple[Path, State]]:
    """Return the states that a training of this key has left in a folder, oldest first."""
    found = [(path, state) for path in sorted(folder.glob("*.safetensors")) if (state := _state(path))]
    return [(path, state) for path, state in found if state.key == key]


def tensors_of(path: Path) -> tuple[dict[str, Tensor], dict[str, Tensor]]:
    """Return a state's weights and second moments by the weights' names. Raises RunError: it is damaged."""
    weights: dict[str, Tensor] = {}
    squares: dict[str, Tensor] = {}
    try:
        with _opened(path) as file:
            for name in file.keys():  # noqa: SIM118 (it is no dict)
                kind, _, weight = name.partition("/")
                (weights if kind == "weights" else squares)[weight] = file.get_tensor(name)
    except (OSError, SafetensorError) as error:
        raise RunError(
            f"A state of the training cannot be read: {error}.",
            where=str(path),
            hint="Remove it, and train again with train.keep = 'influence'.",
        ) from None
    return weights, squares


def _state(path: Path) -> State | None:
    """Return what a file says of itself; None where it is none of ours, or damaged."""
    try:
        with _opened(path) as file:
            return State(**json.loads(file.metadata()["state"]))
    except (OSError, SafetensorError, KeyError, TypeError, ValueError):
        return None


def _opened(path: Path) -> Any:
    return safe_open(path, "pt")
