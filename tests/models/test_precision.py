"""The number format follows what was measured, whatever the machine, and measuring changes nothing."""

from __future__ import annotations

import random
import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from torch import nn

from espalier.models import precision
from espalier.models.precision import Formats, autocast, choose, compared, gain, measure, products

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

CPU = torch.device("cpu")


def rates(training: float, decoding: float) -> dict[str, dict[str, float]]:
    """What a machine measures whose bf16 is so many times as fast as its fp32."""
    return {
        "training": {"fp32": 100.0, "bf16": 100.0 * training},
        "decoding": {"fp32": 100.0, "bf16": 100.0 * decoding},
    }


@pytest.mark.parametrize(
    ("training", "decoding", "device", "expected"),
    [
        (3.4, 3.0, "cpu", ("bf16", "bf16")),  # AVX-512 with bf16
        (0.09, 0.27, "cpu", ("fp32", "fp32")),  # AVX2
        (0.75, 0.78, "cpu", ("fp32", "fp32")),  # AVX-512 without bf16
        (1.0, 1.1, "cpu", ("fp32", "fp32")),  # parity: the more exact one
        (0.8, 1.9, "cpu", ("fp32", "bf16")),
        (1.0, 0.9, "cuda", ("bf16", "bf16")),  # parity: the one that takes less memory
        (0.2, 0.5, "cuda", ("fp32", "fp32")),  # a GPU that has fp16 only
        (0.0, 0.0, "mps", ("fp32", "fp32")),  # a device that has no bf16
    ],
)
def test_auto_takes_what_is_clearly_faster(
    training: float, decoding: float, device: str, expected: tuple[str, str]
) -> None:
    found = choose("auto", rates(training, decoding), torch.device(device))
    assert (found.training, found.decoding) == expected


@pytest.mark.parametrize("asked", ["fp32", "bf16"])
def test_a_name_is_taken_whatever_was_measured(asked: Any) -> None:
    assert choose(asked, rates(0.1, 10), CPU) == Formats(
        asked, asked, f"Computing in {asked}, as model.precision says.", rates(0.1, 10)
    )


def test_the_reason_is_a_sentence_with_both_figures() -> None:
    assert choose("auto", rates(0.05, 0.25), CPU).why == (
        "Computing in fp32: compared with fp32, products in bf16 are 20 times slower in training "
        "and 4.0 times slower in decoding on this CPU."
    )
    assert choose("auto", rates(0.5, 2.5), CPU).why.startswith(
        "Computing in fp32 while training and bf16 while decoding: "
    )
    assert "impossible in training" in compared(rates(0, 1))


def test_the_products_are_those_of_the_models_matrices(tiny_llama: LlamaForCausalLM) -> None:
    config = tiny_llama.config
    found = products(tiny_llama)
    assert found.total() == 2 * 7 + 1  # of each layer, and the head; the table of embeddings is no product
    assert found[config.hidden_size, config.intermediate_size] == 2 * 2


def test_matrices_count_whichever_class_holds_them() -> None:
    from transformers.pytorch_utils import Conv1D

    class Experts(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.up = nn.Parameter(torch.ones(8, 32, 16))

    model = nn.ModuleList([Conv1D(48, 16), nn.Embedding(99, 16), nn.LayerNorm(16), Experts()])
    assert products(model) == Counter({(48, 16): 1, (16, 32): 1})


def test_measuring_draws_nothing_and_leaves_the_threads(tiny_llama: LlamaForCausalLM) -> None:
    before = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
    threads = torch.get_num_threads()
    found = measure(tiny_llama)
    after = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
    assert torch.equal(before[0], after[0])
    assert before[1:] == after[1:]
    assert torch.get_num_threads() == threads
    assert all(value > 0 for use in found.values() for value in use.values())
    assert all(weight.grad is None for weight in tiny_llama.parameters())
    assert measure(nn.ModuleList([nn.Embedding(4, 4)])).keys() == found.keys()


class Clock:
    """A clock that an act moves on."""

    def __init__(self) -> None:
        self.now = 0.0
        self.calls: Counter[str] = Counter()

    def make(self, seconds: dict[str, list[float]]):
        """Return a maker of acts: each format takes its seconds in turn, the last one from then on."""

        def of(rows: int, shape: object, device: object, form: str):
            def act() -> None:
                taken = seconds[form]
                self.now += taken[min(self.calls[form], len(taken) - 1)]
                self.calls[form] += 1

            return act

        return of


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(precision, "_now", lambda device: clock.now)
    return clock


def test_one_slow_look_decides_nothing(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    seconds = {"fp32": [3.0, 0.002, 0.9, 0.002], "bf16": [0.04, 0.001, 0.001, 0.7]}
    monkeypatch.setitem(precision.MAKERS, "training", clock.make(seconds))
    assert gain({"training": precision._rates("training", {(9, 9): 1}, CPU)}, "training") == pytest.approx(
        2, 1e-3
    )


def test_what_is_far_slower_is_asked_once(clock: Clock, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(precision.MAKERS, "decoding", clock.make({"fp32": [0.01], "bf16": [0.9]}))
    found = precision._rates("decoding", {(9, 9): 5, (99, 99): 1, (999, 99): 1}, CPU)
    assert found["bf16"] < 0.02 * found["fp32"]
    assert clock.calls == {"fp32": 1, "bf16": 2}  # whether there is bf16 at all is asked before


@pytest.mark.parametrize("early", [True, False])
def test_a_device_without_bf16_is_found_out(
    clock: Clock, monkeypatch: pytest.MonkeyPatch, early: bool
) -> None:
    """Whether it says so where a tensor is made or where a product is computed."""
    whole = clock.make({"fp32": [0.01]})

    def make(rows: int, shape: object, device: object, form: str):
        if form == "fp32":
            return whole(rows, shape, device, form)

        def act() -> None:
            raise TypeError("BFloat16 is not supported on MPS")

        if early:
            act()
        return act

    monkeypatch.setitem(precision.MAKERS, "training", make)
    found = precision._rates("training", {(9, 9): 1}, CPU)
    assert found["bf16"] == 0 < found["fp32"]


def test_other_work_on_the_machine_is_not_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    """A product that waits, as one does whose processor is taken away, is not slower for it."""

    def make(rows: int, shape: tuple[int, int], device: torch.device, form: str):
        def act() -> None:
            time.sleep(0.01 if form == "bf16" else 0)
            sum(range(20_000))

        return act

    monkeypatch.setitem(precision.MAKERS, "training", make)
    assert gain({"training": precision._rates("training", {(9, 9): 1}, CPU)}, "training") > 0.5


def test_a_format_that_was_not_chosen_is_a_bug(tiny_llama: LlamaForCausalLM) -> None:
    with pytest.raises(KeyError):
        autocast(tiny_llama, "auto")  # type: ignore[arg-type]
