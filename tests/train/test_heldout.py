"""The held-out loss is as in training, changes nothing, and says which weights are kept and when to stop."""

from __future__ import annotations

import copy
import json
import math
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
import torch

from espalier.core.errors import CheckpointError
from espalier.decode.likelihood import token_logprobs
from espalier.encode.batches import schedule
from espalier.encode.tokens import Unit
from espalier.models.forward import Edges, edge_logprobs
from espalier.train.heldout import HeldOut, evaluate, take_best, watched
from espalier.train.loop import Settings, train
from espalier.train.noise import noisy
from espalier.train.objectives import LossSum, Objective, sft
from espalier.train.steps import Step, Term

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from transformers import LlamaForCausalLM

    from espalier.core.records import Encoded
    from espalier.encode.tree import Tree
    from espalier.train.loop import Event
    from espalier.train.steps import Source

SETTINGS = Settings(steps=10, rate=3e-3, precision="fp32", checkpoint=4)


@pytest.fixture
def source(tiny_rows: list[Encoded], source_of: Callable[..., Source]) -> Source:
    return source_of(tiny_rows[::2], [(sft(), 1.0)])


@pytest.fixture
def dev(tiny_rows: list[Encoded], source_of: Callable[..., Source]) -> Source:
    """All rows that are held out, in one step of several trees."""
    return source_of(tiny_rows[1::2], [(sft(), 1.0)], size=12, tokens=150)


def trained(
    model: LlamaForCausalLM, source: Source, heldout: HeldOut | None, folder: Path
) -> Iterator[Event]:
    """Train, with an evaluation or without."""
    events = train(model, source, SETTINGS, folder, recipe={})
    if heldout is None:
        return events
    return watched(events, model, heldout, folder, forward=edge_logprobs, precision="fp32")


def told(losses: Sequence[float], every: int, dev: Source, patience: int = 0) -> HeldOut:
    """Return what has these losses, one an evaluation, whatever the model says."""
    left = iter(losses)

    def step() -> Step:
        loss, (tree, _) = next(left), dev(0).work[0]

        def fixed(edges: Edges, tree: Tree) -> LossSum:
            return LossSum(torch.tensor(loss), 1.0, {})

        return Step(tree.rows, [(tree, [Term(fixed, 1.0, 1.0)])])

    return HeldOut(step, every, patience)


def test_the_loss_is_that_of_each_answer_token(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], dev: Source
) -> None:
    step = dev(0)
    assert len(step.work) > 1
    values = token_logprobs(tiny_llama, tiny_rows[1::2], edge_logprobs, tokens=10_000, precision="fp32")
    flat = [value for row in values for value in row]
    loss, counts = evaluate(tiny_llama, step, edge_logprobs, "fp32")
    assert loss == pytest.approx(-sum(flat) / len(flat), rel=1e-5)
    assert counts == {"rows": 12, "trained_tokens": len(flat)}


def test_objectives_add_by_their_shares(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], source_of: Callable[..., Source]
) -> None:
    def loss(*shares: float) -> float:
        source = source_of(tiny_rows, [(sft(), share) for share in shares], size=24)
        return evaluate(tiny_llama, source(0), edge_logprobs, "fp32")[0]

    assert loss(0.5, 1.5) == pytest.approx(2 * loss(1.0))


def test_a_training_is_the_same_bitwise_with_noise_and_random_numbers(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], source_of: Callable[..., Source], tmp_path: Path
) -> None:
    """The best being the last step, the weights are those of the same rows without any evaluation."""

    def begin(units, tools):
        begun = sft().begin(units, tools)

        def part(number, taken):
            plain = begun(number, taken)

            def loss(edges: Edges, tree: Tree) -> LossSum:
                dropped = torch.nn.functional.dropout(edges.logprobs, 0.2, training=torch.is_grad_enabled())
                return plain.loss(Edges(dropped, edges.means), tree)

            return replace(plain, loss=loss)

        return part

    shared = [(Objective(begin, sft().learns), 1.0)]
    source, dev = source_of(tiny_rows[::2], shared), source_of(tiny_rows[:4:2], shared)
    found = []
    for name, heldout in (("with", HeldOut(lambda: dev(0), 3, 0)), ("without", None)):
        model = copy.deepcopy(tiny_llama)
        torch.manual_seed(3)
        with noisy(model, source, 5.0, 0) as steps:
            events = list(trained(model, steps, heldout, tmp_path / name))
        losses = [event["loss"] for event in events if event["event"] == "step"]
        found.append((losses, torch.get_rng_state(), model.state_dict()))
        if heldout:
            assert [event["step"] for event in events if event["event"] == "dev"] == [3, 6, 9, 10]
            take_best(model, tmp_path / name)
            assert events[-1]["step"] == events[-1]["last"] == 10
            json.dumps(events)
    assert found[0][0] == found[1][0]
    assert torch.equal(found[0][1], found[1][1])
    assert all(torch.equal(weight, found[1][2][name]) for name, weight in found[0][2].items())


def test_no_noise_and_no_dropout_while_it_is_computed(
    llama: Callable[..., LlamaForCausalLM], source: Source, dev: Source, one_thread: None
) -> None:
    model = llama(64, attention_dropout=0.5, pad_token_id=0)
    expected = evaluate(model, dev(0), edge_logprobs, "fp32")
    with noisy(model.train(), source, 50.0, 0) as steps:
        steps(0)
        assert evaluate(model, dev(0), edge_logprobs, "fp32") == expected
    assert model.training


def test_the_best_weights_are_kept_and_those_between_are_not(
    tiny_llama: LlamaForCausalLM, source: Source, dev: Source, tmp_path: Path
) -> None:
    heldout = told([5.0, 3.0, 4.0, 2.0, 2.0], 2, dev)
    states: dict[int, dict[str, torch.Tensor]] = {}
    files: dict[int, list[str]] = {}
    kept: Event = {}
    for event in trained(tiny_llama, source, heldout, tmp_path):
        kept = event
        if event["event"] == "dev":
            states[event["step"]] = copy.deepcopy(tiny_llama.state_dict())
            files[event["step"]] = sorted(path.name[5:11] for path in tmp_path.glob("checkpoints/best-*"))
    # A checkpoint at step 4 needs the best of then, until the next one is there.
    assert files == {2: ["000002"], 4: ["000004"], 6: ["000004"], 8: ["000004", "000008"], 10: ["000008"]}
    take_best(tiny_llama, tmp_path)
    assert kept == {"event": "kept", "step": 8, "steps": 10, "loss": 2.0, "last": 10, "last_loss": 2.0}
    for name, weight in tiny_llama.state_dict().items():
        assert torch.equal(weight, states[8][name])
    assert not tiny_llama.training


@pytest.mark.parametrize(
    ("losses", "patience", "last", "best"),
    [
        ([5.0, 6.0, 4.0, 4.5, 4.0], 2, 10, 6),
        ([5.0, 6.0, 5.0], 2, 6, 2),
        ([5.0, 6.0], 1, 4, 2),
        ([5.0, math.nan, 4.0, math.inf, 9.0], 2, 10, 6),
        ([math.nan, math.nan], 2, 4, 4),
        ([9.0, 8.0, 7.0, 6.0, 5.0], 1, 10, 10),
    ],
)
def test_patience_ends_it_after_so_many_without_a_lower_loss(
    tiny_llama: LlamaForCausalLM,
    source: Source,
    dev: Source,
    tmp_path: Path,
    losses: list[float],
    patience: int,
    last: int,
    best: int,
) -> None:
    events = list(trained(tiny_llama, source, told(losses, 2, dev, patience), tmp_path))
    assert max(event["step"] for event in events if event["event"] == "step") == last
    assert (events[-1]["step"], events[-1]["last"]) == (best, last)
    files = [path.name for path in sorted(tmp_path.glob("checkpoints/best-*"))][-1:]
    assert files == ([f"best-{best:06d}.safetensors"] if math.isfinite(min(losses)) else [])


def test_what_was_found_has_to_be_there_when_a_training_goes_on(
    tiny_llama: LlamaForCausalLM, source: Source, dev: Source, tmp_path: Path
) -> None:
    heldout = HeldOut(lambda: dev(0), 2, 0)
    for event in trained(tiny_llama, source, heldout, tmp_path):
        if event["event"] == "checkpoint":
            break
    (best,) = tmp_path.glob("checkpoints/best-*")
    best.unlink()
    with pytest.raises(CheckpointError, match=r"the best weights are not there.*start again"):
        next(trained(tiny_llama, source, heldout, tmp_path))
    (tmp_path / "checkpoints" / "heldout.json").write_text("[[2")
    with pytest.raises(CheckpointError, match="The checkpoint is damaged"):
        next(trained(tiny_llama, source, heldout, tmp_path))


def test_rows_held_out_are_all_in_the_step_that_watches(tiny_rows: list[Encoded]) -> None:
    units = [Unit(row.example, row.ids[: row.prompt], (row,)) for row in tiny_rows]
    assert sorted(unit.example for unit in schedule(units, len(units), 7)(0)) == sorted(
        unit.example for unit in units
    )
