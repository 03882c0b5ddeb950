"""The answers that a model learns from are the decoder's, of the weights as they are, and can be repeated."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
import torch

from espalier.core.errors import RecipeError
from espalier.core.records import Example, message
from espalier.encode.tokens import encode_unit
from espalier.models.adapters import methods
from espalier.models.soft_prompt import virtual_ids
from espalier.train.sampling import Answering

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import LlamaForCausalLM

    from espalier.encode.template import Template
    from espalier.encode.tokens import Unit
    from espalier.train.objectives import Sampled
    from tests.cli.conftest import Finished, Result

REWARDS = {"diversity": 1.0, "exact_match": 0.5}
Made = tuple["Answering", "list[Unit]"]


@pytest.fixture
def made(talker: LlamaForCausalLM, template: Template) -> Made:
    """Six prompts under one instruction."""
    examples = [
        Example(f"row-{n}", "task", word, (message("user", f"How long did it last? the {word}"),), (word,))
        for n, word in enumerate(["cat", "mat", "hours", "meeting", "long", "two"])
    ]
    by_id = {example.id: example for example in examples}
    units = [encode_unit(example, template) for example in examples]
    return Answering(talker, template, by_id, "fp32", seed=7), units


def flat(groups: list[list[Sampled]]) -> list[Sampled]:
    return [answer for group in groups for answer in group]


def test_answers_are_rewarded_and_end_as_they_say(made: Made):
    answering, units = made
    groups = answering.sampler(REWARDS)(0, units, 5, 7)
    assert [len(group) for group in groups] == [5] * 6
    for unit, group in zip(units, groups, strict=True):
        wanted = answering.examples[unit.example].references[0]
        for answer in group:
            assert 1 <= len(answer.ids) == len(answer.logprobs) <= 7
            assert all(value <= 0 for value in answer.logprobs)
            stopped = answer.ids[-1] in answering.template.stop_ids
            assert (answer.finish == "stop") is stopped
            assert stopped or len(answer.ids) == 7
            assert answer.text == answering.template.decode(answer.ids[:-1] if stopped else answer.ids)
            assert answer.rewards["exact_match"] == float(answer.text == wanted)
            assert answer.reward == pytest.approx(
                answer.rewards["diversity"] + 0.5 * answer.rewards["exact_match"]
            )
    assert len({answer.ids for answer in flat(groups)}) > 20


def test_the_same_round_is_the_same_and_another_is_not(made: Made):
    answering, units = made
    first = answering.sampler(REWARDS)(0, units, 3, 7)
    assert answering.sampler(REWARDS)(0, units, 3, 7) == first
    assert answering.sampler(REWARDS)(1, units, 3, 7) != first
    assert replace(answering, seed=8).sampler(REWARDS)(0, units, 3, 7) != first


def test_an_answer_does_not_depend_on_what_is_sampled_with_it(made: Made):
    answering, units = made
    together = answering.sampler({"exact_match": 1.0})(4, units, 3, 7)
    alone = [answering.sampler({"exact_match": 1.0})(4, [unit], 3, 7)[0] for unit in units[::-1]][::-1]
    assert [answer.ids for answer in flat(together)] == [answer.ids for answer in flat(alone)]
    for one, two in zip(flat(together), flat(alone), strict=True):
        assert one.logprobs == pytest.approx(two.logprobs, abs=1e-4)


@pytest.mark.parametrize("method", ["full", "lora", "prompt"])
def test_answers_are_of_the_weights_as_they_are(made: Made, method: str):
    torch.manual_seed(0)
    model = methods.build(method, {})(made[0].model)
    template = made[0].template.prefixed(virtual_ids(model))
    units = [encode_unit(example, template) for example in made[0].examples.values()]
    sampler = replace(made[0], model=model, template=template).sampler(REWARDS)
    before = sampler(0, units, 2, 7)
    with torch.no_grad():
        for weight in model.parameters():
            if weight.requires_grad:
                weight.add_(0.3 * torch.randn_like(weight))
    state = {name: weight.clone() for name, weight in model.state_dict().items()}
    after = sampler(0, units, 2, 7)
    assert [answer.ids for answer in flat(before)] != [answer.ids for answer in flat(after)]
    assert all(torch.equal(weight, state[name]) for name, weight in model.state_dict().items())
    assert any(weight.requires_grad for weight in model.parameters())


def test_what_cannot_be_sampled_is_refused_at_once(made: Made):
    with pytest.raises(RecipeError, match="No reward is named 'diversty'"):
        made[0].sampler({"diversty": 1.0})


def test_an_answer_by_any_strategy_is_an_override_as_of_a_recipe(
    finished: Finished, espalier: Callable[..., Result]
) -> None:
    home, run = finished.home, "runs/plural"
    usual = espalier("generate", run, "a cup", cwd=home).out
    for command in (
        ("generate", run, "a cup", "-o", "decode.kind=lookup"),
        ("generate", run, "a cup", "-o", "decode={kind='constrained', choices=['cups']}"),
        ("generate", "tiny", "a cup", "-o", "decode.kind=beam", "-o", "decode.limit=3"),
    ):
        done = espalier(*command, cwd=home)
        assert done.code == 0, done.err
        assert done.out == (usual if "decode.kind=lookup" in command else done.out)
        assert done.out == ("cups\n" if "constrained" in command[-1] else done.out)
    talk = espalier(
        "chat", run, "-o", "decode={kind='constrained', choices=['cups']}", stdin="a cup\n", cwd=home
    )
    assert talk.out == "cups\n"
    assert espalier("chat", run, "--beams", "2", "--top-k", "3", stdin="x\n", cwd=home).code == 2
    wrong = espalier("generate", run, "a cup", "-o", "train.rate=1", cwd=home)
    assert (wrong.code, "'train.rate=1' has no part in an answer" in wrong.err) == (2, True)
    typo = espalier("generate", run, "a cup", "-o", "decode.beems=2", cwd=home)
    assert (typo.code, "decode.beems" in typo.err) == (2, True)
