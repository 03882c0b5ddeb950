"""The forecast changes nothing, sees the costliest step, and tells what then happens."""

from __future__ import annotations

import copy
import random
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from espalier.core.errors import RecipeError
from espalier.encode.tokens import Unit
from espalier.train import forecast as forecast_file
from espalier.train.forecast import Sight, forecast
from espalier.train.heldout import HeldOut
from espalier.train.loop import Settings, train
from espalier.train.objectives import Resources, sft
from espalier.train.optimizer import adafactor, adamw, lomo
from espalier.train.parallel import cost
from espalier.train.steps import Step, steps_of

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import LlamaForCausalLM

    from espalier.core.records import Encoded
    from espalier.train.steps import Source


def source_of(rows: list[Encoded], tokens: int = 4000) -> Source:
    units = [Unit(row.example, row.ids[: row.prompt], (row,)) for row in rows]
    nothing = Resources(3, *[lambda *_: pytest.fail("not needed")] * 4)
    return steps_of(units, [(sft(), 1.0)], nothing, size=8, tokens=tokens, seed=0)


@pytest.mark.parametrize("make", [adamw, adafactor, lomo])
def test_it_changes_nothing(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], make, tmp_path: Path):
    model = tiny_llama.train()
    before = copy.deepcopy(model.state_dict())
    numbers = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
    settings = Settings(steps=6, rate=1e-2, decay=0.1, optimizer=make())
    found = forecast(model, source_of(tiny_rows), settings, tmp_path)
    after = (torch.get_rng_state(), np.random.get_state()[1].tolist(), random.getstate())
    assert torch.equal(numbers[0], after[0])
    assert numbers[1:] == after[1:]
    assert model.training
    assert all(torch.equal(weight, before[name]) for name, weight in model.state_dict().items())
    assert all(weight.grad is None for weight in model.parameters())
    assert not list(tmp_path.iterdir())
    assert found.steps == 6
    assert 0 < found.step_seconds < found.seconds


def test_evaluations_are_counted(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], tmp_path: Path
) -> None:
    dev = source_of(tiny_rows[:8])
    settings = Settings(steps=7, rate=1e-2)
    plain, often, cut = (
        forecast(tiny_llama, source_of(tiny_rows), settings, tmp_path, heldout=heldout)
        for heldout in (None, HeldOut(lambda: dev(0), 2, 0), HeldOut(lambda: dev(0), 7, 0))
    )
    assert plain.evaluation_seconds == 0
    # Four evaluations and one, each about a third of a step.
    assert 0 < cut.evaluation_seconds < often.evaluation_seconds < often.seconds
    assert often.seconds > 7 * often.step_seconds + often.evaluation_seconds


def test_training_is_the_same_after_it(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], tmp_path: Path
):
    losses = []
    for name, asked in (("with", True), ("without", False)):
        model = copy.deepcopy(tiny_llama)
        settings = Settings(steps=3, rate=1e-2)
        if asked:
            forecast(model, source_of(tiny_rows), settings, tmp_path)
        events = train(model, source_of(tiny_rows), settings, tmp_path / name, recipe={})
        losses.append([event["loss"] for event in events if event["event"] == "step"])
    assert losses[0] == losses[1]


def test_it_probes_the_costliest_step_and_then_a_typical_one(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    part = source_of(tiny_rows[:8])(0)
    whole = Step(tiny_rows, [*source_of(tiny_rows[8:])(0).work, *part.work])
    probed: list[Step] = []
    backward = forecast_file.backward
    monkeypatch.setattr(
        forecast_file,
        "backward",
        lambda model, step, *rest: (probed.append(step), backward(model, step, *rest)),
    )
    forecast(tiny_llama, lambda n: whole if n == 5 else part, Settings(steps=9, rate=1e-2), tmp_path)
    trees = [id(tree) for step in probed for tree, _ in step.work]
    by_cost = sorted([tree for tree, _ in whole.work], key=cost, reverse=True)
    assert trees[1:] == [*map(id, by_cost), *(id(tree) for tree, _ in part.work)]
    assert len(probed[0].work[0][0].rows) == 1  # a small one, to begin with


def test_it_looks_at_steps_from_all_over_or_at_those_that_it_is_told(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], tmp_path: Path
):
    asked: list[int] = []
    step = source_of(tiny_rows)(0)

    def source(number: int) -> Step:
        asked.append(number)
        return step

    forecast(tiny_llama, source, Settings(steps=1000, rate=1e-2), tmp_path)
    assert (len(asked), asked[0], asked[-1]) == (100, 0, 990)
    asked.clear()
    found = forecast(tiny_llama, source, Settings(steps=50, rate=1e-2), tmp_path, look=range(2))
    assert asked == [0, 1]
    assert found.seconds > 49 * found.step_seconds


def test_what_the_training_would_refuse_is_refused_before(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], tmp_path: Path
):
    settings = Settings(steps=3, rate=1e-2, optimizer=lomo())
    with pytest.raises(RecipeError, match="trees"):
        forecast(tiny_llama, source_of(tiny_rows, tokens=110), settings, tmp_path)


@pytest.fixture
def slow(monkeypatch: pytest.MonkeyPatch) -> Callable[[float], list[Sight]]:
    """Makes trees take seconds by their cost, on a clock of its own, and the first four times as many."""
    now, sights = [0.0], []
    backward = forecast_file.backward

    def become(pace: float) -> list[Sight]:
        def slowly(model: Any, step: Step, *rest: Any) -> object:
            ((tree, _),) = step.work
            now[0] += cost(tree) * pace * (1 if sights else 4)
            return backward(model, step, *rest)

        monkeypatch.setattr(forecast_file, "backward", slowly)
        monkeypatch.setattr(forecast_file, "_now", lambda: now[0])
        return sights

    return become


def test_it_tells_after_every_tree_how_long_all_seems_to_take(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], tmp_path: Path, slow
):
    sights = slow(0.01)
    source = source_of(tiny_rows, tokens=110)
    found = forecast(tiny_llama, source, Settings(steps=90, rate=1e-2), tmp_path, tell=sights.append)
    trees = sights[0].trees
    assert [sight.done for sight in sights] == list(range(1, trees + 1))
    assert trees > 3
    assert sights[0].seconds == pytest.approx(4 * sights[1].seconds)
    assert found.seconds == pytest.approx(sights[-1].seconds, rel=0.2)
    assert not found.cut
    assert found.peak_mb is not None


@pytest.mark.parametrize(("pace", "least", "most", "peak"), [(0.1, 3, 7, True), (50.0, 1, 1, False)])
def test_one_that_would_take_minutes_is_cut_short(
    tiny_llama: LlamaForCausalLM,
    tiny_rows: list[Encoded],
    tmp_path: Path,
    slow,
    pace: float,
    least: int,
    most: int,
    peak: bool,
):
    sights = slow(pace)
    source = source_of(tiny_rows, tokens=110)
    found = forecast(tiny_llama, source, Settings(steps=90, rate=1e-2), tmp_path, tell=sights.append)
    assert found.cut
    assert least <= len(sights) <= most < sights[0].trees
    assert (found.peak_mb is not None) == peak
    assert found.seconds == pytest.approx(sights[-1].seconds, rel=0.1)
    assert all(weight.grad is None for weight in tiny_llama.parameters())
    assert not list(tmp_path.iterdir())


def test_a_cut_leaves_no_hook_of_an_optimizer_that_moves_in_the_backward(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], tmp_path: Path, slow
):
    slow(50.0)
    settings = Settings(steps=3, rate=1e-2, optimizer=lomo())
    assert forecast(tiny_llama, source_of(tiny_rows), settings, tmp_path).cut
    before = copy.deepcopy(tiny_llama.state_dict())
    tiny_llama(input_ids=torch.tensor([[1, 2, 3]])).logits.sum().backward()
    assert all(torch.equal(weight, before[name]) for name, weight in tiny_llama.state_dict().items())
    assert all(weight.grad is not None for weight in tiny_llama.parameters())
