"""Rows held out of training: a user sees their loss, gets the best weights, and is told what cannot be."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import pytest

from espalier.core.recipe import load_recipe
from espalier.data.table import read_examples
from espalier.runs.prepare import prepare

DEV = ("-o", "data.dev=0.3", "-o", "train.epochs=6", "-o", "train.dev=2")
WILD = ("-o", "train.rate=0.03", "-o", "train.warmup=0")


def events(run: Path, kind: str) -> list[dict[str, Any]]:
    lines = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    return [event for event in lines if event["event"] == kind]


def ids(run: Path, name: str) -> list[str]:
    return [example.id for example in read_examples(run / "data" / f"{name}.parquet")]


def test_the_best_weights_are_the_runs_and_training_ends_early(home: Path, finished, espalier) -> None:
    asked = ("run", "recipe.toml", *DEV, *WILD, "-o", "train.patience=1")
    result = espalier(*asked, cwd=home)
    assert result.code == 0, result.err
    run = home / "runs" / "plural"
    train, dev, test = (ids(run, name) for name in ("train", "dev", "test"))
    told = (
        f"Task plural: {len(train)} rows to train on, {len(dev)} for the held-out loss, {len(test)} to score."
    )
    assert told in result.err
    assert not set(dev) & {*train, *test}
    assert test == ids(finished.folder, "test")
    assert sorted([*train, *dev]) == sorted(ids(finished.folder, "train"))
    evaluations = events(run, "dev")
    losses = {event["step"]: event["loss"] for event in evaluations}
    assert [*losses] == list(range(2, 2 * len(losses) + 1, 2))
    assert all(event["rows"] == len(dev) < event["trained_tokens"] for event in evaluations)
    best = min(losses, key=losses.__getitem__)
    assert best == max(losses) - 2 < events(run, "step")[0]["steps"] - 2
    (kept,) = events(run, "kept")
    assert (kept["step"], kept["loss"], kept["last_loss"]) == (best, losses[best], losses[best + 2])
    assert (
        f"Training ended early, at step {best + 2} of {evaluations[0]['steps']}. The weights of "
        in result.err
    )
    assert (
        f"step {best} are kept, of the lowest held-out loss: {losses[best]:.4f}. At the last " in result.err
    )
    assert not (run / "checkpoints").exists()
    report = (run / "report.html").read_text()
    assert f"was lowest at step {best} (the dot)" in report
    assert 'class="beside"' in report

    assert "Training is done" in espalier(*asked, cwd=home).err


def test_a_run_without_it_is_what_it_was(home: Path, finished, espalier) -> None:
    assert not (finished.folder / "data" / "dev.parquet").exists()
    assert not events(finished.folder, "dev")
    assert espalier("run", "recipe.toml", *DEV[:2], cwd=home).code == 0
    again = espalier("run", "recipe.toml", "--overwrite", cwd=home)
    assert again.code == 0, again.err
    assert "data.dev (0.3 before, 0.0 now)" in again.err
    run = home / "runs" / "plural"
    assert not (run / "data" / "dev.parquet").exists()
    for name in ("model/model.safetensors", "scores.json"):
        assert (run / name).read_bytes() == (finished.folder / name).read_bytes()


def test_a_killed_run_goes_on_to_the_same_best(home: Path, espalier, espalier_process, wait_for) -> None:
    asked = ("run", "recipe.toml", *DEV, *WILD, "-o", "train.checkpoint=3", "-o", "train.patience=3")
    process = espalier_process(*asked, cwd=home)
    wait_for(home / "runs" / "plural", "checkpoints/step-*", process)
    process.kill()
    process.communicate()
    assert espalier(*asked, cwd=home).code == 0
    assert espalier(*asked, "-o", "name=whole", cwd=home).code == 0
    one, other = (home / "runs" / name for name in ("plural", "whole"))
    assert events(one, "kept")[0] | {"time": 0} == events(other, "kept")[0] | {"time": 0}
    name = "model/model.safetensors"
    assert (one / name).read_bytes() == (other / name).read_bytes()


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        (("train.patience=3",), "train.patience: train.patience = 3 asks for a held-out loss, and no row is"),
        (("train.dev=5",), "train.dev: train.dev = 5 asks for a held-out loss, and no row is held out."),
        (
            ("data.dev=0.1", "train.objective=[{kind='grpo', rewards={diversity=1.0}}]"),
            "data.dev: An objective that learns from the model's own answers has no held-out loss.",
        ),
        (("data.dev=1.0",), "data.dev: 1.0 does not fit: input should be less than 1."),
    ],
)
def test_what_cannot_be_is_refused_in_a_sentence(
    home: Path, espalier, changes: tuple[str, ...], said: str
) -> None:
    options = [part for change in changes for part in ("-o", change)]
    result = espalier("run", "recipe.toml", *options, cwd=home)
    assert result.code == 2
    assert said in result.err
    assert "Traceback" not in result.err
    assert not (home / "runs").exists()


def test_rows_held_out_have_to_have_what_the_objective_needs(home: Path, espalier) -> None:
    options = ("data.dev=0.1", "train.objective=['dpo']")
    with contextlib.chdir(home):
        held = {example.input for example in prepare(load_recipe("recipe.toml", options)).dev}
    rows = [json.loads(line) for line in (home / "plural.jsonl").read_text().splitlines()]
    rows = [row if row["input"] in held else {**row, "rejected": row["input"]} for row in rows]
    (home / "plural.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    result = espalier("run", "recipe.toml", *[p for o in options for p in ("-o", o)], cwd=home)
    assert result.code == 2
    said = (
        f"data.dev: None of the {len(held)} held-out rows has both an answer and a rejected one, so there is"
    )
    assert said in result.err


def write_pairs(home: Path) -> None:
    words = [
        "wagon", "cello", "pear", "tulip", "robin", "cedar", "acorn", "raft", "gate", "drum", "kite", "fan",
    ]  # fmt: skip
    pairs = [{"prompt": f"Many of a {word}?", "chosen": f"{word}s", "rejected": word} for word in words]
    (home / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in pairs))


@pytest.mark.parametrize("objective", ["dpo", "kto", "reward", "sft"])
def test_pairs_are_followed_by_their_own_loss_whatever_the_method(
    home: Path, espalier, objective: str
) -> None:
    write_pairs(home)
    method = "prompt" if objective == "sft" else "lora"
    options = (
        "task.path='pairs.jsonl'", f"train.objective=['{objective}']", f"train.method='{method}'",
        "data.dev=0.3", "train.dev=2", "train.rows=3",
    )  # fmt: skip
    result = espalier("run", "recipe.toml", *[p for o in options for p in ("-o", o)], cwd=home)
    assert result.code == 0, result.err
    run = home / "runs" / "plural"
    (kept,) = events(run, "kept")
    dev = events(run, "dev")
    assert kept["loss"] == min(event["loss"] for event in dev)
    assert dev[0]["loss"] == pytest.approx(events(run, "step")[1]["loss"], rel=0.5)


def test_a_stage_holds_rows_of_its_own_file_out_and_one_that_samples_none(home: Path, espalier) -> None:
    write_pairs(home)
    recipe = (home / "recipe.toml").read_text()
    start, end = recipe[: recipe.index("[train]")], recipe[recipe.index("[decode]") :]
    stages = """
[[train]]
rate = 3e-3
[[train]]
data = "pairs.jsonl"
objective = ["dpo"]
rate = 3e-3
dev = 1
patience = 1
[[train]]
epochs = 0.5
objective = [{kind = "grpo", rewards = {diversity = 1.0}, group = 2, limit = 3}]
"""
    (home / "recipe.toml").write_text(start + stages + end)
    result = espalier("run", "recipe.toml", "-o", "data.dev=0.2", cwd=home)
    assert result.code == 0, result.err
    assert "Note: train 2 learns from answers of its own: its last weights are kept." in result.err
    run = home / "runs" / "plural"
    assert [event["stage"] for event in events(run, "kept")] == ["train 0", "train 1"]
    rows = {event["stage"]: event["rows"] for event in events(run, "dev")}
    assert rows["train 0"] == len(ids(run, "dev"))
    assert rows["train 1"] % 2 == 0 < rows["train 1"] < 12
    refused = espalier("run", "recipe.toml", "-o", "data.dev=0.2", "-o", "train.2.patience=1", cwd=home)
    assert refused.code == 2
    assert "learns from the model's own answers has no held-out loss." in refused.err
