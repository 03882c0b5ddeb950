"""Trainings of nested sizes go on from each other, and come to the weights that each comes to by itself."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import load_file

from espalier.core.run import RunFolder
from espalier.encode.batches import in_turn
from espalier.runs import trunk
from espalier.study.carrying_out import _counted
from tests.cli.conftest import THINGS

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from tests.cli.conftest import Result

SET = ("train.order=nested", "train.schedule=constant", "train.warmup=0", "train.epochs=1", "evidence=false")


def trained(espalier: Callable[..., Result], home: Path, name: str, size: int, *more: str) -> Path:
    """Train on so many rows; return the run's folder."""
    keys = [part for key in (*SET, f"data.limit={size}", f"name={name}", *more) for part in ("-o", key)]
    done = espalier("run", "recipe.toml", *keys, cwd=home)
    assert done.code == 0, done.err
    return home / "runs" / name


def weights(run: Path) -> dict[str, torch.Tensor]:
    """Return what a run has trained."""
    (file,) = (run / "model").glob("*.safetensors")
    return load_file(file)


def taken(run: Path) -> list[int]:
    """Return after how many steps of another run this one went on."""
    events = map(json.loads, (run / "events.jsonl").read_text().splitlines())
    return [event["step"] for event in events if event.get("event") == "trunk"]


@pytest.mark.parametrize("method", ["full", '{kind = "lora", rank = 2}'])
def test_a_larger_set_goes_on_from_a_smaller_one_to_the_same_bits(
    method: str, home: Path, new_home: Callable[[Path], Path], espalier: Callable[..., Result], tmp_path: Path
):
    more = (f"train.method={method}", "train.rows=3")
    sizes = (6, 13, 20)
    together = [trained(espalier, home, f"size-{size}", size, *more) for size in sizes]
    assert [taken(run) for run in together] == [[], [2], [4]]
    for size, run in zip(sizes[1:], together[1:], strict=True):
        alone = trained(espalier, new_home(tmp_path / f"alone-{size}"), "alone", size, *more)
        assert taken(alone) == []
        mine, theirs = weights(run), weights(alone)
        assert mine.keys() == theirs.keys()
        assert all(torch.equal(mine[name], theirs[name]) for name in mine)


PAIRS = [{"prompt": f"Many of a {word}?", "chosen": f"{word}s", "rejected": word} for word in THINGS.split()]


@pytest.mark.parametrize(
    ("objective", "steps"),
    [("['dpo', 'sft']", [[], [2], [4]]), ("['reward']", [[], [2], [4]]), ("['kto']", [[], [], []])],
)
def test_pairs_go_on_too_but_for_an_objective_that_looks_at_other_rows(
    objective: str,
    steps: list[list[int]],
    home: Path,
    new_home: Callable[[Path], Path],
    espalier: Callable[..., Result],
    tmp_path: Path,
):
    more = (f"train.objective={objective}", "train.rows=3", "task.path=pairs.jsonl", "train.method=lora")
    other = new_home(tmp_path / "alone")
    for folder in (home, other):
        (folder / "pairs.jsonl").write_text("".join(json.dumps(row) + "\n" for row in PAIRS))
    together = [trained(espalier, home, f"size-{size}", size, *more) for size in (6, 13, 20)]
    assert [taken(run) for run in together] == steps
    mine, theirs = weights(together[-1]), weights(trained(espalier, other, "alone", 20, *more))
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(mine[name], theirs[name]) for name in mine)


class Kill(BaseException):
    """What ends a process at a moment of the test's choosing."""


@pytest.mark.parametrize("after", [False, True])
def test_a_kill_around_the_taking_leaves_every_step_told(
    after: bool, home: Path, espalier: Callable[..., Result], monkeypatch: pytest.MonkeyPatch
):
    trained(espalier, home, "first", 6, "train.rows=3")
    adopt = trunk._adopt

    def killed(*arguments: Any) -> None:
        if after:
            adopt(*arguments)
        raise Kill

    monkeypatch.setattr(trunk, "_adopt", killed)
    with pytest.raises(Kill):
        trained(espalier, home, "larger", 13, "train.rows=3")
    monkeypatch.setattr(trunk, "_adopt", adopt)
    run = trained(espalier, home, "larger", 13, "train.rows=3")
    assert _counted(RunFolder(run).read_events()) == (5, 2)
    events = RunFolder(run).read_events()
    assert {event["step"] for event in events if event["event"] == "step"} == {1, 2, 3, 4, 5}


def test_a_damaged_state_is_said_and_trained_again(home: Path, espalier: Callable[..., Result]):
    first = trained(espalier, home, "first", 6, "train.rows=3")
    (state,) = (first / "trunk").rglob("*.safetensors")
    state.write_bytes(b"damaged")
    assert taken(trained(espalier, home, "larger", 13, "train.rows=3")) == []


def test_steps_done_again_count_once():
    kinds = [("train", 0), ("step", 1), ("step", 2), ("train", 0), ("step", 1), ("step", 2), ("step", 3)]
    assert _counted([{"event": event, "step": step} for event, step in kinds]) == (3, 0)
    fell_back = [("step", 1), ("trunk", 1), ("train", 0), ("step", 1)]
    assert _counted([{"event": event, "step": step} for event, step in fell_back]) == (1, 0)


@given(st.integers(1, 60), st.integers(0, 60), st.integers(1, 17))
def test_full_steps_of_a_set_are_the_first_of_a_larger_one(rows: int, more: int, size: int):
    units: list[Any] = [*range(rows + more)]
    smaller, larger = in_turn(units[:rows], size), in_turn(units, size)
    assert all(smaller(step) == larger(step) for step in range(rows // size))


def test_only_what_would_have_led_there_is_taken(home: Path, espalier: Callable[..., Result]):
    first = trained(espalier, home, "first", 6, "train.rows=3")
    for number, other in enumerate(("train.rate=0.01", "seed=1", "train.rows=2", "train.schedule=linear")):
        assert taken(trained(espalier, home, f"other-{number}", 13, "train.rows=3", other)) == []
    shutil.rmtree(first / "trunk")
    assert taken(trained(espalier, home, "gone", 13, "train.rows=3")) == []


STUDY = """
recipe = "recipe.toml"
seeds = 1
design = {{ kind = "nested", arms = "epochs" }}
set = [{keys}]
[[factor]]
kind = "data.size"
levels = [6, 12, 20]
"""


def planned(espalier: Callable[..., Result], home: Path, *keys: str) -> str:
    """Return what a study of sizes says before it begins."""
    text = STUDY.format(keys=", ".join(f'"{key}"' for key in keys))
    (home / "sizes.toml").write_text(text)
    done = espalier("study", "sizes.toml", "--plan", cwd=home)
    assert done.code == 0, done.err
    return " ".join(done.out.split())


def test_a_study_says_before_and_after_what_its_sizes_share(home: Path, espalier: Callable[..., Result]):
    keys = (
        "train.order=nested",
        "train.schedule=constant",
        "train.warmup=0",
        "train.epochs=1",
        "train.rows=3",
    )
    assert 'Sizes share no steps: train.order is not "nested".' in planned(espalier, home, *keys[1:])
    assert "Sizes share no steps: train.warmup is not 0." in planned(espalier, home, *keys[:2], *keys[3:])
    assert "a smaller set's steps are trained once" in planned(espalier, home, *keys)
    done = espalier("study", "sizes.toml", cwd=home)
    assert done.code == 0, done.err
    assert "Of 13 training steps, 6 were taken from smaller sizes." in " ".join(done.out.split())
    runs = home / "studies" / "sizes" / "runs"
    assert sorted(step for run in runs.glob("*_s0") for step in taken(run)) == [2, 4]
