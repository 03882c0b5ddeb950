"""What differs between two starts of a run, in the words of its recipe, and how far it reaches."""

from __future__ import annotations

import re
from typing import Any

import pytest

from espalier.core.identity import REACHES, differences, farthest
from espalier.core.recipe import parse_recipe, recipe_keys

ONE = {"name": "run", "task": {"path": "a.toml"}, "decode": {"kind": "greedy", "limit": 9}}
INPUTS = {"task": "t", "rows": "r", "weights": "w", "template": "e", "recipe": "h"}


def table(*changes: tuple[str, object], stages: int = 1) -> dict[str, Any]:
    found = parse_recipe({**ONE, "train": [{}] * stages} if stages > 1 else ONE).model_dump(mode="json")
    for path, value in changes:
        *parents, key = path.split(".")
        inner: Any = found
        for parent in parents:
            inner = inner[int(parent) if parent.isdigit() else parent]
        inner[key] = value
    return found


def told(old: dict, new: dict, **inputs: str) -> tuple[list[str], str]:
    found = differences((old, new), (INPUTS, {**INPUTS, **inputs}))
    return list(map(str, found)), farthest(found)


@pytest.mark.parametrize(
    ("changes", "inputs", "said", "reach"),
    [
        ([], {}, [], "nothing"),
        ([], {"recipe": "hashed otherwise by a later version"}, [], "nothing"),
        ([("train.0.checkpoint", 9)], {}, ["train.checkpoint (50 before, 9 now)"], "nothing"),
        ([("folder", "else")], {}, ["folder (runs before, else now)"], "nothing"),
        ([("track", [{"kind": "wandb"}])], {}, ["track (none before, wandb now)"], "nothing"),
        (
            [("evaluate", [{"kind": "rouge_l"}, {"kind": "checks", "names": ["x"]}])],
            {},
            ['evaluate (rouge_l, exact_match before, rouge_l, {"kind": "checks", "names": ["x"]} now)'],
            "scores",
        ),
        ([("task.checks", ["x"])], {}, ["task.checks (none before, x now)"], "scores"),
        ([("decode.limit", 4)], {}, ["decode.limit (9 before, 4 now)"], "answers"),
        ([("data.test_limit", 4)], {}, ["data.test_limit (none before, 4 now)"], "answers"),
        (
            [("decode", {"kind": "sample", "samples": 2})],
            {},
            ["decode.kind (greedy before, sample now)"],
            "answers",
        ),
        ([("train.0.rate", 1.0)], {}, ["train.rate (2e-05 before, 1.0 now)"], "model"),
        (
            [("train.0.method", {"kind": "lora", "rank": 2})],
            {},
            ["train.method.kind (full before, lora now)"],
            "model",
        ),
        (
            [("train.0.objective.0.smoothing", 0.1), ("seed", 1)],
            {},
            ["seed (0 before, 1 now)", "train.objective.0.smoothing (none before, 0.1 now)"],
            "model",
        ),
        # A file that lies elsewhere is the same, until it holds something else.
        ([("task.path", "b.toml")], {}, ["task.path (a.toml before, b.toml now)"], "nothing"),
        ([("task.path", "b.toml")], {"task": "2"}, ["task.path (a.toml before, b.toml now)"], "answers"),
        (
            [("task.path", "b.toml")],
            {"task": "2", "rows": "2"},
            ["task.path (a.toml before, b.toml now)"],
            "model",
        ),
        (
            [("task.on_bad", "reject"), ("task.format", "alpaca")],
            {},
            ["task.format (auto before, alpaca now)", "task.on_bad (raise before, reject now)"],
            "nothing",
        ),
        (
            [("task.on_bad", "reject")],
            {"task": "2", "rows": "2"},
            ["task.on_bad (raise before, reject now)"],
            "model",
        ),
        ([("model.name", "b")], {}, ["model.name (smollm2-135m before, b now)"], "nothing"),
        ([("model.name", "b")], {"weights": "2"}, ["model.name (smollm2-135m before, b now)"], "model"),
        ([("train.0.data", "b")], {"rows": "2"}, ["train.data (none before, b now)"], "model"),
        ([], {"task": "2"}, ["what the task's file holds"], "answers"),
        ([], {"task": "2", "rows": "2"}, ["what the task's file holds"], "model"),
        ([], {"rows": "2"}, ["the rows to train on"], "model"),
        (
            [],
            {"weights": "2", "template": "2"},
            ["the model's weights or configuration", "the model's chat template"],
            "model",
        ),
        # What follows from a key is not told besides it; what does not is.
        ([("data.limit", 5)], {"rows": "2"}, ["data.limit (none before, 5 now)"], "model"),
        (
            [("data.limit", 5)],
            {"rows": "2", "task": "2"},
            ["data.limit (none before, 5 now)", "what the task's file holds"],
            "model",
        ),
        (
            [("train.0.rate", 1.0)],
            {"rows": "2"},
            ["train.rate (2e-05 before, 1.0 now)", "the rows to train on"],
            "model",
        ),
    ],
)
def test_what_differs_is_named(changes: list, inputs: dict, said: list[str], reach: str) -> None:
    assert told(table(), table(*changes), **inputs) == (said, reach)


def test_stages_are_named_by_their_numbers() -> None:
    said = ["train.1.rate (2e-05 before, 1.0 now)"]
    assert told(table(stages=2), table(("train.1.rate", 1.0), stages=2)) == (said, "model")
    assert told(table(), table(stages=2)) == (["train (1 stage before, 2 stages now)"], "model")


def test_inputs_that_an_earlier_version_did_not_write_are_not_compared() -> None:
    assert differences((table(), table()), ({"task": "t"}, INPUTS)) == []
    assert differences((table(), table()), ({}, INPUTS)) == []


def test_a_long_value_is_cut() -> None:
    (said,), _ = told(table(), table(("task.checks", ["long"] * 99)))
    assert len(said) < 120


def test_every_pattern_is_of_a_key() -> None:
    keys = [key for key, _ in recipe_keys()] + ["decode.limit"]
    assert all(any(re.fullmatch(pattern, key) for key in keys) for pattern in REACHES)
