"""A run that is killed, interrupted, out of space or held by another goes on with the same command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from espalier.core.run import open_run

COMMAND = ("run", "recipe.toml")


def keys(folder: Path) -> list[str]:
    return [json.loads(line)["request"] for line in (folder / "generations.jsonl").read_text().splitlines()]


def same_result(one: Path, other: Path) -> bool:
    """Whether two runs ended with the same weights, bit by bit, and the same answers and scores."""
    answers = [
        [
            (line["system"], line["example"], line["ids"])
            for line in map(json.loads, file.read_text().splitlines())
        ]
        for file in (one / "outputs.jsonl", other / "outputs.jsonl")
    ]
    return answers[0] == answers[1] and all(
        (one / name).read_bytes() == (other / name).read_bytes()
        for name in ("model/model.safetensors", "scores.json")
    )


def test_a_killed_run_goes_on_to_the_same_weights_and_answers(
    home: Path, finished, espalier, espalier_process, wait_for
) -> None:
    run = home / "runs" / "plural"
    process = espalier_process(*COMMAND, cwd=home)
    wait_for(run, "generations.jsonl", process)
    process.kill()
    process.communicate()
    made = keys(run) if (run / "generations.jsonl").read_bytes().endswith(b"\n") else []
    process = espalier_process(*COMMAND, cwd=home)
    wait_for(run, "checkpoints/step-*", process)
    process.kill()
    process.communicate()
    assert not (run / "model").exists()
    assert any((run / "checkpoints").glob("step-*"))
    assert espalier(*COMMAND, cwd=home).code == 0
    assert same_result(run, finished.folder)
    assert keys(run)[: len(made)] == made
    assert len(keys(run)) == len(set(keys(run))) == len(keys(finished.folder))


def test_ctrl_c_ends_with_130_and_says_how_to_go_on(home: Path, espalier, espalier_process, wait_for) -> None:
    long = (*COMMAND, "-o", "train.epochs=25")
    process = espalier_process(*long, cwd=home)
    wait_for(home / "runs" / "plural", "checkpoints/step-*", process)
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=60)
    assert process.returncode == 130, err
    assert err.splitlines()[-1].startswith("Interrupted. The same command goes on from here")
    assert "Traceback" not in err
    assert out == ""
    done = [int(place.name.removeprefix("step-")) for place in home.glob("runs/plural/checkpoints/step-*")]
    assert espalier(*long, cwd=home).code == 0
    events = (home / "runs" / "plural" / "events.jsonl").read_text().splitlines()
    steps = [event["step"] for event in map(json.loads, events) if event["event"] == "step"]
    assert steps[-1] > max(done)
    assert steps.count(max(done)) == 1


def test_sigterm_finishes_the_step_and_leaves_a_checkpoint(
    home: Path, new_home, tmp_path: Path, espalier, espalier_process, wait_for
) -> None:
    command = (*COMMAND, "-o", "train.epochs=20", "-o", "train.checkpoint=999")
    run = home / "runs" / "plural"
    process = espalier_process(*command, cwd=home)
    wait_for(run, "events.jsonl", process)
    while '"event": "step"' not in (run / "events.jsonl").read_text():
        assert process.poll() is None
    process.send_signal(signal.SIGTERM)
    _, err = process.communicate(timeout=60)
    assert process.returncode == 143, err
    assert err.splitlines()[-1].startswith("Stopped by SIGTERM. The same command goes on from here")
    (checkpoint,) = (run / "checkpoints").glob("*")
    last = json.loads((run / "events.jsonl").read_text().splitlines()[-1])
    assert (last["event"], last["path"][-6:]) == ("checkpoint", checkpoint.name[-6:])
    assert espalier(*command, cwd=home).code == 0
    undisturbed = new_home(tmp_path / "undisturbed")
    assert espalier(*command, cwd=undisturbed).code == 0
    assert same_result(run, undisturbed / "runs" / "plural")


def test_a_torn_generation_is_made_again_and_no_other(after, finished, espalier) -> None:
    journal = after.folder / "generations.jsonl"
    whole, made = journal.read_text(), keys(after.folder)
    journal.write_text(whole[:-40])
    assert espalier(*COMMAND, cwd=after.home).code == 0
    assert keys(after.folder) == made
    assert journal.read_text().startswith(whole[: whole[:-1].rindex("\n")])
    assert same_result(after.folder, finished.folder)


def test_two_runs_into_one_folder_are_refused(after, espalier) -> None:
    with open_run(after.folder):
        result = espalier(*COMMAND, cwd=after.home)
    assert result.code == 2
    assert "Error: runs/plural: Another run is writing to this folder." in result.err
    assert "-o name=NEW" in result.err


@pytest.fixture
def small_disk(tmp_path: Path):
    """A file system of 4 MB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=4m", "tmpfs", str(disk)]
    if os.geteuid() != 0 or subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a small disk needs more rights")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("free", [0, 100, 700, 1600])
def test_on_a_full_disk_what_was_complete_stands(
    home: Path, finished, espalier, small_disk: Path, free: int
) -> None:
    """`free`: kB for the run; a checkpoint takes 1,200, so it stops before, at or after the first."""
    command = (*COMMAND, "-o", f"folder={small_disk}")
    ballast = small_disk / "ballast"
    ballast.write_bytes(b"0" * (4096 - free) * 1024)
    run = small_disk / "plural"
    result = espalier(*command, cwd=home)
    assert result.code == 2, result.err
    assert "Free some space and run the same command again" in result.err
    assert "Traceback" not in result.err
    left = [path.name for path in (run / "checkpoints").glob("*")]
    assert left == (["step-000001"] if free > 1200 else [])
    ballast.unlink()
    assert espalier(*command, cwd=home).code == 0
    assert same_result(run, finished.folder)
