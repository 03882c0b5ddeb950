"""Several tasks in one run: each by itself, their mean, and all rows, in the summary and on the page."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from espalier.cli.summary import print_summary
from espalier.core.records import Completion, Estimate, Example, message
from espalier.evaluate.groups import by_task, macro
from espalier.evaluate.harness import evaluate
from espalier.evaluate.scores import Scores
from espalier.report.gather import Material
from espalier.report.page import render
from espalier.scorers.registry import scorers

SIZES = {"plurals": 30, "capitals": 10}


def scored(sizes: dict[str, int] = SIZES) -> Scores:
    """The tuned model knows all plurals and half of the capitals, the base none."""
    rows = [
        Example(f"{task} {i}", task, f"{task} {i}", (message("user", "?"),), references=(f"{task} r{i}",))
        for task, count in sizes.items()
        for i in range(count)
    ]
    tuned = [
        Completion(row.id, row.references[0] if row.task == "plurals" or i % 2 else "no")
        for i, row in enumerate(rows)
    ]
    systems = {"tuned": tuned, "base": [Completion(row.id, "no") for row in rows]}
    return evaluate(rows, systems, {"exact_match": scorers.build("exact_match", {})})


def test_each_task_stands_beside_macro_and_micro() -> None:
    scores = scored()
    assert {name: group.rows for name, group in scores.groups.items()} == SIZES
    capitals, plurals, over_tasks, over_rows = by_task(scores, "exact_match")
    assert (capitals.name, plurals.name) == ("capitals", "plurals"), "the worst first"
    assert (capitals.tuned.value, plurals.tuned.value) == (0.5, 1.0)
    assert over_tasks.tuned.value == over_tasks.gap.value == 0.75
    assert over_rows.tuned == scores["tuned"]["exact_match"]
    assert over_rows.tuned.value == 35 / 40
    assert (over_tasks.rows, over_rows.rows) == (40, 40)
    assert over_tasks.tuned.low < 0.75 < over_tasks.tuned.high


def test_one_task_has_no_groups_and_the_file_no_key() -> None:
    scores = scored({"plurals": 12})
    assert scores.groups == {}
    assert by_task(scores, "exact_match") == []
    assert "groups" not in json.loads(scores.to_json())


def test_groups_are_in_the_file() -> None:
    scores = scored()
    read = Scores.of(json.loads(scores.to_json()))
    assert by_task(read, "exact_match") == by_task(scores, "exact_match")
    assert read.to_json() == scores.to_json()


def test_the_interval_of_a_mean_of_tasks_is_narrower_than_theirs() -> None:
    one = Estimate(0.5, 0.4, 0.7, 10)
    found = macro([one] * 4)
    assert (found.value, found.low, found.high) == pytest.approx((0.5, 0.45, 0.6))
    assert (found.n, found.missing) == (40, 0)
    unknown = Estimate(float("nan"), float("nan"), float("nan"), 0, 3)
    assert macro([one, unknown]).value == 0.5
    assert macro([one, unknown]).missing == 3
    assert not macro([unknown]).known


def test_summary_and_report_show_them(capsys: pytest.CaptureFixture[str]) -> None:
    scores = scored({**SIZES, **{f"other {n}": 2 for n in range(25)}})
    print_summary(scores)
    out = capsys.readouterr().out
    table = out[out.index("By task: exact match") :]
    assert "macro: the mean of the tasks" in table
    assert "micro: all rows together" in table
    assert "The 20 worst of 27 tasks; the report has all." in table
    assert "plurals" not in table
    page = render(Material("run", scores=scores))
    for said in ("<summary>By task</summary>", "<th>plurals</th>", "<th>macro: the mean of the tasks</th>"):
        assert said in page
    assert "By task" not in render(Material("run", scores=replace(scores, groups={})))
