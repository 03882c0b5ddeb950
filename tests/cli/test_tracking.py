"""A run's trackers: they get every event and the end, and none can stop the run."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType

import pytest

from espalier.core.errors import MissingExtra, RecipeError
from espalier.core.recipe import Recipe, parse_recipe
from espalier.runs.events import listening
from espalier.runs.tracking import choose_trackers, open_trackers

MODULE = """
seen = []

class Tracker:
    def __init__(self, limit):
        self.limit = limit

    def log(self, event):
        seen.append(event["event"])
        if len(seen) > self.limit:
            raise OSError("the disk is full")

def patient(*, limit: int = 100):
    return lambda start: Tracker(limit)

def absent():
    def begin(start):
        raise RuntimeError("no such server")
    return begin
"""


@contextmanager
def opened(plan: Recipe, folder: Path) -> Generator[Callable[[dict[str, str]], None]]:
    with open_trackers(choose_trackers(plan.track), plan, folder) as tell:
        yield tell


def recipe(*track: object) -> Recipe:
    return parse_recipe({"name": "run", "track": list(track)})


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    """A user's own module with trackers, new in each test."""
    (tmp_path / "my_trackers.py").write_text(MODULE)
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "my_trackers", raising=False)
    return importlib.import_module("my_trackers")


def test_a_tracker_gets_the_events_and_the_end(module: ModuleType, tmp_path: Path) -> None:
    with opened(recipe("my_trackers:patient"), tmp_path) as tell:
        tell({"event": "step"})
    assert module.seen == ["step", "end"]


def test_one_that_fails_is_told_once_and_is_off(module: ModuleType, tmp_path: Path) -> None:
    track = recipe({"kind": "my_trackers:patient", "limit": 1}, "my_trackers:absent")
    heard: list[object] = []
    with listening(heard.append), opened(track, tmp_path) as tell:
        for _ in range(4):
            tell({"event": "step"})
    assert module.seen == ["step", "step"]
    said = str(heard)
    assert "the tracker 'my_trackers:absent' is off from here: no such server" in said
    assert said.count("the disk is full") == 1


def test_a_wrong_name_or_an_absent_package_is_told_before_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    wrong = r"track\.0\.kind: No tracker is named 'wandbb'.*'wandb'"
    with pytest.raises(RecipeError, match=wrong):
        choose_trackers(recipe("wandbb").track)
    monkeypatch.setitem(sys.modules, "wandb", None)
    with pytest.raises(MissingExtra, match="wandb"):
        choose_trackers(recipe("wandb").track)


def test_no_tracker_is_the_default(tmp_path: Path) -> None:
    with opened(recipe(), tmp_path) as tell:
        tell({"event": "step"})
    assert list(tmp_path.iterdir()) == []
