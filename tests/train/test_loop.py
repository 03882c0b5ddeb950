"""The loop learns, reports what it does, and stops rather than going on with numbers that are none."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from espalier.core.errors import CheckpointError, RunError
from espalier.models.adapters import methods
from espalier.models.forward import edge_logprobs
from espalier.train.loop import Settings, train
from espalier.train.objectives import Objective, Part, sft

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import LlamaForCausalLM

    from espalier.core.records import Encoded
    from espalier.encode.tree import Tree
    from espalier.models.forward import Edges
    from espalier.train.steps import Source

SETTINGS = Settings(steps=6, rate=3e-3, precision="fp32", checkpoint=4)


@pytest.fixture
def source(tiny_rows: list[Encoded], source_of: Callable[..., Source]) -> Source:
    return source_of(tiny_rows, [(sft(), 1.0)])


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_the_loss_falls(tiny_llama: LlamaForCausalLM, source: Source, tmp_path: Path, precision: str):
    settings = replace(SETTINGS, steps=30, precision=precision, checkpoint=100)
    events = list(train(tiny_llama, source, settings, tmp_path, recipe={}))
    losses = [event["loss"] for event in events if event["event"] == "step"]
    assert losses[0] == pytest.approx(4.16, abs=0.3)  # log 64
    assert sum(losses[-3:]) / 3 < losses[0] - 1
    assert next(tiny_llama.parameters()).dtype is torch.float32


def test_events_say_what_was_done(tiny_llama: LlamaForCausalLM, source: Source, tmp_path: Path):
    events = list(train(tiny_llama, source, SETTINGS, tmp_path, recipe={}))
    assert [event["event"] for event in events] == [
        "train", "step", "step", "step", "step", "checkpoint", "step", "step", "checkpoint",
    ]  # fmt: skip
    first = events[1]
    ((tree, _),) = source(0).work
    assert (first["step"], first["steps"], first["rows"], first["trees"]) == (1, 6, 8, 1)
    assert first["distinct_tokens"] == len(tree.ids) < first["tokens"]
    assert first["trained_tokens"] == len(tree.weights)
    assert first["rate"] == SETTINGS.rate
    assert first["seconds_left"] > 0
    assert first["peak_mb"] > 10
    assert events[7]["seconds_left"] == 0
    json.dumps(events)


def test_the_reported_loss_is_the_mean_per_trained_token(
    tiny_llama: LlamaForCausalLM, source: Source, tmp_path: Path
):
    ((tree, (term,)),) = source(0).work
    with torch.no_grad():
        expected = term.loss(edge_logprobs(tiny_llama, tree), tree).total.item() / tree.weights.sum()
    events = train(tiny_llama, source, SETTINGS, tmp_path, recipe={})
    next(events)
    assert next(events)["loss"] == pytest.approx(expected, rel=1e-5)


def test_shares_of_objectives_add(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], source_of: Callable[..., Source], tmp_path: Path
):
    found = []
    for name, shared in (("one", [(sft(), 1.0)]), ("two", [(sft(), 0.25), (sft(), 0.75)])):
        source = source_of(tiny_rows, shared)
        _, first, *_ = train(copy.deepcopy(tiny_llama), source, SETTINGS, tmp_path / name, recipe={})
        found.append((first["loss"], first["norm"]))
    assert found[0] == pytest.approx(found[1], rel=1e-5)


@pytest.mark.parametrize("value", [float("nan"), float("inf")])
def test_a_loss_that_is_not_finite_stops_the_run(
    tiny_llama: LlamaForCausalLM,
    tiny_rows: list[Encoded],
    source_of: Callable[..., Source],
    tmp_path: Path,
    value: float,
):
    seen = {"trees": 0}

    def breaking(part: Part) -> Part:
        def loss(edges: Edges, tree: Tree):
            seen["trees"] += 1
            found = part.loss(edges, tree)
            return replace(found, total=found.total + value) if seen["trees"] == 6 else found

        return replace(part, loss=loss)

    def begin(units, tools):
        begun = sft().begin(units, tools)
        return lambda number, taken: breaking(begun(number, taken))

    source = source_of(tiny_rows, [(Objective(begin, sft().learns), 1.0)])
    with pytest.raises(RunError, match=r"stopped at step 6: the loss is (nan|inf)") as caught:
        list(train(tiny_llama, source, SETTINGS, tmp_path, recipe={}))
    bad = tmp_path / "bad-step-6.jsonl"
    assert caught.value.where == str(bad)
    saved = [json.loads(line) for line in bad.read_text().splitlines()]
    assert [row["example"] for row in saved] == [row.example for row in source(5).rows]
    assert saved[0]["ids"] == list(source(5).rows[0].ids)
    assert [path.name for path in (tmp_path / "checkpoints").iterdir()] == ["step-000004"]
    assert all(weight.isfinite().all() for weight in tiny_llama.parameters())


def test_a_gradient_that_is_not_finite_stops_the_run(
    tiny_llama: LlamaForCausalLM, source: Source, tmp_path: Path
):
    tiny_llama.model.norm.weight.register_hook(lambda gradient: gradient * float("nan"))
    with pytest.raises(RunError, match=r"the norm of its gradient nan"):
        list(train(tiny_llama, source, SETTINGS, tmp_path, recipe={}))


def test_a_finished_run_is_not_done_again(tiny_llama: LlamaForCausalLM, source: Source, tmp_path: Path):
    list(train(tiny_llama, source, SETTINGS, tmp_path, recipe={"rate": 1}))
    before = [weight.clone() for weight in tiny_llama.parameters()]
    events = list(train(tiny_llama, source, SETTINGS, tmp_path, recipe={"rate": 1}))
    assert [(event["event"], event["step"]) for event in events] == [("train", 6)]
    assert all(torch.equal(*pair) for pair in zip(before, tiny_llama.parameters(), strict=True))
    with pytest.raises(CheckpointError, match=r"rate \(1 before, 2 now\)"):
        list(train(tiny_llama, source, SETTINGS, tmp_path, recipe={"rate": 2}))


def test_lora_trains_its_adapter_only(tiny_llama: LlamaForCausalLM, source: Source, tmp_path: Path):
    model = methods.build("lora", {"rank": 4})(tiny_llama)
    frozen = {name: w.clone() for name, w in model.named_parameters() if not w.requires_grad}
    events = list(train(model, source, replace(SETTINGS, rate=0.02), tmp_path, recipe={}))
    losses = [event["loss"] for event in events if event["event"] == "step"]
    assert losses[-1] < losses[0]
    assert 0 < events[0]["trained_weights"] < sum(w.numel() for w in frozen.values())
    after = dict(model.named_parameters())
    assert all(torch.equal(weight, after[name]) for name, weight in frozen.items())
