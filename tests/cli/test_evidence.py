"""What a run finds out besides its scores: what was forgotten, and whether batch and order change answers."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

ASKED = ("run", "recipe.toml", "-o", "evidence=true")


def stages(run: Path) -> list[str]:
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [event["stage"] for event in lines if event["event"] == "stage"]


def test_a_run_says_what_was_forgotten_and_what_moves_and_another_asks_the_base_no_more(
    model_of: Callable[[int], Path], new_home: Callable[..., Path], espalier: Any, tmp_path: Path
) -> None:
    home = new_home(tmp_path / "home", model=model_of(2))  # a single layer rounds alike in every way
    result = espalier(*ASKED, cwd=home)
    assert result.code == 0, result.err
    assert "General questions: right answers" in result.out
    run = home / "runs" / "plural"
    scores = json.loads((run / "scores.json").read_text())
    asked = scores["abilities"]
    assert asked["rows"] == 212
    assert sorted(asked["groups"]) == ["arithmetic", "form", "instructions", "knowledge"]
    assert {system: len(block["scores"]) for system, block in asked["systems"].items()} == {
        "tuned": 2,
        "base": 2,
    }
    tried = scores["invariance"]
    assert tried["texts"] == {"batch": 0, "order": 0}
    assert 0 < max(tried["logprobs"].values()) < 1e-3  # fp32, and the ways do differ
    report = (run / "report.html").read_text()
    assert "What did it forget?" in report
    assert "texts change." in report
    again = espalier(*ASKED, "-o", "name=other", "-o", "train.rate=1e-3", cwd=home)
    assert again.code == 0, again.err
    other = stages(home / "runs" / "other")
    assert "abilities tuned" in other
    assert "abilities base" not in other
    assert "abilities base" in stages(run)


def test_a_model_whose_template_refuses_a_question_is_not_asked_and_the_run_goes_on(
    home: Path, espalier: Any
) -> None:
    model = home / "strict"
    shutil.copytree((home / "tiny").resolve(), model)
    template = model / "chat_template.jinja"
    refuses = (
        "{% for m in messages %}{% if 'Japan' in m['content'] %}"
        "{{ raise_exception('No geography.') }}{% endif %}{% endfor %}"
    )
    template.write_text(refuses + template.read_text())
    result = espalier(*ASKED, "-o", "model.name=strict", cwd=home)
    assert result.code == 0, result.err
    assert "the general questions are not asked" in result.err
    scores = json.loads((home / "runs" / "plural" / "scores.json").read_text())
    assert "abilities" not in scores
    assert "invariance" in scores
