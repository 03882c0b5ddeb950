"""The registry of checks, and what each of them does with nothing and with a good answer."""

from __future__ import annotations

import pytest

from espalier.tasks.checks import checks, run_checks, set_checks
from espalier.tasks.event_duration import cautions
from espalier.tasks.task_files import load_task

SENTENCE = "After a two-hour ride the plumber replaced the leaking pipe."
WITNESS = "How long did it take the plumber to replace the pipe?"


@pytest.mark.parametrize("name", load_task("event-duration").checks)
def test_each_check_fails_on_nothing_and_passes_a_witness(name: str) -> None:
    if name in set_checks.names():
        check = set_checks.build(name, {})
        inputs = [SENTENCE, "The twins mowed the lawn."]
        assert check(inputs, ["", None]).ok is False
        assert check(inputs, [WITNESS, "How long did the twins mow the lawn?"]).ok is True
        return
    single = checks.build(name, {})
    for nothing in ("", " \n", None):
        verdict = single(SENTENCE, nothing)
        assert verdict.ok is False
        assert verdict.why == "There is no answer."
    assert single(SENTENCE, WITNESS).ok is True


def test_a_task_runs_its_own_checks() -> None:
    task = load_task("event-duration")
    verdicts = run_checks(task.checks, SENTENCE, "How long was the ride?")
    assert set(verdicts) == {"asks_duration", "grounded", "answer_not_stated", "well_formed"}
    assert [name for name, verdict in verdicts.items() if not verdict.ok] == ["answer_not_stated"]
    assert "two-hour" in verdicts["answer_not_stated"].why


def test_checks_are_described_for_the_documentation() -> None:
    for registry in (checks, set_checks):
        for name in registry.names():
            assert len(registry.describe(name)[0]) > 20, name


def test_good_examples_pass_and_bad_ones_fail() -> None:
    task = load_task("event-duration")
    for item in task.positive:
        assert all(verdict.ok for verdict in run_checks(task.checks, item.input, item.output).values()), item
    broken = [
        [name for name, verdict in run_checks(task.checks, item.input, item.output).items() if not verdict.ok]
        for item in task.negative
    ]
    assert broken == [["answer_not_stated"], ["asks_duration"], ["grounded"]]


def test_the_bundled_rows_pass_nearly_all_checks() -> None:
    task = load_task("event-duration")
    pairs = [(row.input, output) for row in task.rows for output in row.outputs]
    good = sum(all(v.ok for v in run_checks(task.checks, *pair).values()) for pair in pairs)
    assert good / len(pairs) >= 0.98


def test_a_constant_question_is_seen() -> None:
    judge = cautions.not_constant()
    inputs = [f"Sentence {number}." for number in range(10)]
    assert judge(inputs, ["How long did it take?"] * 9 + ["how long  did it take"]).ok is False
    assert judge(inputs, [f"How long did event {number} last?" for number in range(10)]).ok is True
    assert judge(inputs[:1], ["How long did it take?"]).ok is None
    # The same input with the same question twice is no sign of a constant.
    assert judge([inputs[0]] * 5 + [inputs[1]], ["How long was one?"] * 5 + ["How long was two?"]).ok is True
    assert cautions.not_constant(least=1.0)(inputs[:3], ["a b?", "a b?", "c?"]).ok is False
