"""A recipe whose answers are kept to something, or are chosen among samples: run, asked, and refused."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest


def decoding(home: Path, decode: str) -> Path:
    recipe = home / "recipe.toml"
    head, _ = recipe.read_text().split("[decode]")
    recipe.write_text(head.replace("epochs = 2", "epochs = 1") + f"[decode]\n{decode}\n")
    return recipe


def outputs(home: Path) -> list[dict[str, Any]]:
    lines = (home / "runs" / "plural" / "outputs.jsonl").read_text().splitlines()
    return [line for line in map(json.loads, lines) if line["system"] in ("tuned", "base")]


def test_answers_are_of_the_choices(home: Path, espalier: Callable[..., Any]) -> None:
    decoding(home, 'kind = "constrained"\nchoices = ["cups", "some cups"]\nlimit = 12')
    result = espalier("run", "recipe.toml", cwd=home)
    assert result.code == 0, result.err
    assert {line["text"] for line in outputs(home)} <= {"cups", "some cups"}
    assert {line["finish"] for line in outputs(home)} == {"stop"}
    asked = espalier("generate", "runs/plural", "a drum", cwd=home)
    assert asked.out in ("cups\n", "some cups\n")


def test_the_best_of_some_samples_is_the_answer(home: Path, espalier: Callable[..., Any]) -> None:
    decoding(home, 'kind = "best_of"\nn = 3\nlimit = 6\nby = "few:words"')
    (home / "few.py").write_text("def words(example, text):\n    return -len(text)\n")
    result = espalier("run", "recipe.toml", cwd=home)
    assert result.code == 0, result.err
    kept = (home / "runs" / "plural" / "generations.jsonl").read_text().splitlines()
    chosen = outputs(home)
    assert len(kept) == 3 * len(chosen)
    lengths = sorted(len(json.loads(line)["text"]) for line in kept)
    assert sum(len(line["text"]) for line in chosen) < sum(lengths) / 3
    asked = [espalier("generate", "runs/plural", "a drum", cwd=home).out for _ in range(2)]
    assert asked[0] == asked[1]


@pytest.mark.parametrize(
    ("decode", "message"),
    [
        ('kind = "best_of"\nby = "model:runs/nowhere"', "nowhere"),
        ('kind = "constrained"', "decode.kind: "),
        ('kind = "constrained"\nfrom_facts = true', "which decode.from_facts takes"),
        ('kind = "self_consistency"\nanswer = "numbers"', "decode.answer: "),
        ('kind = "lookup"\nngram = 1', "decode.ngram: "),
        ('kind = "contrastive"\ntop_k = 0', "decode.top_k: "),
    ],
)
def test_what_cannot_be_is_told_in_a_sentence(
    home: Path, espalier: Callable[..., Any], decode: str, message: str
) -> None:
    decoding(home, decode)
    result = espalier("run", "recipe.toml", cwd=home)
    assert result.code == 2
    assert message in result.err
    assert "Traceback" not in result.err
