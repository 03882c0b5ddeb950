"""What parts of prompts add, on prompt trees, equals each variant by itself; gradients equal differences."""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.journal import Journal
from espalier.core.records import Demonstration, Task, TaskRow, message
from espalier.explain.parts.attribute import Refusals, attribute, case_of
from espalier.explain.parts.changes import donors
from espalier.explain.parts.prompt import cut
from espalier.explain.parts.reading import Reader, gradient_by_input
from espalier.explain.token_shift import answer_rows
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
