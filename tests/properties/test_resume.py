"""N steps equal k steps, a SIGKILL and the same command again, bitwise: with real processes.

This file is also the program that is killed: `python test_resume.py FOLDER` trains and prints each event.
"""

from __future__ import annotations

import functools
import json
import signal
import sys
import tempfile
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file

from espalier.core.records import Encoded
from espalier.encode.tokens import Unit
from espalier.models.forward import Edges, edge_logprobs
from espalier.train.heldout import HeldOut, take_best, watched
from espalier.train.loop import Settings, train
from espalier.train.objectives import LossSum, Objective, Part, Resources, sft
from espalier.train.steps import steps_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.encode.tree import Tree
    from espalier.train.objectives import Begun

STEPS, PER_EPOCH = 11, 4


def events(folder: Path, *, dropout: float = 0.0, patience: int | None = None) -> Iterator[dict]:
    """Train a tiny model from a fixed start; a checkpoint every third step, out of step with the epochs.

    With a patience the loss of rows that are held out is looked at after every second step; the last event
    then tells which weights were best, and their sum.
    """
    from transformers import LlamaConfig, LlamaForCausalLM

    torch.set_num_threads(1)
    torch.manual_seed(1)
    np.random.seed(1)
    sizes = {"vocab_size": 64, "hidden_size": 32, "intermediate_size": 48, "num_hidden_layers": 2}
    model = LlamaForCausalLM(LlamaConfig(**sizes, num_attention_heads=4, num_key_value_heads=2))
    rng = np.random.default_rng(0)
    rows = []
    for number in range(16):
        ids = (1, *[number % 2 + 3] * 70, *rng.integers(5, 64, 6).tolist(), 2)
        rows.append(Encoded(ids, (0.0,) * (len(ids) - 4) + (1.0,) * 4, len(ids) - 4, f"row-{number}"))

    def begin(units: Sequence[Unit], tools: Resources) -> Begun:
        begun = sft().begin(units, tools)

        def part(number: int, taken: Sequence[Unit]) -> Part:
            plain = begun(number, taken)

            def loss(edges: Edges, tree: Tree) -> LossSum:
                return plain.loss(
                    Edges(torch.nn.functional.dropout(edges.logprobs, dropout), edges.means), tree
                )

            return replace(plain, loss=loss)

        return part

    units = [Unit(row.example, row.ids[: row.prompt], (row,)) for row in rows]
    if patience is not None:
        units, held = units[:10], units[10:]
    tools = Resources(PER_EPOCH, None, None, None, None)  # type: ignore[arg-type]  what sft does not use
    shared = [(Objective(begin, sft().learns), 1.0)]
    source = steps_of(units, shared, tools, size=4, tokens=100, seed=5)
    settings = Settings(steps=STEPS, rate=1e-2, decay=0.1, precision="bf16", checkpoint=3)
    found = train(model, source, settings, folder, recipe={"rate": 1e-2})
    if patience is None:
        yield from found
        return
    dev = steps_of(held, [(sft(), 1.0)], tools, size=len(held), tokens=100, seed=5)
    heldout = HeldOut(lambda: dev(0), 2, patience)
    yield from watched(found, model, heldout, folder, forward=edge_logprobs, precision="bf16")
    take_best(model, folder)
    yield {"event": "best", "weights": [weight.double().sum().item() for weight in model.parameters()]}


def final_state(folder: Path) -> dict[str, torch.Tensor]:
    (path,) = (folder / "checkpoints").iterdir()
    assert path.name == f"step-{STEPS:06d}"
    return load_file(path / "state.safetensors")


def assert_same(one: dict[str, torch.Tensor], two: dict[str, torch.Tensor]) -> None:
    assert one.keys() == two.keys()
    different = [name for name in one if not torch.equal(one[name], two[name])]
    assert not different


def run_and_kill(forked, folder: Path, at: int | None, patience: int | None = None) -> list[dict]:
    """Run this file as a program, and kill it as soon as it reports step `at`."""
    seen = []
    process = forked(__file__, folder, *([] if patience is None else [patience]))
    for line in process.stdout:
        seen.append(json.loads(line))
        if seen[-1]["event"] == "step" and seen[-1]["step"] == at:
            process.send_signal(signal.SIGKILL)
            break
    assert process.wait() == (0 if at is None else -signal.SIGKILL)
    process.communicate()
    return seen


def test_a_killed_run_goes_on_bitwise(forked, tmp_path: Path):
    whole = [event for event in events(tmp_path / "whole") if event["event"] == "step"]
    assert len(whole) == STEPS
    parts = [run_and_kill(forked, tmp_path / "killed", at) for at in (4, 9, None)]
    assert [part[0]["step"] for part in parts[:2]] == [0, 3]
    assert parts[2][0]["step"] in (6, 9)  # the kill races with the checkpoint after step 9
    assert_same(final_state(tmp_path / "killed"), final_state(tmp_path / "whole"))
    seen = {event["step"]: event for part in parts for event in part if event["event"] == "step"}
    assert [seen[step]["loss"] for step in range(1, STEPS + 1)] == [event["loss"] for event in whole]


@pytest.mark.parametrize("stop", [2, 3, 7])
def test_random_states_go_on_too(tmp_path: Path, stop: int):
    """With dropout, a resumed run is the same only if its random numbers go on."""
    whole = [event["loss"] for event in events(tmp_path / "whole", dropout=0.2) if event["event"] == "step"]
    first = events(tmp_path / "parts", dropout=0.2)
    for event in first:
        if event["event"] == "step" and event["step"] == stop:
            break
    first.close()
    rest = list(events(tmp_path / "parts", dropout=0.2))
    assert rest[0]["step"] == (stop - 1) // 3 * 3
    losses = [event["loss"] for event in rest if event["event"] == "step"]
    assert losses == whole[rest[0]["step"] :]
    assert_same(final_state(tmp_path / "parts"), final_state(tmp_path / "whole"))


@functools.cache
def undisturbed(patience: int) -> list[dict]:
    """Return what a run tells that nobody stops."""
    with tempfile.TemporaryDirectory() as folder:
        return list(events(Path(folder), dropout=0.2, patience=patience))


@given(patience=st.integers(0, 3), stops=st.lists(st.integers(0, 12), max_size=4))
@settings(max_examples=16)
def test_the_best_so_far_and_the_patience_go_on_too(patience: int, stops: list[int]) -> None:
    """Wherever it is stopped, between whichever events: the same evaluations, the same end, the same best."""
    whole = undisturbed(patience)
    with tempfile.TemporaryDirectory() as folder:
        seen: dict[int, float] = {}
        for stop in stops:
            part = events(Path(folder), dropout=0.2, patience=patience)
            seen |= {event["step"]: event["loss"] for event in islice(part, stop) if event["event"] == "dev"}
            part.close()
        rest = list(events(Path(folder), dropout=0.2, patience=patience))
        seen |= {event["step"]: event["loss"] for event in rest if event["event"] == "dev"}
        assert seen == {event["step"]: event["loss"] for event in whole if event["event"] == "dev"}
        assert rest[-2:] == whole[-2:]


def test_a_killed_run_goes_on_with_its_best_weights(forked, tmp_path: Path) -> None:
    whole = list(events(tmp_path / "whole", patience=2))
    for at in (3, 6):
        run_and_kill(forked, tmp_path / "killed", at, patience=2)
    assert run_and_kill(forked, tmp_path / "killed", None, patience=2)[-2:] == whole[-2:]
    assert whole[-2]["step"] < whole[-2]["last"]


if __name__ == "__main__":
    chosen = int(sys.argv[2]) if len(sys.argv) > 2 else None
    for event in events(Path(sys.argv[1]), patience=chosen):
        print(json.dumps(event), flush=True)
