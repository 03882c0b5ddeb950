"""Run folders as runs leave them, made with the real harness from answers written here."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from espalier.core.files import jsonl
from espalier.core.recipe import parse_recipe
from espalier.core.records import Completion, Example, example_id, message
from espalier.data.table import as_parquet
from espalier.evaluate.baselines import floors
from espalier.evaluate.harness import evaluate
from espalier.scorers.registry import scorers

MakeRun = Callable[..., Path]
MEASURES = ("rouge_l", "exact_match")


def rows(count: int, first: int = 0, size: int = 1) -> list[Example]:
    """Return questions with number words as answers; `size` of a source."""
    words = ["one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten"]
    found: list[Example] = []
    for i in range(first, first + count):
        asked, said = f"What comes after number {i}?", f"after {i} comes the number {words[i % 10]} {i + 1}"
        made = Example(
            example_id(asked, said), "numbers", f"s{i // size}", (message("user", asked),), (said,)
        )
        found.append(replace(made, input=asked))
    return found


def right(example: Example) -> str:
    return example.references[0]


def answers(test: Sequence[Example], wrong: set[int], text: str = "no idea") -> list[str]:
    """Return right answers but for the rows whose numbers are `wrong`."""
    return [text if i in wrong else right(e) for i, e in enumerate(test)]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """Return what makes a finished run of some answers to some rows."""

    def make(
        name: str,
        test: Sequence[Example],
        texts: Sequence[str],
        *,
        seed: int = 0,
        train: Sequence[Example] = (),
        recipe: Mapping[str, Any] = {},
        template: str = "t",
        formats: str = "fp32 to train, fp32 to decode",
        names: Sequence[str] = MEASURES,
    ) -> Path:
        folder = tmp_path / "runs" / name
        (folder / "data").mkdir(parents=True)
        table = {"name": name, "seed": seed, "data": {"seed": 0}, "evaluate": list(names), **recipe}
        (folder / "recipe.toml").write_text(parse_recipe(json.loads(json.dumps(table))).to_toml())
        inputs = {"task": "k", "weights": "w", "template": template, "formats": formats}
        (folder / "provenance.json").write_text(json.dumps({"seed": seed, "inputs": inputs}))
        train = train or rows(20, 1000)
        (folder / "data" / "train.parquet").write_bytes(as_parquet(train))
        (folder / "data" / "test.parquet").write_bytes(as_parquet(test))
        said = {
            "tuned": [Completion(e.id, text) for e, text in zip(test, texts, strict=True)],
            "base": [Completion(e.id, "what?") for e in test],
        }
        systems = {**said, **floors(test, train)}
        judges = {one: scorers.build(one, {}) for one in names}
        (folder / "scores.json").write_text(evaluate(test, systems, judges, train=train).to_json())
        lines = [
            {"system": who, "example": c.example, "text": c.text, "sample": 0, "finish": "stop"}
            for who, found in systems.items()
            for c in found
        ]
        (folder / "outputs.jsonl").write_text(jsonl(lines))
        return folder

    return make
