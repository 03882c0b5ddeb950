"""`espalier explain --tail`: from a run's files alone."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from espalier.models import load

if TYPE_CHECKING:
    from collections.abc import Callable


def test_the_tail_is_told_without_a_model(
    espalier: Callable[..., Any], after: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    def none(*_: object, **__: object) -> None:
        raise AssertionError

    monkeypatch.setattr(load, "load_model", none)
    done = espalier("explain", "runs/plural", "--tail", cwd=after.home)
    assert done.code == 0, done.err
    folder = after.folder / "explain"
    found = json.loads((folder / "tail.json").read_text())
    assert {*found} >= {"facets", "cvar", "left", "sentences", "train"}
    assert " ".join(found["sentences"][0].split()) in " ".join(done.out.split())
    assert "<table" in (folder / "tail.html").read_text()
    again = espalier("explain", "runs/plural", "--tail", "--json", cwd=after.home)
    assert json.loads(again.out) == found


def test_from_python_and_what_is_no_run(espalier: Callable[..., Any], after: Any) -> None:
    from espalier import api

    found = api.explain_tail(after.folder)
    assert len(found.sentences) == 3
    assert str(found).endswith(found.sentences[-1])
    (after.folder / "scores.json").unlink()
    done = espalier("explain", after.folder, "--tail", cwd=after.home)
    assert done.code == 2
    assert "has no scores yet" in done.err


def test_a_run_is_asked_in_many_wordings_once(espalier: Callable[..., Any], after: Any) -> None:
    (after.home / "more.txt").write_text("Say it of many.\n\nWrite the plural of the noun.\n")
    more = ("--definitions", "more.txt", "--against", "runs/plural")
    done = espalier("explain", "runs/plural", "--wording", *more, cwd=after.home)
    assert done.code == 0, done.err
    folder = after.folder / "explain"
    found = json.loads((folder / "wording.json").read_text())
    tuned, _, other = found["systems"]
    assert {"original", "polite", "last", "written 1"} <= {one["name"] for one in tuned["wordings"]}
    assert "own definition" in found["left"]["written 2"]
    assert len(tuned["wordings"]) >= 20
    assert [other["mean"], other["wordings"]] == [tuned["mean"], tuned["wordings"]]
    assert found["ranks"][-1]["share"]["value"] == 0.5
    scores = json.loads((after.folder / "scores.json").read_text())["systems"]["tuned"]["scores"]
    usual = next(one for one in tuned["wordings"] if one["name"] == "original")
    assert usual["reached"] == scores[found["measure"]]
    assert "<svg" in (folder / "wording.html").read_text()
    again = espalier("explain", "runs/plural", "--wording", *more, "--json", cwd=after.home)
    assert json.loads(again.out) == found
