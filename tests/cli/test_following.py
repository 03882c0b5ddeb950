"""What is said of a training while it goes on: that it is long, and that it goes wrong."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import RunError
from espalier.core.recipe import TrainSection
from espalier.core.records import ALONE
from espalier.core.run import RunFolder
from espalier.runs import following
from espalier.runs.events import Said, listening
from espalier.runs.following import follow
from espalier.runs.in_tokens import Units
from espalier.runs.plan import Stage

WILD = ("-o", "train.rate=30", "-o", "train.epochs=6", "-o", "train.warmup=0", "-o", "train.checkpoint=2")


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [event for event in lines if event["event"] == kind]


def test_a_training_that_diverges_ends_early_with_what_to_do(home: Path, espalier) -> None:
    result = espalier("run", "recipe.toml", *WILD, cwd=home)
    assert result.code == 2
    assert "Error: train.rate: The training has diverged: the loss is " in result.err
    assert "the same command with -o train.rate=3 --overwrite." in result.err
    assert "Traceback" not in result.err
    run = home / "runs" / "plural"
    steps = events(run, "step")
    assert len(steps) <= 6 < steps[0]["steps"]
    assert steps[-1]["loss"] > 1.5 * steps[0]["loss"]
    (told,) = events(run, "diverging")
    assert told["step"] == steps[-1]["step"]
    assert any((run / "checkpoints").glob("step-*"))
    again = espalier("run", "recipe.toml", *WILD, "-o", "train.rate=3e-3", "--overwrite", cwd=home)
    assert again.code == 0, again.err


def followed(path: Path, kind: str, losses: list[float], begun: int = 0) -> list[str]:
    """Follow a training with these losses, and return what was logged of it."""
    path.mkdir(exist_ok=True)
    section = TrainSection.model_validate({"objective": ({"kind": kind},)})
    stage = Stage(0, "train", section, [], [], Units([]), path, True)
    made = {
        "event": "step",
        "rows": 32,
        "norm": 1.0,
        "said": {},
        "tokens": 2,
        "distinct_tokens": 1,
        "rows_per_s": 9.0,
        "seconds": 0.1,
    }
    steps = [{**made, "step": n, "loss": loss} for n, loss in enumerate(losses, start=begun + 1)]
    begin = {"event": "train", "step": begun, "steps": begun + len(steps), "damaged": []}
    follow(RunFolder(path), stage, 49152, iter([begin, *steps]), ALONE)
    return [event["said"] for event in events(path, "diverging")]


RISING = [0.7, 5.0, 6.0, 7.0, 12.0, 13.0]


def test_a_loss_that_rises_is_told_once(tmp_path: Path) -> None:
    heard: list[object] = []
    with listening(heard.append):
        assert len(followed(tmp_path / "pairs", "dpo", RISING)) == 1
    told = "\n".join(event.text for event in heard if isinstance(event, Said))
    assert told.count("Warning: the loss rises: the loss is 6.00 at step 3, and was 0.70 at the first; ") == 1
    assert "guessing" not in told
    assert "the same command with -o train.rate=2e-06 --overwrite." in told
    with pytest.raises(RunError, match=r"the loss is 13\.00 at step 6"):
        followed(tmp_path / "answers", "sft", RISING)
    assert len(events(tmp_path / "answers", "diverging")) == 2


def test_an_interrupted_training_is_not_judged_by_where_it_goes_on(tmp_path: Path) -> None:
    assert followed(tmp_path / "run", "sft", RISING, begun=50) == []


def test_a_long_training_is_told_of_before_it_begins(
    home: Path, espalier, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(following, "LONG", 0.0)
    result = espalier("run", "recipe.toml", "-o", "train.epochs=4", cwd=home)
    assert result.code == 0, result.err
    assert result.err.count("The training is long: about ") == 1
    advice = (
        "Shorter: fewer rows (-o data.limit=6), fewer epochs (-o train.epochs=1), an adapter "
        "(-o train.method=lora), a smaller model, or a machine with a GPU. Ctrl-C ends it here."
    )
    assert advice in result.err
    assert result.err.index(advice) < result.err.index("Training: about ")


def test_rows_that_are_computed_one_by_one_save_no_tokens(home: Path, espalier) -> None:
    shutil.copytree(home / "tiny", home / "dropping")
    config = home / "dropping" / "config.json"
    config.write_text(json.dumps({**json.loads(config.read_text()), "attention_dropout": 0.1}))
    model = ("-o", "model.name=dropping")
    result = espalier("run", "recipe.toml", *model, cwd=home)
    assert result.code == 0, result.err
    assert "each row is computed by itself" in result.err
    assert "0% tokens saved" in result.err
    run = home / "runs" / "plural"
    counted = [*events(run, "step"), *events(run, "encoded")]
    assert len(counted) > 2
    assert all(event["distinct_tokens"] == event["tokens"] for event in counted)
    assert espalier("verify", "recipe.toml", *model, cwd=home).code == 0
