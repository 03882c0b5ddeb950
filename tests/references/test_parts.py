"""What parts of prompts add, on prompt trees, equals each variant by itself; gradients equal differences."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest
import torch

from espalier.attribution.parts.attribute import Refusals, attribute, case_of
from espalier.attribution.parts.changes import donors
from espalier.attribution.parts.prompt import cut
from espalier.attribution.parts.reading import Reader, gradient_by_input, randomised, readers
from espalier.core.journal import Journal
from espalier.core.records import Demonstration, Task, TaskRow, message
from espalier.explain.token_shift import Models, answer_rows
from espalier.models.adapters import method_on
from espalier.models.load import Loaded
from espalier.models.places import Place
from espalier.tasks.templates import Show, asked, available, to_examples
from tests.references.naive_parts import naive_gradient, naive_logprob

if TYPE_CHECKING:
    from pathlib import Path

    from espalier.encode.template import Template

TASK = Task(
    name="sounds",
    definition="Say which sound the animal makes.",
    cautions=("One word.", "No full stop."),
    positive=(Demonstration("a cow", "moo"), Demonstration("a cat", "meow")),
    negative=(Demonstration("a dog", "It barks."),),
    rows=tuple(TaskRow(str(n), f"animal {n}", ("moo",)) for n in range(3)),
)
SHOW = Show()


@pytest.mark.parametrize("shared", [True, False])
def test_scores_are_those_of_each_variant_by_itself(
    talker: Any, template: Template, tmp_path: Path, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not shared:
        monkeypatch.setattr("espalier.models.sharing.Sharing.why_not", lambda *_, **__: "it cannot")
    rows = to_examples(TASK, SHOW)
    prompts = [cut(row, TASK, SHOW) for row in rows]
    answer = (7, 31, 40)
    refusals = Refusals()
    given = donors(prompts)
    cases = [case_of(p, answer, d, template, refusals) for p, d in zip(prompts, given, strict=True)]
    unused: Any = None
    reader = Reader("tiny", Loaded(Place("tiny"), talker, unused, template, "w"), Journal(tmp_path / "store"))
    found = attribute(reader, cases, ("leave_out", "neutral", "swap"), refusals)
    assert not refusals.counts
    without = [
        replace(TASK, definition=""),
        *(replace(TASK, cautions=(kept,)) for kept in TASK.cautions[::-1]),
        *(replace(TASK, positive=(kept,)) for kept in TASK.positive[::-1]),
        replace(TASK, negative=()),
    ]
    for number, row in enumerate(rows):
        whole = naive_logprob(talker, template.prompt_ids(row.prompt), answer)
        twins: list[float] = []
        for task in without:  # the task's own words, without the part
            said = [message("user", asked(task, available(task, SHOW), row.input))]
            twins.append(whole - naive_logprob(talker, template.prompt_ids(said), answer))
        assert found["leave_out"][number][:-1] == pytest.approx(twins, abs=1e-5)
        for method in ("neutral", "swap"):
            twins = [
                whole
                - naive_logprob(talker, template.prompt_ids(cases[number].changed[method, place]), answer)
                for place in range(len(prompts[number].pieces))
            ]
            assert found[method][number] == pytest.approx(twins, abs=1e-5)


def test_a_gradient_is_that_of_finite_differences(talker: Any) -> None:
    exact = copy.deepcopy(talker).double()
    prompt, answer = (5, 9, 30, 9, 12, 60), (8, 33)
    unused: Any = None
    (row,) = answer_rows([prompt], [answer])
    found = gradient_by_input(Loaded(Place("tiny"), exact, unused, unused, "w"), row)
    assert found[: len(prompt)].tolist() == pytest.approx(naive_gradient(exact, prompt, answer), abs=1e-3)
    assert abs(found[:4]).max() > 1e-3
    assert all(weight.grad is None for weight in exact.parameters())


def test_the_base_is_read_without_the_adapter(tiny_llama: Any, tmp_path: Path) -> None:
    unused: Any = None
    before = Loaded(Place("tiny"), copy.deepcopy(tiny_llama), unused, unused, "w")
    model: Any = method_on(tiny_llama, "lora", {"rank": 2}, 0)
    with torch.no_grad():
        for name, weight in model.named_parameters():
            weight += 0.1 * ("lora_B" in name)
    tuned, base = readers(Models(replace(before, model=model), None), Journal(tmp_path / "store"))
    asked = [((1, 5, 9), (7, 8)), ((1, 5, 4), (7, 8))]
    plain = [naive_logprob(before.model, *one) for one in asked]
    assert base.weigh(asked) == pytest.approx(plain, abs=1e-5)
    assert tuned.weigh(asked) != pytest.approx(plain, abs=1e-3)
    assert base.weigh(asked[::-1]) == pytest.approx(plain[::-1], abs=1e-5)
    assert (tuned.made, base.made) == (2, 2)


def test_random_weights_are_those_of_their_seed(tiny_llama: Any, template: Template) -> None:
    unused: Any = None
    loaded = Loaded(Place("tiny"), tiny_llama, unused, template.prefixed((9,)), "w")
    state = torch.random.get_rng_state()
    one, again, other = (randomised(loaded, seed) for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    weights = [one.model.lm_head.weight for one in (one, again, other)]
    assert torch.equal(weights[0], weights[1])
    assert not torch.equal(weights[0], weights[2])
    assert one.weights == again.weights != other.weights
    assert not one.template.prefix
