"""Trainings of nested sizes go on from each other, and come to the weights that each comes to by itself."""

from __future__ import annotations

import json
import shutil
from typing import TYPE_CHECKING

import pytest
import torch
from safetensors.torch import load_file

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
