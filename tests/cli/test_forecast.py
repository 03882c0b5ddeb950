"""`espalier forecast` tells what training will take and keeps nothing; `espalier run` tells it too."""

from __future__ import annotations

import json
from pathlib import Path

import pytest


def test_it_tells_each_stages_time_and_memory(home: Path, espalier) -> None:
    before = sorted(home.rglob("*"))
    shown = espalier("forecast", "recipe.toml", "-o", "train.noise=5", cwd=home)
    assert shown.code == 0, shown.err
    assert "Training: about " in shown.out
    assert "GB in the largest step." in shown.out
    assert sorted(home.rglob("*")) == before
    table = json.loads(espalier("forecast", "recipe.toml", "--json", cwd=home).out)
    (stage,) = table["stages"]
    assert stage["stage"] == "train"
    assert stage["seconds"] > stage["step_seconds"] > 0
    assert stage["peak_mb"] > 1


@pytest.mark.parametrize("kind", ["adafactor", "lomo"])
def test_a_run_begins_with_it_and_takes_what_the_recipe_chooses(home: Path, espalier, kind: str) -> None:
    options = ("-o", "train.epochs=4", "-o", f"train.optimizer={kind}", "-o", "train.recompute=true")
    shown = espalier("run", "recipe.toml", *options, cwd=home)
    assert shown.code == 0, shown.err
    assert "Training: about " in shown.err
    events = [json.loads(line) for line in (home / "runs/plural/events.jsonl").read_text().splitlines()]
    (ahead,) = [event for event in events if event["event"] == "forecast"]
    assert ahead["steps"] == len([event for event in events if event["event"] == "step"]) >= 8
    assert not (home / "runs/plural/forecast").exists()
