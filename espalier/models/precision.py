"""Which number format a model computes in, fp32 or bf16: told by timing products of its own shapes.

Where a processor has bf16, its products are two to four times as fast as fp32's; where it has not, they are
put together from other instructions and up to 25 times slower. No list of processors stays true, and a few
products tell in a fraction of a second. Training is timed as it computes: weights in fp32, cast by autocast,
forward and backward; decoding as well: weights in the format, a row for each answer, forward only.

On a CPU the time of one thread is taken, not the wall's: other work on the machine then changes nothing.
"""

from __future__ import annotations

import math
import time
from collections import Counter
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import torch
from torch import nn
from torch.nn import functional

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from espalier.core.recipe import Precision

Format: TypeAlias = Literal["fp32", "bf16"]
Use: TypeAlias = Literal["training", "decoding"]
# GFLOP/s of each format, by use.
Rates: TypeAlias = "Mapping[str, Mapping[str, float]]"

USES: tuple[Use, ...] = ("training", "decoding")
FORMATS: tuple[Format, ...] = ("fp32", "bf16")
# Rows of a product on a CPU: a part of a training tree, which is enough for its rate, and answers of a batch.
ROWS: dict[Use, int] = {"training": 128, "decoding": 32}
# Longest side of a weight that is timed: a larger one has the rate of this. An accelerator needs more to do.
SIDE, LARGE = 1024, 4096
# How many times as fast as fp32 bf16 has to be. At parity a CPU takes fp32, as it is more exact; an
# accelerator takes bf16, as it halves the memory of activations.
GAIN, PARITY = 1.2, 0.8
REPEATS = 3
TICK = 1e-9  # the least time that a clock may show
SECONDS = 0.5  # for a use; after it no further shape is begun
CLEAR, LONG = 4.0, 0.05  # bf16 that is so many times slower, over so many seconds, is not timed again


@dataclass(frozen=True)
class Formats:
    """What a model trains in and what it decodes in, and why.

    Attributes:
        training: format of products in forward and backward; weights, gradients and their sums are in fp32.
        decoding: format of the copy that writes answers.
        why: a sentence.
        rates: what was measured, in GFLOP/s by use and format, of one thread on a CPU; empty where nothing
            was.
    """

    training: Format
    decoding: Format
    why: str = ""
    rates: Rates = field(default_factory=dict[str, dict[str, float]])

    def of(self, use: str) -> Format:
        """Return the format of "training" or "decoding"."""
        formats: dict[str, Format] = {"training": self.training, "decoding": self.decoding}
        return formats[use]


# What a model is in before anybody chose.
PLAIN = Formats("fp32", "fp32")


def choose(asked: Precision, rates: Rates, device: torch.device) -> Formats:
    """Return the formats for a recipe's `model.precision`, given what was measured on the device."""
    if asked != "auto":
        return Formats(asked, asked, f"Computing in {asked}, as model.precision says.", rates)
    least = GAIN if device.type == "cpu" else PARITY
    training, decoding = _faster(rates, "training", least), _faster(rates, "decoding", least)
    found = training if training == decoding else f"{training} while training and {decoding} while decoding"
    here = "CPU" if device.type == "cpu" else "device"
    return Formats(training, decoding, f"Computing in {found}: {compared(rates)} on this {here}.", rates)


def compared(rates: Rates) -> str:
    """Return how bf16 stands to fp32, use by use, as a part of a sentence."""
    uses = " and ".join(f"{_times(gain(rates, use))} in {use}" for use in USES if use in rates)
    return f"compared with fp32, products in bf16 are {uses}"


def gain(rates: Rates, use: str) -> float:
    """Return how many times as fast as fp32 bf16 is; 0 where it cannot be computed."""
    return rates[use]["bf16"] / rates[use]["fp32"]


def _faster(rates: Rates, use: Use, least: float) -> Format:
    return "bf16" if gain(rates, use) >= least else "fp32"


def _times(gain: float) -> str:
    if gain >= 1 or not gain:
        return f"{gain:.1f} times as fast" if gain else "impossible"
    return f"{1 / gain:.{0 if gain < 0.1 else 1}f} times slower"


def measure(model: nn.Module, uses: Sequence[Use] = USES) -> Rates:
    """Return the rate of the model's products in each format on its device, in GFLOP/s by use.

    It takes about half a second for a small model, and at most about two; nothing is drawn at random.
    """
    device = next(model.parameters()).device
    shapes = products(model) or Counter({(SIDE, SIDE): 1})
    with _one_thread(device):
        return {use: _rates(use, shapes, device) for use in uses}


def products(model: nn.Module) -> Counter[tuple[int, int]]:
    """Return how often the model multiplies by a matrix of each shape (in, out), or (out, in).

    All matrices count but the tables of embeddings, whichever class holds them: GPT-2 has no linear layers.
    Of experts that lie in one tensor, one counts.
    """
    found: Counter[tuple[int, int]] = Counter()
    for part in model.modules():
        for weight in part.parameters(recurse=False):
            rows, columns = (1, 1, *weight.shape)[-2:]
            if not isinstance(part, nn.Embedding) and min(rows, columns) > 8 and weight.is_floating_point():
                found[columns, rows] += 1
    return found


def _rates(use: Use, shapes: Mapping[tuple[int, int], int], device: torch.device) -> dict[str, float]:
    """Return the rates over the shapes, from small to large, until they are clear or time is up."""
    side = SIDE if device.type == "cpu" else LARGE
    rows = ROWS[use] if device.type == "cpu" else LARGE
    work = 0.0
    seconds = dict.fromkeys(FORMATS if _has_bf16(use, device) else FORMATS[:1], 0.0)
    begun = time.monotonic()
    for (inner, outer), count in sorted(shapes.items(), key=lambda shape: shape[0][0] * shape[0][1]):
        small = min(inner, side), min(outer, side)
        times = _least([MAKERS[use](rows, small, device, form) for form in seconds], device)
        whole = count * inner * outer
        work += whole
        for form, taken in zip(seconds, times, strict=True):
            seconds[form] += taken * whole / (small[0] * small[1])
        if _clear(times) or time.monotonic() - begun > SECONDS:
            break
    passes = 6 if use == "training" else 2
    rates = {form: passes * rows * work / taken / 1e9 for form, taken in seconds.items()}
    return {form: float(f"{rates.get(form, 0.0):.4g}") for form in FORMATS}


def _has_bf16(use: Use, device: torch.device) -> bool:
    """Say whether the device computes a small product in bf16 at all."""
    try:
        MAKERS[use](8, (8, 8), device, "bf16")()
    except (RuntimeError, TypeError):
        return False
    return True


def _least(acts: Sequence[Callable[[], object]], device: torch.device) -> list[float]:
    """Return the least seconds that each of the acts takes, one after the other, several times."""
    best = [math.inf] * len(acts)
    for _ in range(REPEATS + 1):  # the first of them prepares
        for place, act in enumerate(acts):
            begun = _now(device)
            act()
            best[place] = min(best[place], max(_now(device) - begun, TICK))
        if _clear(best):
            break
    return best


def _clear(times: Sequence[float]) -> bool:
    """Say whether the second format, bf16, is far slower than the first."""
    return times[-1] > max(LONG, CLEAR * times[0])


def _training(rows: int, shape: tuple[int, int], device: torch.device, form: Format) -> Callable[[], object]:
    """Return a product as the training loop computes it, with its two gradients."""
    given = torch.ones(rows, shape[0], device=device, requires_grad=True)
    weight = torch.ones(shape[1], shape[0], device=device, requires_grad=True)

    def act() -> None:
        with torch.enable_grad():
            with torch.autocast(device.type, torch.bfloat16, enabled=form == "bf16"):
                out = functional.linear(given, weight)
            out.backward(torch.ones_like(out))
        given.grad = weight.grad = None

    return act


def _decoding(rows: int, shape: tuple[int, int], device: torch.device, form: Format) -> Callable[[], object]:
    """Return a product as the copy that decodes computes it."""
    dtype = dtype_of(form)
    given = torch.ones(rows, shape[0], device=device, dtype=dtype)
    weight = torch.ones(shape[1], shape[0], device=device, dtype=dtype)

    def act() -> None:
        with torch.inference_mode():
            functional.linear(given, weight)

    return act


# From rows, a shape, a device and a format to an act: one product as that use computes it.
MAKERS = {"training": _training, "decoding": _decoding}


def dtype_of(form: Format) -> torch.dtype:
    """Return torch's name of a format."""
    return {"fp32": torch.float32, "bf16": torch.bfloat16}[form]


def _now(device: torch.device) -> float:
    if device.type == "cpu":
        return time.thread_time()
    torch.accelerator.synchronize(device)
    return time.perf_counter()


@contextmanager
def _one_thread(device: torch.device) -> Generator[None]:
    """Compute on one thread of a CPU: several wait for each other, longest where other work goes on."""
    if device.type != "cpu":
        yield
        return
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def autocast(model: nn.Module, precision: Format) -> torch.autocast:
    """Return the context of a forward in that format; weights stay as they are."""
    device = next(model.parameters()).device.type
    return torch.autocast(device, dtype=torch.bfloat16, enabled={"fp32": False, "bf16": True}[precision])
