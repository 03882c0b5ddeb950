"""`torchrun -m espalier run`: the same run as with one process, told once, written once.

What torchrun itself does, two tests show; the others start processes as it does. Its workers are forked from
itself, which is forked from a process that has imported what they need; else each would take seconds.
"""

from __future__ import annotations

import json
import os
import signal
import socket
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file
from torch.distributed import HashStore, Store

import espalier
from espalier.core.run import LOCK
from espalier.runs.meeting import meet

RUN = ("--run-path", str(Path(espalier.__file__).with_name("__main__.py")), "run", "recipe.toml", "-o")
TORCHRUN = (
    "-m", "torch.distributed.run", "--nproc-per-node", "2", "--rdzv-backend", "c10d",
    "--rdzv-endpoint", "localhost:0", "--start-method", "fork",
)  # fmt: skip


@dataclass(frozen=True)
class Ended:
    """What processes of one run left: the exit status of each, and what all of them said."""

    codes: list[int]
    err: str


def two_ranks(espalier_process, home: Path, *options: str) -> Ended:
    """Run the recipe on two processes of this machine, with the environment that torchrun gives."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"WORLD_SIZE": "2", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    command = ("run", "recipe.toml", *(part for option in options for part in ("-o", option)))
    processes = [
        espalier_process(*command, cwd=home, RANK=str(rank), LOCAL_RANK=str(rank), **told)
        for rank in range(2)
    ]
    said = [process.communicate(timeout=120)[1] for process in processes]
    return Ended([process.returncode for process in processes], "".join(said))


def holder(launcher: int, run: Path) -> int:
    """Return the process id of the rank that torchrun has started and that holds the run's folder."""
    children = Path(f"/proc/{launcher}/task/{launcher}/children").read_text().split()
    lock = (run / LOCK).stat().st_ino
    (found,) = {
        int(child)
        for child in children
        for file in Path(f"/proc/{child}/fd").iterdir()
        if file.exists() and file.stat().st_ino == lock
    }
    return found


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory, new_home, espalier_process) -> tuple[Path, Ended]:
    """The folder of a run on two processes that share out the weights, and what was said."""
    home = new_home(tmp_path_factory.mktemp("two") / "home")
    result = two_ranks(espalier_process, home, "train.parallel='fsdp'")
    assert result.codes == [0, 0], result.err
    return home / "runs" / "plural", result


def test_two_processes_make_the_same_run(two, finished):
    run, result = two
    assert "Traceback" not in result.err
    for said in ("Run plural, in runs/plural", "Answers of the tuned model: "):
        assert result.err.count(said) == finished.result.err.count(said) == 1
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


def test_two_processes_find_the_same_loss_of_rows_held_out(home: Path, espalier, espalier_process):
    """Each computes some of the trees; the weights that are kept are gathered where they are shared out."""
    options = (
        "data.dev=0.3",
        "train.epochs=6",
        "train.dev=2",
        "train.rate=0.03",
        "train.warmup=0",
        "train.patience=1",
    )
    found = {}
    for name in ("fsdp", "ddp", "one"):
        asked = (*options, f"name='{name}'")
        if name == "one":
            result = espalier("run", "recipe.toml", *[p for o in asked for p in ("-o", o)], cwd=home)
            assert result.code == 0, result.err
        else:
            result = two_ranks(espalier_process, home, *asked, f"train.parallel='{name}'")
            assert result.codes == [0, 0], result.err
        lines = (home / "runs" / name / "events.jsonl").read_text().splitlines()
        events = [json.loads(line) for line in lines]
        losses = [event["loss"] for event in events if event["event"] == "dev"]
        (kept,) = [event for event in events if event["event"] == "kept"]
        found[name] = (losses, kept, load_file(home / "runs" / name / "model" / "model.safetensors"))
    losses, kept, weights = found["one"]
    assert kept["step"] < kept["last"]
    for name in ("fsdp", "ddp"):
        assert found[name][0] == pytest.approx(losses, rel=1e-3)
        assert found[name][1]["step"] == kept["step"]
        for key, value in weights.items():
            torch.testing.assert_close(found[name][2][key], value, rtol=1e-3, atol=1e-3)


def test_torchrun_starts_a_killed_worker_again_and_the_weights_are_the_same_bitwise(
    home: Path, two, forked, wait_for
):
    """The first rank is killed: it is the one that holds the run folder."""
    run = home / "runs" / "plural"
    process = forked(*TORCHRUN, "--max-restarts", "2", *RUN, "train.parallel='fsdp'", cwd=home)
    wait_for(run, "checkpoints/step-*", process)
    os.kill(holder(process.pid, run), signal.SIGKILL)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 0, said
    assert said.count("Run plural, in runs/plural") == 2
    for name in ("model/model.safetensors", "scores.json"):
        assert (run / name).read_bytes() == (two[0] / name).read_bytes()


def gathering(store: Store, ranks: list[int], size: int, patience: float = 20.0) -> list[tuple[Store, list]]:
    """Let these ranks meet, each in a thread; return what each found."""
    with ThreadPoolExecutor(len(ranks)) as threads:
        return list(threads.map(lambda rank: meet(store, rank, size, patience), ranks))


def test_ranks_meet_apart_from_those_of_an_attempt_before():
    store, seen = HashStore(), set()
    for attempt in range(3):
        if attempt == 1:  # one of them dies before all are there, and leaves its traces
            assert [missing for _, missing in gathering(store, [0, 2], 3, 0.2)] == [[1], [1]]
        for own, missing in gathering(store, [2, 0, 1], 3):
            assert missing == []
            seen.add(own.add("count", 1))
    assert seen == {1, 2, 3}  # each attempt counted for itself


def test_ranks_that_do_not_come_are_named(capsys: pytest.CaptureFixture[str]):
    assert [missing for _, missing in gathering(HashStore(), [0, 2, 4], 5, 0.3)] == [[1, 3]] * 3
    assert gathering(HashStore(), [1], 3, 0.1)[0][1] == [0]


def test_who_has_not_come_is_said(home: Path, espalier, monkeypatch: pytest.MonkeyPatch):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    told = {"RANK": "0", "WORLD_SIZE": "3", "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    for name, value in told.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("espalier.cli.ranks.JOINING", 0.2)
    monkeypatch.setattr("espalier.cli.progress.console.quiet", False)  # as it is to be left
    result = espalier("run", "recipe.toml", cwd=home)
    assert result.code == 2
    assert "ranks 1, 2 of 3 have not come." in result.err
    monkeypatch.setenv("RANK", "1")
    assert (
        f"127.0.0.1:{port}: After 0 s rank 0 does not answer." in espalier("run", "recipe.toml", cwd=home).err
    )
    monkeypatch.delenv("MASTER_PORT")
    assert "Start them with torchrun, or set both." in espalier("run", "recipe.toml", cwd=home).err
    assert not (home / "runs").exists()


def test_only_adamw_moves_weights_that_are_shared_out(home: Path, espalier):
    options = ("-o", "train.parallel='fsdp'", "-o", "train.optimizer='adafactor'")
    result = espalier("run", "recipe.toml", *options, cwd=home)
    assert result.code == 2
    assert "Error: train.optimizer: 'adafactor' cannot move weights that are shared out" in result.err


def test_an_error_of_all_is_told_once(home: Path, forked):
    process = forked(*TORCHRUN, *RUN, "task.path='nowhere.toml'", cwd=home)
    _, said = process.communicate(timeout=120)
    assert process.returncode == 1  # torchrun's own; it also says which process ended with 2
    assert said.count("Error: nowhere.toml: There is no such task file.") == 1
    assert "exitcode  : 2" in said
    assert not (home / "runs").exists()
