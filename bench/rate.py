"""The machine's matrix rate, measured between the steps: what a step's own rate is a share of.

Cloud machines change their speed by the minute, so a rate of another hour says nothing.
"""

from __future__ import annotations

import statistics
import time
from typing import TYPE_CHECKING

from bench.side import Job, commands

if TYPE_CHECKING:
    from multiprocessing.connection import Connection

    from espalier.models.precision import Format, Formats

# (rows, inner, columns): the products of a tree of 1,683 tokens in SmolLM2-135M (query and output; gate and
# up; down), and one large square that shows what the processor can do at all.
SHAPES = ((1683, 576, 576), (1683, 576, 1536), (1683, 1536, 576), (2048, 2048, 2048))
MODEL = "1683x576x1536"


def formats_of(model: str) -> Formats:
    """Return the number formats that a run of the model would choose here: all sides compute in them."""
    from espalier.models.load import load_model
    from espalier.models.precision import choose, measure

    loaded = load_model(model).model
    return choose("auto", measure(loaded), loaded.device)


def matrix_rate(precision: Format, shape: tuple[int, int, int], seconds: float = 0.2) -> float:
    """Return the median GFLOP/s of `torch.matmul` at a shape, over calls of `seconds` in all."""
    import torch

    from espalier.models.precision import dtype_of

    dtype = dtype_of(precision)
    rows, inner, columns = shape
    left, right = torch.randn(rows, inner).to(dtype), torch.randn(columns, inner).to(dtype)
    times: list[float] = []
    torch.matmul(left, right.T)
    while sum(times) < seconds:
        start = time.perf_counter()
        torch.matmul(left, right.T)
        times.append(time.perf_counter() - start)
    return 2 * rows * inner * columns / statistics.median(times) / 1e9


def step_gflop(model: str, distinct: float, scored: float, method: str) -> float:
    """Return the matrix work of a step in GFLOP: each distinct token once, the head at the scored ones.

    Attention is left out. A weight costs two operations a token forward, two for the gradient of its input,
    and two for its own gradient, which frozen weights under LoRA are spared.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    with torch.device("meta"):
        empty = AutoModelForCausalLM.from_config(AutoConfig.from_pretrained(model))
    head = empty.get_output_embeddings().weight.numel()
    inner = sum(
        part.weight.numel() for part in empty.get_decoder().modules() if isinstance(part, torch.nn.Linear)
    )
    passes = {"full": 6, "lora": 4}[method]
    return passes * (inner * distinct + head * scored) / 1e9


def run(job: Job, connection: Connection) -> None:
    """As a side: send the rates of the job's format once per command, GFLOP/s by shape."""
    for _ in commands(connection):
        precision = job.settings["precision"]
        connection.send({"x".join(map(str, shape)): matrix_rate(precision, shape) for shape in SHAPES})
