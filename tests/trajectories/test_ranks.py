"""Runs on several processes that must coincide with a run on one: real processes, gloo, tiny models.

This file is also the program that each process runs, with the environment that torchrun gives. The processes
are forked from one that has imported what they need; see `tests/conftest.py`.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import runpy
import shutil
import socket
import sqlite3
import sys
import time
from contextlib import closing, nullcontext
from dataclasses import replace
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from espalier.cli.ranks import joined
from espalier.core.errors import RunError
from espalier.core.journal import Journal
from espalier.core.records import ALONE, Encoded, Example, Ranks, message
from espalier.encode.tokens import Unit
from espalier.models.forward import edge_logprobs
from espalier.train import parallel
from espalier.train.heldout import HeldOut, watched
from espalier.train.loop import Settings, train
from espalier.train.objectives import Resources, sft
from espalier.train.optimizer import adamw
from espalier.train.parallel import add_up, full_weights
from espalier.train.preference import dpo
from espalier.train.reinforcement import grpo, journaled
from espalier.train.sampling import Answering
from espalier.train.steps import Step, steps_of
from espalier.train.verify import KeepDouble

if TYPE_CHECKING:
    from collections.abc import Iterator
    from multiprocessing.context import ForkServerProcess

    from espalier.train.steps import Source

STEPS = 5
PROGRAM = "__ranks__"  # what this file is called where a process runs it
SERVER = multiprocessing.get_context("forkserver")
# Beside the other tests that fork, so that one server is enough; see `tests/conftest.py`.
pytestmark = pytest.mark.usefixtures("forked")


def units() -> list[Unit]:
    """14 pairs: two tasks with long heads of their own, and pairs that share nothing; lengths that differ."""
    rng = np.random.default_rng(0)

    def tokens(low: int, high: int) -> list[int]:
        return rng.integers(3, 61, int(rng.integers(low, high))).tolist()

    found: list[Unit] = []
    for number, head in enumerate([tokens(60, 61)] * 6 + [tokens(30, 31)] * 5 + [[]] * 3):
        prompt = (1, *head, *tokens(2, 30))
        rows = []
        for role in ("answer", "rejected"):
            answer = (*tokens(1, 7), 2)
            weights = (0.0,) * len(prompt) + (1.0,) * len(answer)
            rows.append(Encoded((*prompt, *answer), weights, len(prompt), f"row-{number}", role))
        found.append(Unit(f"row-{number}", prompt, tuple(rows)))
    return found


def source(size: int = 6) -> Source:
    """Steps of `size` pairs with two objectives: cross-entropy of the answers, and preference."""
    tools = Resources(3, lambda rows: [0.0] * len(rows), None, None, None)  # type: ignore[arg-type]
    return steps_of(units(), [(sft(), 0.5), (dpo(), 1.0)], tools, size=size, tokens=10_000, seed=0)


def rewarded(model: torch.nn.Module, folder: Path, ranks: Ranks, size: int) -> Source:
    """Steps of `size` prompts that the model itself answers as often; answers that differ are rewarded."""
    words = SimpleNamespace(decode=lambda ids: " ".join(map(str, ids)), stop_ids=frozenset({2}))
    asked = (message("user", "?"),)
    examples = {unit.example: Example(unit.example, "task", "", asked, ("word",)) for unit in units()}
    answering = Answering(model, words, examples, "fp32", seed=0, ranks=ranks)  # type: ignore[arg-type]
    store = Journal(folder / "journal.sqlite")
    tools = Resources(
        3, None, None, None, lambda rewards: journaled(store, "key", answering.sampler(rewards), ranks)  # type: ignore[arg-type]
    )  # fmt: skip
    objective = grpo(rewards={"diversity": 1.0}, group=size, limit=5)
    return steps_of(units(), [(objective, 1.0)], tools, size=size, tokens=10_000, seed=0)


def tiny() -> torch.nn.Module:
    """Sizes that two and three ranks cannot share out evenly."""
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.manual_seed(0)
    np.random.seed(0)
    sizes = {"vocab_size": 61, "hidden_size": 36, "intermediate_size": 45, "num_hidden_layers": 2}
    config = LlamaConfig(**sizes, num_attention_heads=6, num_key_value_heads=3, tie_word_embeddings=True)
    return LlamaForCausalLM(config).eval()


def events(
    folder: Path, ranks: Ranks = ALONE, *, precision: str = "fp64", forward=edge_logprobs
) -> Iterator[dict]:
    """Train the tiny model, a checkpoint every second step, and save the whole weights at the end.

    `precision` is fp32, fp64, "few" (fp64 with one pair a step), "watched" (fp64, with the loss of some rows
    after every second step), "grpo" or "little" (fp64, on 9 or 4 answers
    a step that are sampled in fp32) or "cuda" (bf16 on this rank's GPU).
    With an eps that is not small a step is as smooth as its gradient, and rounding is not blown up.
    """
    torch.set_num_threads(1)
    sizes = {"grpo": 3, "little": 2}
    double = precision in ("fp64", "few", "watched", *sizes)
    model = tiny().double() if double else tiny().to("cuda" if precision == "cuda" else "cpu")
    if precision in sizes:
        rows = rewarded(model, folder, ranks, sizes[precision])
    else:
        rows = source(1 if precision == "few" else 6)
    settings = Settings(
        STEPS, 1e-2, schedule="constant", decay=0.1, optimizer=adamw(eps=1e-2), checkpoint=2,
        precision="bf16" if precision == "cuda" else "fp32",
    )  # fmt: skip
    with KeepDouble() if double else nullcontext():
        found = train(model, rows, settings, folder, recipe={}, forward=forward, ranks=ranks)
        if precision == "watched":
            heldout = HeldOut(lambda: rows(1), 2, 0)
            found = watched(found, model, heldout, folder, forward=forward, precision="fp32", ranks=ranks)
        yield from found
    weights = full_weights(model, ranks)
    if ranks.rank == 0:
        weights = {name: value.clone() for name, value in weights.items()}
        save_file(weights, folder / "weights.safetensors")


def start(size: int, folder: Path, *kinds: str) -> list[ForkServerProcess]:
    """Start so many processes of one group, which train each kind in a folder of its own."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    common = {"WORLD_SIZE": str(size), "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)}
    folder.mkdir(exist_ok=True)
    processes = []
    for rank in range(size):
        environment = {**common, "RANK": str(rank), "LOCAL_RANK": str(rank)}
        told = {"ENVIRONMENT": environment, "FOLDER": folder, "KINDS": kinds}
        processes.append(SERVER.Process(target=runpy.run_path, args=(__file__, told, PROGRAM)))
        processes[-1].start()
    return processes


def run(size: int, folder: Path, *kinds: str) -> dict[str, list[dict]]:
    """Run so many processes to their end and return rank 0's events of each kind."""
    processes = start(size, folder, *kinds)
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0] * size
    return {kind: seen(folder / kind) for kind in kinds}


def seen(folder: Path) -> list[dict]:
    """Return the events of a run on several processes so far."""
    file = folder / "events.jsonl"
    return [json.loads(line) for line in file.read_text().splitlines()] if file.exists() else []


def sums(ranks: Ranks) -> list[list[float] | None]:
    """Return what becomes of gradients of which the ranks have different ones, in buckets of 5 numbers."""
    parallel.BUCKET = 5
    weights = torch.nn.ParameterList([torch.zeros(3), torch.zeros(3), torch.zeros(3), torch.zeros(2)])
    for place, weight in enumerate(weights):
        if place == 1 or (place != 2 and ranks.rank == 0):
            weight.grad = torch.full_like(weight, 10.0**ranks.rank * (place + 1))
    add_up(weights, {}, Step([], []), ranks)
    return [None if weight.grad is None else weight.grad.tolist() for weight in weights]


def stopped(folder: Path, ranks: Ranks) -> list[tuple[int, int]]:
    """Return the steps of this rank's checkpoints with the signals told; the last rank is asked to stop."""
    settings = Settings(STEPS, 1e-2, optimizer=adamw(eps=1e-2), checkpoint=2, precision="fp32")
    seen = 0

    def asked() -> int:
        return 15 if seen == 3 and ranks.rank == ranks.size - 1 else 0

    told = []
    for event in train(tiny(), source(), settings, folder, recipe={}, ranks=ranks, asked=asked):
        seen = event["step"]
        if event["event"] == "checkpoint":
            told.append((event["step"], event["signal"]))
    return told


def main(folder: Path, kinds: tuple[str, ...]) -> None:
    """Train each kind on this process's rank; rank 0 writes the events."""
    with joined() as ranks:
        for kind in kinds:
            if kind == "sums-":
                (folder / f"sums-{ranks.rank}").write_text(json.dumps(sums(ranks)))
                continue
            if kind == "stopped-":
                (folder / f"stopped-{ranks.rank}").write_text(json.dumps(stopped(folder / "stop", ranks)))
                continue
            way, precision = kind.split("-")
            own = replace(ranks, sharded=way == "fsdp")
            (folder / kind).mkdir(exist_ok=True)
            for event in events(folder / kind, own, precision=precision):
                if ranks.rank == 0:
                    with (folder / kind / "events.jsonl").open("a") as file:
                        file.write(json.dumps(event) + "\n")


def losses(found: list[dict]) -> list[float]:
    return [event["loss"] for event in found if event["event"] == "step"]


def vector(folder: Path) -> torch.Tensor:
    """Return all final weights in one vector, in fp64."""
    weights = load_file(folder / "weights.safetensors")
    return torch.cat([weights[name].flatten() for name in sorted(weights)]).double()


def gap(one: Path, other: Path) -> float:
    """Return the distance of a run's final weights from another's, relative."""
    return float((vector(one) - vector(other)).norm() / vector(other).norm())


@pytest.fixture(scope="module")
def one(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, list[dict]]:
    """The run on one process, in fp64: its folder and its events."""
    folder = tmp_path_factory.mktemp("one")
    return folder, list(events(folder))


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, list[dict]]]:
    """The runs on two processes, each kind in a folder of its own, and their events."""
    folder = tmp_path_factory.mktemp("two")
    what = ("fp64", "fp32", "few", "watched", "grpo")
    kinds = [f"{way}-{name}" for name in what for way in ("ddp", "fsdp")]
    return folder, run(2, folder, *kinds, "sums-", "stopped-")


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_ranks_are_one(one, two, kind: str):
    steps = [
        [event for event in found if event["event"] == "step"] for found in (one[1], two[1][f"{kind}-fp64"])
    ]
    assert len(steps[0]) == len(steps[1]) == STEPS
    for single, dealt in zip(*steps, strict=True):
        assert dealt["trees"] >= 2  # or one rank had nothing to do
        assert dealt["loss"] == pytest.approx(single["loss"], rel=1e-9)
        assert dealt["norm"] == pytest.approx(single["norm"], rel=1e-9)
        assert dealt["said"] == pytest.approx(single["said"], rel=1e-9)
    assert gap(two[0] / f"{kind}-fp64", one[0]) < 1e-9


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_in_fp32_two_ranks_are_as_near_as_row_by_row(one, two, kind: str, tmp_path: Path):
    list(events(tmp_path, precision="fp32", forward=partial(edge_logprobs, shared=False)))
    assert gap(two[0] / f"{kind}-fp32", one[0]) <= 1.5 * gap(tmp_path, one[0])


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_a_rank_without_work_goes_along(two, tmp_path: Path, kind: str):
    single = list(events(tmp_path, precision="few"))
    dealt = two[1][f"{kind}-few"]
    assert [event["trees"] for event in dealt if event["event"] == "step"] == [1] * STEPS
    assert losses(dealt) == pytest.approx(losses(single), rel=1e-9)
    assert gap(two[0] / f"{kind}-few", tmp_path) < 1e-9


def entries(folder: Path) -> dict[str, list[list[int]]]:
    """Return the tokens of every round in the journal of a folder."""
    with closing(sqlite3.connect(folder / "journal.sqlite")) as connection:
        rows = connection.execute("SELECT key, value FROM entries").fetchall()
    return {
        key: [[one["ids"] for one in group] for group in json.loads(value)["answers"]] for key, value in rows
    }


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_ranks_sample_and_learn_what_one_would(two, tmp_path: Path, kind: str):
    single = list(events(tmp_path, precision="grpo"))
    folders = (tmp_path, two[0] / f"{kind}-grpo")
    answers = [entries(folder) for folder in folders]
    assert answers[0]
    assert answers[0] == answers[1]
    assert losses(two[1][f"{kind}-grpo"]) == pytest.approx(losses(single), rel=1e-4, abs=1e-6)
    assert gap(folders[1], folders[0]) < 1e-6


def test_a_rank_without_an_answer_to_write_goes_along(tmp_path: Path):
    single = list(events(tmp_path, precision="little"))
    three = run(3, tmp_path / "three", "fsdp-little")["fsdp-little"]  # they write 2, 2 and none
    assert losses(three) == pytest.approx(losses(single), rel=1e-4, abs=1e-6)
    assert gap(tmp_path / "three" / "fsdp-little", tmp_path) < 1e-6


@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_an_evaluation_is_of_all_ranks_and_changes_nothing(two, tmp_path: Path, kind: str):
    home, single = two[0] / f"{kind}-watched", list(events(tmp_path, precision="watched"))
    found = two[1][f"{kind}-watched"]
    losses = [[event["loss"] for event in told if event["event"] == "dev"] for told in (single, found)]
    assert len(losses[0]) == 3
    assert losses[1] == pytest.approx(losses[0], rel=1e-9)
    weights = [load_file(next(at.glob("checkpoints/best-*"))) for at in (tmp_path, home)]
    assert weights[0].keys() == weights[1].keys()
    assert all(value.allclose(weights[1][name], atol=1e-9) for name, value in weights[0].items())
    plain = two[0] / f"{kind}-fp64" / "checkpoints" / f"step-{STEPS:06d}"
    for path in plain.glob("*.safetensors"):
        states = load_file(path), load_file(home / "checkpoints" / plain.name / path.name)
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


def test_one_rank_that_is_asked_to_stop_makes_all_save(two):
    expected = [[2, 0], [3, 15], [4, 0], [5, 0]]
    assert [json.loads((two[0] / f"stopped-{rank}").read_text()) for rank in range(2)] == [expected] * 2


def test_a_gradient_that_no_rank_has_stays_none(two):
    expected = [[1.0] * 3, [22.0] * 3, None, [4.0] * 2]
    assert [json.loads((two[0] / f"sums-{rank}").read_text()) for rank in range(2)] == [expected] * 2


@pytest.mark.gpu
@pytest.mark.parametrize("kind", ["ddp", "fsdp"])
def test_two_gpus_are_one(tmp_path: Path, kind: str):
    if torch.cuda.device_count() < 2:
        pytest.skip("needs two CUDA devices")
    single = list(events(tmp_path, precision="cuda"))
    dealt = run(2, tmp_path / "two", f"{kind}-cuda")[f"{kind}-cuda"]
    assert losses(dealt) == pytest.approx(losses(single), rel=2e-2)


@pytest.fixture(scope="module")
def killed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run on two ranks that share the weights; one is killed once the first checkpoint is there."""
    folder = tmp_path_factory.mktemp("killed")
    first, second = start(2, folder, "fsdp-fp64")
    while not any(event["event"] == "checkpoint" for event in seen(folder / "fsdp-fp64")):
        assert first.is_alive()
        time.sleep(0.001)
    second.kill()
    first.join(60)
    assert first.exitcode == 2
    assert "rank 0 of 2: Another process of this run has ended." in (folder / "error-0").read_text()
    return folder / "fsdp-fp64"


def resumed(killed: Path, folder: Path, size: int) -> tuple[Path, list[dict]]:
    """Go on from what the killed run left, on so many ranks."""
    home = folder / "fsdp-fp64"
    shutil.copytree(killed, home)
    (home / "events.jsonl").unlink()
    return home, run(size, folder, "fsdp-fp64")["fsdp-fp64"] if size > 1 else list(events(home))


def test_a_killed_rank_leaves_the_last_checkpoint_and_two_go_on_bitwise(killed: Path, two, tmp_path: Path):
    assert [path.name for path in (killed / "checkpoints").glob("step-*")] in (
        [["step-000002"], ["step-000004"]]
    )
    home, found = resumed(killed, tmp_path, 2)
    assert found[0]["step"] in (2, 4)
    for name in ("state-00000.safetensors", "state-00001.safetensors"):
        states = [
            load_file(folder / "checkpoints" / f"step-{STEPS:06d}" / name)
            for folder in (home, two[0] / "fsdp-fp64")
        ]
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][key], states[1][key]) for key in states[0])


@pytest.mark.parametrize("size", [1, 3])
def test_another_number_of_ranks_goes_on(killed: Path, one, tmp_path: Path, size: int):
    home, found = resumed(killed, tmp_path, size)
    assert found[0]["step"] in (2, 4)
    assert gap(home, one[0]) < 1e-9


if __name__ == PROGRAM:
    told = dict(globals())
    os.environ.update(told["ENVIRONMENT"])
    try:
        main(told["FOLDER"], told["KINDS"])
    except RunError as error:
        (told["FOLDER"] / f"error-{os.environ['RANK']}").write_text(str(error))
        sys.exit(2)
