"""What pairs and thumbs compare: which rows make a pair, which a stranger, and what a reference keeps."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from espalier.core.journal import Journal
from espalier.core.records import Encoded
from espalier.decode.likelihood import row_sums, token_logprobs
from espalier.encode.batches import group_size, groups_of
from espalier.encode.tokens import Unit
from espalier.encode.tree import build_tree
from espalier.models.adapters import methods
from espalier.models.forward import Edges, edge_logprobs
from espalier.train.objectives import Resources
from espalier.train.preference import dpo, kto
from espalier.train.reference import keeping, make_resources

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from transformers import LlamaForCausalLM

    from espalier.train.steps import Source

pytestmark = pytest.mark.usefixtures("one_thread")


def row(name: str, answer: Sequence[int], role: Any = "answer", number: int = 0, after: int = 0) -> Encoded:
    """A row of the prompt 1 2 and the name's own token; `after` tokens follow that are not trained."""
    prompt = (1, 2, ord(name[0]) - 90)
    weights = (*[0.0] * len(prompt), *[1.0] * len(answer), *[0.0] * after)
    return Encoded((*prompt, *answer, *[3] * after), weights, len(prompt), name, role, number)


UNITS = [
    Unit("a", (1, 2, 7), (row("a", [20, 21]), row("a", [22], "rejected"), row("a", [23], "rejected", 1))),
    Unit("b", (1, 2, 8), (row("b", [30, 31], after=1),)),
    Unit("c", (1, 2, 9), ()),
    Unit("d", (1, 2, 10), (row("d", [40], "rejected"),)),
    Unit("e", (1, 2, 11), (row("e", [50, 51]), row("e", [52, 53], "rejected"))),
]


def quiet(asked: list[list[Encoded]], moved: float = 0.0) -> Resources:
    """What a model brings that finds every token 1 nat unlikely, and `moved` less so by now."""

    def then(rows: Sequence[Encoded]) -> list[float]:
        asked.append(list(rows))
        return [-sum(row.weights) for row in rows]

    def now(rows: Sequence[Encoded]) -> list[float]:
        return [-(1 - moved) * sum(row.weights) for row in rows]

    return Resources(2, then, now, *[lambda *_: pytest.fail("not needed")] * 2)


def test_pairs_are_the_answers_against_each_rejected_one():
    part = dpo().begin(UNITS, quiet([]))(0, UNITS)
    assert [(row.example, row.role, row.number) for row in part.rows] == [
        ("a", "answer", 0), ("a", "rejected", 0), ("a", "rejected", 1),
        ("e", "answer", 0), ("e", "rejected", 0),
    ]  # fmt: skip
    assert part.divisor == 3 / 2
    tree = build_tree(part.rows)
    loss = part.loss(Edges(torch.full((len(tree.targets),), -1.0), torch.empty(0)), tree)
    assert loss.weight == 3
    assert loss.total.item() == pytest.approx(3 * np.log(2))
    assert loss.parts == {"accuracy": 0.0, "margin": 0.0}


def test_a_thumb_is_compared_with_another_prompts_answer():
    asked: list[list[Encoded]] = []
    part = kto().begin(UNITS, quiet(asked))(0, UNITS)
    own, strangers = asked
    assert own == part.rows == [row for unit in UNITS for row in unit.rows]
    assert [(row.example, row.ids[row.prompt :]) for row in strangers] == [
        ("a", (30, 31, 3)), ("a", (30, 31, 3)), ("a", (30, 31, 3)), ("b", (40,)), ("d", (50, 51)),
        ("e", (20, 21)), ("e", (22,)),
    ]  # fmt: skip
    assert [row.weights[row.prompt :] for row in strangers[2:4]] == [(1.0, 1.0, 0.0), (1.0,)]
    assert all(not any(row.weights[: row.prompt]) for row in strangers)
    assert part.divisor == 7 / 2


def test_the_point_to_beat_is_of_the_step_and_never_below_zero():
    for moved, taken, point in ((0.1, UNITS[:2], 0.7 / 4), (0.1, UNITS[3:], 0.5 / 3), (-0.1, UNITS, 0.0)):
        part = kto().begin(UNITS, quiet([], moved))(0, taken)
        tree = build_tree(part.rows)
        loss = part.loss(Edges(torch.full((len(tree.targets),), -1.0), torch.empty(0)), tree)
        assert loss.parts["kl"] / loss.weight == pytest.approx(point)
    assert kto().begin(UNITS, quiet([]))(0, [UNITS[2]]).rows == []


def test_strangers_may_be_longer_than_what_a_step_may_hold(
    tiny_llama: LlamaForCausalLM, source_of: Callable[..., Source], tmp_path: Path
):
    """A long prompt that meets a long answer is no reason to refuse rows that fit by themselves."""
    rng = np.random.default_rng(0)
    units = []
    for number, (prompt, answer) in enumerate([(40, 3), (4, 40), (40, 4)]):
        ids = tuple(rng.integers(3, 64, prompt + answer).tolist())
        weights = (0.0,) * prompt + (1.0,) * answer
        units.append(Unit(str(number), ids[:prompt], (Encoded(ids, weights, prompt, str(number)),)))
    tools = make_resources(
        tiny_llama, edge_logprobs, steps=1, tokens=50, precision="fp32",
        store=Journal(tmp_path / "journal.sqlite"), key="",
        sampler=lambda _: pytest.fail("not needed"),
    )  # fmt: skip
    step = source_of(units, [(kto(), 1.0)], tokens=50, tools=tools)(0)
    assert len(step.rows) == 3
    assert all(len(tree.ids) <= 50 for tree, _ in step.work)


def test_log_probabilities_are_the_rows_own_whatever_they_are_laid_out_with(
    tiny_llama: LlamaForCausalLM, tiny_rows
):
    tiny_llama.train()
    budget = max(map(group_size, groups_of(tiny_rows)))
    together, packs, tight = (
        token_logprobs(tiny_llama, tiny_rows, edge_logprobs, tokens=tokens, precision="fp32")
        for tokens in (10_000, budget, 1)
    )
    assert tiny_llama.training
    assert [len(values) for values in together] == [np.count_nonzero(row.weights) for row in tiny_rows]
    for one, two, three in zip(together, packs, tight, strict=True):
        assert one == pytest.approx(two, abs=1e-5)
        assert one == pytest.approx(three, abs=1e-5)
    sums = row_sums(tiny_rows, together)
    assert sums == pytest.approx([sum(values) for values in together])


def test_what_a_reference_said_is_kept_by_rows_and_key(tmp_path: Path):
    rows, asked = [row for unit in UNITS for row in unit.rows], []

    def compute(given: Sequence[Encoded]) -> list[float]:
        asked.append(len(given))
        return [0.1 * len(asked) / 3 + len(row.ids) for row in given]

    store = Journal(tmp_path / "journal.sqlite")
    first = keeping(store, "one", compute)(rows)
    assert keeping(store, "one", compute)(rows) == first  # to the last bit, through JSON
    assert asked == [7]
    assert keeping(store, "one", compute)(rows[:3]) != first[:3]
    assert keeping(store, "two", compute)(rows) != first
    assert asked == [7, 3, 7]
    assert store.count() == 3


@pytest.mark.parametrize("method", ["full", "lora"])
def test_a_reference_stays_as_the_stage_found_the_model(
    tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], tmp_path: Path, method: str
):
    before = token_logprobs(tiny_llama, tiny_rows, edge_logprobs, tokens=10_000, precision="fp32")
    model = methods.build(method, {})(copy.deepcopy(tiny_llama))
    tools = make_resources(
        model, edge_logprobs, steps=1, tokens=10_000, precision="fp32",
        store=Journal(tmp_path / "journal.sqlite"), key="",
        sampler=lambda _: pytest.fail("not needed"),
    )  # fmt: skip
    tell = tools.reference()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.1 * torch.randn_like(weight))
    for one, two in zip(tell(tiny_rows), before, strict=True):
        assert one == pytest.approx(two, abs=1e-5)
    assert tools.policy(tiny_rows) != pytest.approx(row_sums(tiny_rows, before), abs=1e-2)
    assert any(weight.requires_grad for weight in model.parameters())
