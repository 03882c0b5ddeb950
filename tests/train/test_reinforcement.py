"""Advantages, rounds and their journal, and the ratio between what sampled and what is trained."""

from __future__ import annotations

import dataclasses
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from espalier.core.errors import RecipeError, RunError
from espalier.core.journal import Journal
from espalier.core.records import Encoded, Example, message
from espalier.encode.batches import steps_per_epoch
from espalier.encode.tokens import Unit, encode_unit
from espalier.encode.tree import build_tree
from espalier.models.forward import Edges, edge_logprobs
from espalier.train.loop import backward
from espalier.train.objectives import Resources, Sampled, objectives
from espalier.train.reference import make_resources
from espalier.train.reinforcement import advantages, grpo, journaled
from espalier.train.sampling import Answering

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from transformers import LlamaForCausalLM

    from espalier.encode.template import Template
    from espalier.train.steps import Source

pytestmark = pytest.mark.usefixtures("one_thread")
numbers = st.floats(-1e3, 1e3, width=32) | st.just(float("nan"))
rewards = st.tuples(st.integers(1, 5), st.integers(2, 6)).flatmap(
    lambda shape: arrays(np.float64, shape, elements=numbers)
)


@given(rewards, st.sampled_from(["group", "step", "none"]))
def test_advantages_are_finite_and_add_up_to_nothing(values: np.ndarray, scale: Any):
    gains = advantages(values, scale)
    assert np.isfinite(gains).all()
    assert not gains[np.isnan(values)].any()
    size = 1 + np.abs(gains).max()
    assert np.abs(gains.sum(1)).max() <= 1e-6 * size
    known = ~np.isnan(values)
    for own, gain, there in zip(values, gains, known, strict=True):
        assert (np.diff(gain[there][np.argsort(own[there])]) >= -1e-9 * size).all()  # in the rewards' order


@given(rewards)
def test_a_group_of_one_reward_has_nothing_to_gain(values: np.ndarray):
    same = np.where(np.isnan(values), values, 7.0)
    for scale in ("group", "none"):
        assert not advantages(same, scale).any()


@given(rewards, st.sampled_from(["group", "step", "none"]), st.integers(1, 3))
def test_what_is_not_judged_is_as_if_it_were_not_there(values: np.ndarray, scale: Any, more: int):
    blind = np.full((len(values), more), float("nan"))
    wider = advantages(np.concatenate([values, blind], axis=1), scale)
    assert np.allclose(wider[:, : values.shape[1]], advantages(values, scale), rtol=1e-12, atol=1e-12)


def test_scales_by_hand():
    values = np.array([[1.0, 3.0], [0.0, float("nan")]])
    assert advantages(values, "none").tolist() == [[-1.0, 1.0], [0.0, 0.0]]
    deviation = math.sqrt(2.0)
    assert advantages(values, "group")[0] == pytest.approx([-1 / (deviation + 1e-4), 1 / (deviation + 1e-4)])
    deviation = np.std([1.0, 3.0, 0.0], ddof=1)
    assert advantages(values, "step")[0] == pytest.approx([-1 / (deviation + 1e-4), 1 / (deviation + 1e-4)])


def units(count: int = 3) -> list[Unit]:
    return [Unit(f"e{number}", (1, 5, 6, 7 + number), ()) for number in range(count)]


def answer(number: int, reward: float = 0.0) -> Sampled:
    ids = tuple(range(10, 11 + number % 3))
    return Sampled(
        ids, tuple(-0.1 * token for token in ids), f"é{number}\n", "stop", {"rule": reward}, reward
    )


class Counting:
    """A sampler that remembers what it was asked for."""

    def __init__(self, reward: Callable[[int], float] = float) -> None:
        self.turns: list[int] = []
        self.reward = reward

    def __call__(self, turn: int, taken: Sequence[Unit], samples: int, limit: int) -> list[list[Sampled]]:
        self.turns.append(turn)
        return [
            [answer(10 * place + n, self.reward(n + turn)) for n in range(samples)]
            for place in range(len(taken))
        ]


def tools_of(sampler: Any) -> Resources:
    return Resources(2, *[lambda *_: pytest.fail("not needed")] * 3, lambda _: sampler)


def test_updates_learn_from_the_same_answers(source_of: Callable[..., Source]):
    sampler = Counting()
    objective = grpo(rewards={"rule": 1.0}, group=2, limit=4, updates=3)
    source = source_of(units(4), [(objective, 1.0)], size=2, tools=tools_of(sampler))
    steps = [source(number) for number in range(9)]
    assert sampler.turns == [0, 1, 2]
    for start in range(0, 9, 3):
        assert steps[start].rows == steps[start + 1].rows == steps[start + 2].rows
        assert steps[start].log == steps[start + 1].log
    assert {row.example for row in steps[0].rows} | {row.example for row in steps[3].rows} == {
        "e0", "e1", "e2", "e3",
    }  # fmt: skip
    assert all(row.role == "sample" for step in steps for row in step.rows)


@pytest.mark.parametrize(
    ("average", "divisor"), [("answer", lambda rows: len(rows)), ("constant", lambda rows: 4.0 * len(rows)),
    ("token", lambda rows: sum(sum(row.weights) for row in rows))]
)  # fmt: skip
def test_divisors_are_what_is_averaged_over(source_of: Callable[..., Source], average: Any, divisor: Any):
    objective = grpo(rewards={"rule": 1.0}, group=2, limit=4, average=average)
    step = source_of(units(), [(objective, 1.0)], tools=tools_of(Counting()))(0)
    ((_, (term,)),) = step.work
    assert term.divisor == divisor(step.rows)


def test_a_round_says_what_it_was(source_of: Callable[..., Source]):
    objective = grpo(rewards={"rule": 1.0}, group=2, limit=4)
    step = source_of(units(), [(objective, 1.0)], tools=tools_of(Counting(lambda n: n % 2)))(0)
    assert step.log["reward"] == step.log["reward rule"] == 0.5
    assert step.log["stopped"] == step.log["groups_with_a_difference"] == step.log["distinct"] == 1.0
    same = source_of(units(), [(objective, 1.0)], tools=tools_of(Counting(lambda _: 1.0)))(0)
    assert same.log["groups_with_a_difference"] == 0.0
    blind = source_of(units(), [(objective, 1.0)], tools=tools_of(Counting(lambda _: math.nan)))(0)
    assert (blind.log["reward"], blind.log["groups_with_a_difference"]) == (0.0, 0.0)


@given(
    st.lists(
        st.builds(
            Sampled,
            st.lists(st.integers(0, 9), min_size=1, max_size=3).map(tuple),
            st.lists(st.floats(-50, 0), min_size=1, max_size=3).map(tuple),
            st.text(max_size=4) | st.just("\n\u2028\x85"),
            st.sampled_from(["stop", "length"]),
            st.dictionaries(
                st.sampled_from("ab"), st.none() | st.floats(allow_infinity=False, allow_nan=False)
            ),
            st.floats(allow_nan=False) | st.just(0.1),
        ),
        min_size=4,
        max_size=4,
    )
)
def test_a_round_comes_back_from_its_journal_exactly(tmp_path_factory: Any, answers: list[Sampled]):
    store = Journal(tmp_path_factory.mktemp("journal") / "journal.sqlite")
    groups = [answers[:2], answers[2:]]
    first = journaled(store, "key", lambda *_: groups)(5, units(2), 2, 4)
    again = journaled(store, "key", lambda *_: pytest.fail("it is known"))(5, units(2), 2, 4)
    assert first == again == groups


def test_unknown_rewards_come_back_as_unknown(tmp_path: Path):
    blind = [[dataclasses.replace(answer(0), rewards={"rule": None}, reward=math.nan)] * 2]
    store = Journal(tmp_path / "journal.sqlite")
    journaled(store, "key", lambda *_: blind)(0, units(1), 2, 4)
    ((one, _),) = journaled(store, "key", lambda *_: pytest.fail("it is known"))(0, units(1), 2, 4)
    assert one.rewards == {"rule": None}
    assert math.isnan(one.reward)


def test_a_round_is_another_one_with_whatever_determines_it(tmp_path: Path):
    store, sampler, told = Journal(tmp_path / "run" / "journal.sqlite"), Counting(), []
    kept = journaled(store, "key", sampler, tell=told.append)
    rounds = [kept(turn, units(), 2, 4) for turn in (0, 1, 0)]
    assert rounds[0] == rounds[2] != rounds[1]
    assert sampler.turns == [0, 1]
    assert [event["round"] for event in told] == [0, 1, 0]
    assert [line["text"] for line in told[0]["answers"]] == [a.text for group in rounds[0] for a in group]
    for key, taken, samples, limit in (
        ("other", 3, 2, 4),
        ("key", 2, 2, 4),
        ("key", 3, 3, 4),
        ("key", 3, 2, 5),
    ):
        sampler.turns.clear()
        journaled(store, key, sampler)(0, units(taken), samples, limit)
        assert sampler.turns == [0]


def test_a_round_that_cannot_be_written_is_told(tmp_path: Path):
    (tmp_path / "journal.sqlite").mkdir()
    with pytest.raises(RunError, match="The journal cannot be read or written"):
        journaled(Journal(tmp_path / "journal.sqlite"), "key", Counting())(0, units(), 2, 4)


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"group": 1}, "group = 1 does not fit: it must be at least 2"),
        ({"limit": 0}, "limit = 0"),
        ({"updates": 0}, "updates = 0"),
        ({"rewards": {}}, "grpo has no reward"),
        ({"average": "tokens"}, "'tokens' does not fit"),
    ],
)
def test_what_does_not_fit_is_refused(changes: dict[str, Any], said: str):
    with pytest.raises(RecipeError, match=said):
        objectives.build("grpo", {"rewards": {"rule": 1.0}, **changes})


def test_rows_of_other_roles_add_nothing():
    sampler = Counting(lambda n: n % 2)
    begun = grpo(rewards={"rule": 1.0}, group=2, limit=4).begin(units(), tools_of(sampler))
    part = begun(0, units())
    other = Encoded((1, 5, 6, 7, 10, 30), (0.0,) * 4 + (1.0, 1.0), 4, "e0", "rejected")

    def found(tree: Any) -> Any:
        torch.manual_seed(0)
        table = -torch.rand(64, dtype=torch.float64)
        said = table[tree.targets].requires_grad_()
        loss = part.loss(Edges(said, said), tree)
        loss.total.backward()
        return loss, dict(
            zip(map(tuple, zip(tree.ids[tree.sources], tree.targets, strict=True)), said.grad, strict=True)
        )

    (alone, grads), (mixed, more) = found(build_tree(part.rows)), found(build_tree([*part.rows, other]))
    assert alone.total.item() == pytest.approx(mixed.total.item(), rel=1e-12)
    assert (alone.weight, alone.parts) == (mixed.weight, pytest.approx(mixed.parts))
    assert more[10, 30] == 0
    assert all(more[edge] == pytest.approx(grad) for edge, grad in grads.items())


@pytest.fixture
def asked(template: Template) -> tuple[list[Unit], dict[str, Example]]:
    """Five prompts that share an instruction."""
    words = ["cat", "mat", "hours", "meeting", "two"]
    examples = [
        Example(f"row-{n}", "task", w, (message("user", f"How long did it last? {w}"),), references=(w,))
        for n, w in enumerate(words)
    ]
    return [encode_unit(example, template) for example in examples], {e.id: e for e in examples}


def test_the_first_step_is_on_policy(
    talker: LlamaForCausalLM, template: Template, asked: Any, source_of: Callable[..., Source], tmp_path: Path
):
    """The decoder's log-probabilities are those of the training's forward, so that every ratio is 1."""
    prompts, by_id = asked
    answering = Answering(talker, template, by_id, "fp32", seed=0)
    tools = make_resources(
        talker,
        edge_logprobs,
        steps=steps_per_epoch(len(prompts), 8),
        tokens=10_000,
        precision="fp32",
        store=Journal(tmp_path / "journal.sqlite"),
        key="key",
        sampler=answering.sampler,
    )
    seen: list[list[list[Sampled]]] = []
    sampler = answering.sampler({"diversity": 1.0})
    tools = dataclasses.replace(
        tools, sampler=lambda _: lambda *asked: (seen.append(sampler(*asked)), seen[-1])[1]
    )
    step = source_of(
        prompts, [(grpo(rewards={"diversity": 1.0}, group=4, limit=9, kl=0.1), 1.0)], tools=tools
    )(0)
    (sums,) = backward(talker, step, edge_logprobs, "fp32").values()
    assert sums.parts["ratio"] / sums.weight == pytest.approx(1, abs=1e-5)
    assert 0 <= sums.parts["kl"] / sums.weight < 1e-6
    flat = [answer for group in seen[0] for answer in group]
    assert len({answer.ids for answer in flat}) > 10
    with torch.no_grad():
        for row, answer in zip(step.rows, flat, strict=True):
            logits = talker(torch.tensor([row.ids])).logits[0].log_softmax(-1)
            wanted = [logits[at - 1, row.ids[at]].item() for at in range(row.prompt, len(row.ids))]
            assert row.ids[row.prompt :] == answer.ids
            assert answer.logprobs == pytest.approx(wanted, abs=1e-4)
