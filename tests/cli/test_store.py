"""A run does not make again what another has made: the base model's answers to the same test set."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import pytest

from espalier.core.run import RunFolder

RUN = ("run", "recipe.toml", "-o")


def lines(run: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in (run / "generations.jsonl").read_text().splitlines()]


def test_a_second_run_takes_over_the_answers_of_the_base(after, espalier) -> None:
    result = espalier(*RUN, "name=second", "-o", "train.rate=1e-3", cwd=after.home)
    assert result.code == 0, result.err
    first, second = lines(after.folder), lines(after.home / "runs" / "second")
    base = {one["request"]: one["ids"] for one in first[:6]}
    assert {one["request"]: one["ids"] for one in second[:6]} == base
    events = [json.loads(line) for line in (after.home / "runs/second/events.jsonl").read_text().splitlines()]
    decoded = [event["stage"] for event in events if event["event"] == "stage"]
    assert "decode base" not in decoded
    assert "decode tuned" in decoded
    shown = espalier("store", cwd=after.home)
    assert "runs/.store/journal.sqlite: 20 entries, " in shown.out
    assert "  18 answers, 0.0 MB\n  2 stages of training, 0.0 MB\n" in shown.out
    assert " MB freed" in espalier("store", "clear", cwd=after.home).out
    assert "0 entries" in espalier("store", cwd=after.home).out
    again = espalier(*RUN, "name=second", "-o", "train.rate=1e-3", cwd=after.home)
    assert again.code == 0
    assert len(lines(after.home / "runs" / "second")) == len(second)


def test_a_damaged_store_is_told_with_what_to_do(after, espalier) -> None:
    store = after.home / "runs" / ".store" / "journal.sqlite"
    store.write_text("no database" * 1000)
    result = espalier(*RUN, "name=third", cwd=after.home)
    assert result.code == 2
    assert "The journal cannot be read or written: file is not a database." in result.err
    assert "espalier store clear" in result.err
    assert espalier("store", "clear", cwd=after.home).code == 0
    assert espalier(*RUN, "name=third", cwd=after.home).code == 0


TAKEN = "Training was done in runs/plural: taken from there."


def weights(run: Path) -> Path:
    return run / "model" / "model.safetensors"


def test_a_training_that_another_run_has_done_is_taken_and_stays_when_that_goes(after, espalier) -> None:
    result = espalier(*RUN, "name=second", "-o", 'evaluate=["exact_match"]', cwd=after.home)
    assert result.code == 0, result.err
    assert TAKEN in result.err
    second = after.home / "runs" / "second"
    assert os.path.samefile(weights(second), weights(after.folder))
    losses = [
        [event["loss"] for event in RunFolder(run).read_events() if event["event"] == "step"]
        for run in (after.folder, second)
    ]
    assert losses[0] == losses[1] != []
    made = weights(second).read_bytes()
    shutil.rmtree(after.folder)
    assert espalier("store", "clear", cwd=after.home).code == 0
    again = espalier(*RUN, "name=second", "-o", 'evaluate=["rouge_l"]', cwd=after.home)
    assert again.code == 0, again.err
    assert "Training is done: runs/second/model" in again.err
    assert weights(second).read_bytes() == made
    assert espalier("generate", "runs/second", "a kettle", cwd=after.home).code == 0
    # The second run lets others know of what it took.
    third = espalier(*RUN, "name=third", cwd=after.home)
    assert "Training was done in runs/second: taken from there." in third.err
    assert weights(after.home / "runs" / "third").read_bytes() == made


def test_what_is_not_the_same_or_not_whole_is_trained(after, espalier) -> None:
    other = espalier(*RUN, "name=other", "-o", "train.rate=1e-3", cwd=after.home)
    assert "taken from there" not in other.err
    whole = weights(after.folder).read_bytes()
    weights(after.folder).write_bytes(whole[:-8] + b"damaged!")
    damaged = espalier(*RUN, "name=second", cwd=after.home)
    assert damaged.code == 0, damaged.err
    assert "taken from there" not in damaged.err
    assert weights(after.home / "runs" / "second").read_bytes() == whole


def test_a_training_with_code_from_outside_is_not_taken(home: Path, espalier) -> None:
    (home / "rewarding.py").write_text("def fine(example, text):\n    return len(text) % 2\n")
    recipe = (home / "recipe.toml").read_text()
    objective = 'objective = [{ kind = "grpo", group = 2, limit = 2, rewards = { "rewarding:fine" = 1.0 } }]'
    (home / "recipe.toml").write_text(recipe.replace("[train]", f"[train]\n{objective}"))
    few = ("-o", "train.epochs=0.3")
    assert espalier("run", "recipe.toml", *few, cwd=home).code == 0
    (home / "rewarding.py").write_text("def fine(example, text):\n    return 1 - len(text) % 2\n")
    second = espalier(*RUN, "name=second", *few, cwd=home)
    assert second.code == 0, second.err
    assert "taken from there" not in second.err
    assert {line["event"] for line in RunFolder(home / "runs/second").read_events()} >= {"samples", "step"}


def test_a_reference_is_asked_once_by_runs_of_one_model(home: Path, espalier, monkeypatch) -> None:
    rows = [{"prompt": f"Many of a {word}?", "chosen": f"{word}s", "rejected": word} for word in "abcdefghij"]
    (home / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    command = ("run", "recipe.toml", "-o", "task.path=pairs.jsonl", "-o", 'train.objective=["dpo"]', "-o")
    assert espalier(*command, "name=first", cwd=home).code == 0
    monkeypatch.setattr(
        "espalier.train.reference.token_logprobs", lambda *_, **__: pytest.fail("asked again")
    )
    result = espalier(*command, "name=second", "-o", "train.rate=1e-4", cwd=home)
    assert result.code == 0, result.err
    assert "  1 pass of a reference, " in espalier("store", cwd=home).out
