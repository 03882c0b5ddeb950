"""`espalier explain --tail`: from a run's files alone."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from espalier.models import load
from tests.servers.judging_server import served

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


def test_a_server_writes_wordings_once_and_a_kill_loses_nothing(
    espalier: Callable[..., Any],
    espalier_process: Callable[..., Any],
    wait_for: Callable[..., None],
    after: Any,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from espalier import api

    command = ("explain", "runs/plural", "--wording", "--model", "scribe", "--json")
    log, file = after.home / "log", after.folder / "explain" / "written.json"
    with served(after.home, "writes", 0.1) as url:
        first = espalier_process(*command, "--server", url, cwd=after.home)
        wait_for(after.home, "log", first)
        first.kill()
        first.communicate()
        assert not file.exists()
        done = espalier(*command, "--server", url, cwd=after.home)
        assert done.code == 0, done.err
        asked = Counter(log.read_text().splitlines())
        assert (len(asked), {*asked.values()}) == (10, {1})
        found = json.loads(done.out)
        told = espalier(*command[:-1], "--server", url, cwd=after.home)
        monkeypatch.chdir(after.home)
        again = api.explain_wording(after.folder, writer="scribe", server=url)
        assert asked == Counter(log.read_text().splitlines())
    assert json.loads(again.to_json()) == {**found, "page": again.page}
    names = [one["name"] for one in found["systems"][0]["wordings"] if one["kind"] == "reworded"]
    assert sorted(names) == [f"reworded {n + 1}" for n in range(len(names))]
    assert len(names) == 4
    assert again.writing
    assert (len(again.writing.kept["plural"]), sum(again.writing.left.values())) == (4, 6)
    assert again.writing.kept["plural"][2] == "Kindly write the plural of the given noun."
    assert "scribe at http" in " ".join(told.out.split())
    heads = [table[0][0] for table in again.tables()]
    assert heads[:3] == ["tuned, asked as", "tuned, in words of scribe", "base, asked as"]
    page = (after.folder / "explain" / "wording.html").read_text()
    assert "In words of scribe" in page
    assert "It is an answer to the task. <q>Cups.</q>" in page
    rules = [table for table in again.tables() if table[0][0] == "tuned, asked as"]
    assert not any("reworded" in cell for row in rules[0] for cell in row)
    file.write_text("{}")
    broken = espalier(*command, "--server", url, cwd=after.home)
    assert (broken.code, "does not hold what a model wrote" in broken.err) == (2, True)


def test_a_model_of_this_machine_that_writes_nothing_useful_is_told(
    espalier: Callable[..., Any], after: Any, tiny_model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    command = ("explain", "runs/plural", "--wording", "--writer", tiny_model, "--paraphrases", "12", "--json")
    done = espalier(*command, cwd=after.home)
    assert done.code == 0, done.err
    found = json.loads(done.out)
    assert len(found["writing"]["texts"]) == 12
    usable = sum(not one["why"] for one in found["writing"]["texts"])
    assert len([one for one in found["systems"][0]["wordings"] if one["kind"] == "reworded"]) == usable

    def never(*_: object) -> None:
        raise AssertionError("asked again")

    monkeypatch.setattr("espalier.explain.wording.writing.ask", never)
    assert json.loads(espalier(*command, cwd=after.home).out) == found


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--writer", "tiny"), "belong to --wording"),
        (("--wording", "--paraphrases", "3"), "are for who writes"),
        (("--wording", "--server", "http://localhost:1/v1"), "Who writes is not said"),
        (("--wording", "--writer", "a", "--model", "b"), "Who writes is said twice"),
        (("--wording", "--model", "b"), "--model is the name of a server's model"),
        (("--wording", "--writer", "nobody"), "There is no 'nobody'"),
        (("--wording", "--server", "localhost", "--model", "b"), "is no address of a server"),
    ],
)
def test_who_writes_is_one_that_can_be_asked(
    espalier: Callable[..., Any], finished: Any, options: tuple[str, ...], said: str
) -> None:
    done = espalier("explain", "runs/plural", *options, cwd=finished.home)
    assert (done.code, said in done.err) == (2, True), done.err
