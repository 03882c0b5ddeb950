"""A checkpoint is whole or not there, and goes only into the run that it is of."""

from __future__ import annotations

import contextlib
import resource
import shutil
import signal
import subprocess
from typing import TYPE_CHECKING

import pytest
import torch

from espalier.core.errors import CheckpointError
from espalier.train.checkpoint import latest, newest_whole, restore, save
from espalier.train.optimizer import adamw, make_updater

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

RECIPE = {"train": {"rate": 1e-3, "rows": 8}, "model": "tiny"}


def make_optimizer(model: torch.nn.Module, decay: float) -> torch.optim.Optimizer:
    return make_updater(model, adamw(), decay=decay, clip=1.0).optimizer


def trained() -> tuple[torch.nn.Module, torch.optim.Optimizer]:
    model = torch.nn.Sequential(torch.nn.Linear(4, 8), torch.nn.Linear(8, 2))
    model[0].requires_grad_(False)
    optimizer = make_optimizer(model, 0.1)
    model(torch.ones(1, 4)).sum().backward()
    optimizer.step()
    return model, optimizer


def test_the_state_comes_back(tmp_path: Path):
    model, optimizer = trained()
    path = save(tmp_path, 7, model, optimizer, RECIPE)
    numbers = torch.rand(3)
    other, other_optimizer = trained()
    assert latest(tmp_path) == path
    assert restore(path, other, other_optimizer, RECIPE) == 7
    assert torch.equal(torch.rand(3), numbers)
    assert torch.equal(other[1].weight, model[1].weight)
    state, other_state = optimizer.state[model[1].weight], other_optimizer.state[other[1].weight]
    assert state.keys() == other_state.keys() == {"step", "exp_avg", "exp_avg_sq"}
    assert all(torch.equal(state[key], other_state[key]) for key in state)


def test_only_the_newest_is_kept_and_remains_of_a_kill_go(tmp_path: Path):
    model, optimizer = trained()
    (tmp_path / ".partial-000009").mkdir()
    (tmp_path / ".partial-000009" / "state.json").write_text("{")
    assert latest(tmp_path) is None
    for step in (5, 10):
        save(tmp_path, step, model, optimizer, RECIPE)
    assert [path.name for path in tmp_path.iterdir()] == ["step-000010"]


def test_another_recipe_is_refused_with_what_differs(tmp_path: Path):
    model, optimizer = trained()
    path = save(tmp_path, 1, model, optimizer, RECIPE)
    changed = {"train": {"rate": 2e-3, "rows": 8}, "model": "tiny"}
    with pytest.raises(CheckpointError, match=r"another recipe: train\.rate \(0\.001 before, 0\.002 now\)"):
        restore(path, model, optimizer, changed)


def test_another_model_is_refused(tmp_path: Path):
    path = save(tmp_path, 1, *trained(), RECIPE)
    other = torch.nn.Linear(4, 8)
    with pytest.raises(CheckpointError, match="another model or method"):
        restore(path, other, make_optimizer(other, 0.0), RECIPE)


@pytest.mark.parametrize("name", ["state.json", "state.safetensors"])
def test_a_damaged_checkpoint_is_named(tmp_path: Path, name: str):
    model, optimizer = trained()
    path = save(tmp_path, 1, model, optimizer, RECIPE)
    (path / name).write_bytes((path / name).read_bytes()[:50])
    with pytest.raises(CheckpointError, match="damaged") as caught:
        restore(path, model, optimizer, RECIPE)
    assert caught.value.where == str(path)


def test_the_newest_that_is_whole_is_taken(tmp_path: Path):
    assert newest_whole(tmp_path) == (None, [])
    path = save(tmp_path, 2, *trained(), RECIPE)
    newer = shutil.copytree(path, tmp_path / "step-000004")
    assert newest_whole(tmp_path) == (newer, [])
    (newer / "state.json").write_text("[]")
    assert newest_whole(tmp_path) == (path, [f"{newer}: state.json is not one of a checkpoint."])
    (path / "state.safetensors").write_bytes(b"")
    with pytest.raises(CheckpointError, match=r"step-000004: .*damaged: state\.json is not"):
        newest_whole(tmp_path)


def test_a_checkpoint_that_lacks_a_rank_is_named(tmp_path: Path):
    model, optimizer = trained()
    path = save(tmp_path, 1, model, optimizer, RECIPE)
    state = (path / "state.json").read_text()
    (path / "state.json").write_text(state.replace('"files": 1', '"files": 2'))
    with pytest.raises(CheckpointError, match="it has 1 of 2 files"):
        restore(path, model, optimizer, RECIPE)


@contextlib.contextmanager
def file_size_limit(size: int) -> Iterator[None]:
    """Let every write beyond `size` bytes of a file fail."""
    old = resource.getrlimit(resource.RLIMIT_FSIZE)
    handler = signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, old[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, old)
        signal.signal(signal.SIGXFSZ, handler)


def test_the_last_good_one_stands_when_a_write_fails(tmp_path: Path):
    model, optimizer = trained()
    good = save(tmp_path, 1, model, optimizer, RECIPE)
    with file_size_limit(2000), pytest.raises(CheckpointError, match="cannot be written") as caught:
        save(tmp_path, 2, model, optimizer, RECIPE)
    assert "stands" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == [good.name]
    assert restore(good, model, optimizer, RECIPE) == 1


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 KB, where this process may mount one."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", str(disk)]
    try:
        mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    except FileNotFoundError:
        mounted = False
    if not mounted:
        pytest.skip("mounting a small file system needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


def test_a_full_disk_leaves_the_last_good_one(small_disk: Path):
    model = torch.nn.Linear(100, 100)
    optimizer = make_optimizer(model, 0.0)
    model(torch.ones(1, 100)).sum().backward()
    optimizer.step()
    good = save(small_disk, 1, model, optimizer, RECIPE)
    with pytest.raises(CheckpointError, match=r"cannot be written.*space"):
        save(small_disk, 2, model, optimizer, RECIPE)
    assert [path.name for path in small_disk.iterdir()] == [good.name]
    assert restore(good, model, optimizer, RECIPE) == 1
