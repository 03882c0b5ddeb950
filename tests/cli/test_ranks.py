"""`torchrun -m espalier run`: the same run as with one process, told once, written once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file


def torchrun(home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Run the recipe on two processes of this machine."""
    launch = ("-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d")
    overrides = [part for option in options for part in ("-o", option)]
    return subprocess.run(
        [
            sys.executable,
            *launch,
            "--rdzv-endpoint",
            "localhost:0",
            "-m",
            "espalier",
            "run",
            "recipe.toml",
            *overrides,
        ],
        cwd=home,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )


def test_two_processes_make_the_same_run(home: Path, finished):
    result = torchrun(home, "train.parallel='fsdp'")
    assert result.returncode == 0, result.stderr
    assert "Traceback" not in result.stderr
    run = home / "runs" / "plural"
    for said in ("Run plural, in runs/plural", "Answers of the tuned model: "):
        assert result.stderr.count(said) == finished.result.err.count(said) == 1
    events = [json.loads(line) for line in (run / "events.jsonl").read_text().splitlines()]
    single = [json.loads(line) for line in (finished.folder / "events.jsonl").read_text().splitlines()]
    assert [event["event"] for event in events] == [event["event"] for event in single]
    losses = [[event["loss"] for event in found if event["event"] == "step"] for found in (events, single)]
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)
    weights, expected = (load_file(f / "model" / "model.safetensors") for f in (run, finished.folder))
    assert weights.keys() == expected.keys()
    for name, value in expected.items():
        torch.testing.assert_close(weights[name], value, rtol=1e-4, atol=1e-4)
    configs = [(f / "model" / "config.json").read_text() for f in (run, finished.folder)]
    assert configs[0] == configs[1]
    assert not list((run / "checkpoints").glob("*"))


def test_only_adamw_moves_weights_that_are_shared_out(home: Path, espalier):
    options = ("-o", "train.parallel='fsdp'", "-o", "train.optimizer='adafactor'")
    result = espalier("run", "recipe.toml", *options, cwd=home)
    assert result.code == 2
    assert "Error: train.optimizer: 'adafactor' cannot move weights that are shared out" in result.err


def test_an_error_of_all_is_told_once(home: Path):
    result = torchrun(home, "task.path='nowhere.toml'")
    assert result.returncode == 1  # torchrun's own; it also says which process ended with 2
    assert result.stderr.count("Error: nowhere.toml: There is no such task file.") == 1
    assert "exitcode  : 2" in result.stderr
    assert not (home / "runs" / "plural" / "recipe.toml").exists()
