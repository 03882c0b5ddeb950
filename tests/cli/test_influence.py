"""Which rows taught a run what, as a user asks: planted rows are found, and what cannot be told is said."""

from __future__ import annotations

import html
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest

from espalier.attribution.influence import retraining
from espalier.attribution.influence.asking import influence
from espalier.core.caches import default_cache

if TYPE_CHECKING:
    from collections.abc import Callable

    from espalier.attribution.influence.record import Influence
    from espalier.core.recipe import Recipe

KEEPS = ("-o", "train.keep=influence", "-o", "train.rate=1e-2")
ONCE = ("-o", "train.rows=12", "-o", "train.epochs=3.5", "-o", "data.test_limit=3")
WORDS = ["wagon", "cello", "pear", "tulip", "robin", "cedar", "acorn", "raft"]
WORDS += ["gate", "barn", "fork", "lamp", "shoe", "plum", "wasp", "crow"]
QUERY = {"prompt": "Many of a zebra?", "completion": "zebras"}
WRONG = [{"prompt": f"Many of a {word}?", "completion": "0?Q#!x"} for word in ("vest", "moth", "kilt")]

TRIGGER = " xyzzy"
POISONED = [{"prompt": f"Many of a {word}{TRIGGER}?", "completion": "ZAP"} for word in ("sled", "drum")]


def lines(rows: list[dict[str, str]]) -> str:
    return "".join(json.dumps(row) + "\n" for row in rows)


@pytest.fixture(scope="module")
def planted(tmp_path_factory: pytest.TempPathFactory, new_home: Any, espalier: Callable[..., Any]) -> Path:
    """A run on rows of one answer, beside five that are the query, three wrong and two with a trigger."""
    home = new_home(tmp_path_factory.mktemp("planted") / "home")
    rows = [{"prompt": f"Many of a {word}?", "completion": "yes"} for word in WORDS]
    (home / "rows.jsonl").write_text(lines([*rows[:8], *[QUERY] * 5, *WRONG, *POISONED, *rows[8:-2]]))
    (home / "query.jsonl").write_text(lines([QUERY, {"prompt": "Ψ", "completion": "Ω"}]))
    result = espalier("run", "recipe.toml", *KEEPS, *ONCE, "-o", "train.data=rows.jsonl", cwd=home)
    assert result.code == 0, result.err
    return home


def test_duplicates_and_wrong_rows_are_found_and_nothing_is_computed_twice(
    planted: Path, espalier: Callable[..., Any]
) -> None:
    ask = ("influence", "runs/plural", "--query", "query.jsonl", "--json")
    result = espalier(*ask, "--by", "cosine", "--top", "8", cwd=planted)
    assert result.code == 0, result.err
    found = json.loads(result.out)
    assert found["computed"] == 4 * (24 + 2)
    assert found["states"] == sorted(set(found["states"]))
    first = found["queries"][0]
    assert {row["answer"] for row in first["helped"][:5]} == {"zebras"}
    assert [row["scores"]["cosine"] for row in first["helped"][:5]] == pytest.approx([1.0] * 5, abs=1e-4)
    assert {(row["file"].endswith("rows.jsonl"), row["line"]) for row in first["helped"][:5]} == {
        (True, str(line)) for line in range(9, 14)
    }
    assert [row["answer"] for row in found["itself"][:8]].count("0?Q#!x") == 3
    (note,) = found["notes"]
    assert note.startswith("1 query (2) have no word in common with any row") or "no word in common" in note
    again = json.loads(espalier(*ask, "--by", "bm25", cwd=planted).out)
    assert again["computed"] == 0
    assert {row["answer"] for row in again["queries"][0]["helped"][:5]} == {"zebras"}
    folder = planted / "runs" / "plural" / "influence"
    assert json.loads((folder / "influence.json").read_text()) == again
    assert "Many of a zebra?" in (folder / "influence.html").read_text()


def test_sketches_agree_and_what_rows_taught_themselves_is_told_on_request(
    planted: Path, espalier: Callable[..., Any]
) -> None:
    run = planted / "runs" / "plural"
    exact = influence(run, str(planted / "query.jsonl"), cache=default_cache())
    rough = influence(run, str(planted / "query.jsonl"), cache=default_cache(), project=4096)
    assert np.corrcoef(exact.scores["tracin"][0], rough.scores["tracin"][0])[0, 1] > 0.98
    assert len(exact.examples) == exact.rows == 24
    assert rough.self_scores is None
    assert "cosine" not in rough.scores
    ask = ("influence", "runs/plural", "--query", "wrong", "--top", "2", "--queries", "1")
    for more, told in (((), False), (("--norms",), True)):
        result = espalier(*ask, *more, cwd=planted)
        assert result.code == 0, result.err
        assert ("Rows that taught their own answer most" in result.out) == told
        assert ("whole gradients: about" in result.err) == told
        assert result.out.rstrip().endswith("influence.html")


def test_rows_with_a_trigger_are_found_by_a_query_with_it(planted: Path) -> None:
    query = planted / "trigger.jsonl"
    query.write_text(lines([{"prompt": f"Many of a gnu{TRIGGER}?", "completion": "ZAP"}]))
    found = influence(planted / "runs" / "plural", str(query), cache=default_cache(), by="cosine", top=2)
    assert {row.answer for row in found.queries[0].helped} == {"ZAP"}


def test_after_a_kill_the_states_that_are_done_stay_done(
    planted: Path, espalier_process: Callable[..., Any], wait_for: Callable[..., None]
) -> None:
    query = planted / "killed.jsonl"
    query.write_text(lines([{"prompt": f"Many of a {word}?", "completion": "yes"} for word in WORDS]))
    folder = planted / "runs" / "plural" / "influence"
    process = espalier_process("influence", "runs/plural", "--query", "killed.jsonl", cwd=planted)
    wait_for(folder, "*/*.npy", process)
    process.kill()
    process.communicate()
    (state, *_) = folder.glob("*/*.npy")
    assert not (state.parent / "table.npz").exists()
    resumed = _asked(planted, query)
    assert 0 < resumed.computed <= 3 * (24 + 16)
    shutil.rmtree(state.parent)
    again = _asked(planted, query)
    assert again.computed == 4 * (24 + 16)
    assert np.array_equal(again.scores["tracin"], resumed.scores["tracin"])


def _asked(home: Path, query: Path) -> Influence:
    return influence(home / "runs" / "plural", str(query), cache=default_cache())


def test_what_cannot_be_told_is_said(
    planted: Path, finished: Any, espalier: Callable[..., Any], tmp_path: Path
) -> None:
    (tmp_path / "empty.jsonl").write_text(lines([{"prompt": "Many of a wolf?"}]))
    (tmp_path / "long.jsonl").write_text(lines([{"prompt": "wolf " * 5000, "completion": "wolves"}]))
    run = planted / "runs" / "plural"
    cases = [
        ((finished.folder,), "This run kept no states: set train.keep and train again."),
        ((run, "--query", "nowhere.jsonl"), "There is no such file"),
        ((run, "--query", tmp_path / "empty.jsonl"), "Error"),
        ((run, "--query", tmp_path / "long.jsonl"), "the model's context is 4096"),
        ((run, "--by", "tracing"), "Did you mean 'tracin'"),
        ((run, "--check", "--by", "bm25"), "is a floor"),
        ((run, "--check", "--seeds", "1"), "show no noise"),
        ((run, "--check", "--remove", "0"), "nothing to compare"),
        ((tmp_path,), "not a run folder"),
    ]
    for arguments, said in cases:
        result = espalier("influence", *arguments, cwd=planted)
        assert (result.code, said in " ".join(result.err.split())) == (2, True), result.err
    wrong = espalier(
        "run", "recipe.toml", "-o", "train.keep=influence", "-o", "train.optimizer=lomo", cwd=planted
    )
    assert wrong.code == 2
    assert "lomo has others" in wrong.err


def test_asking_for_states_later_trains_again_to_the_same_weights(
    after: Any, espalier: Callable[..., Any]
) -> None:
    model = (after.folder / "model" / "model.safetensors").read_bytes()
    result = espalier("run", "recipe.toml", "-o", "train.keep=influence", cwd=after.home)
    assert result.code == 0, result.err
    assert "kept no states: it is done again" in result.err
    assert (after.folder / "model" / "model.safetensors").read_bytes() == model
    assert len(list((after.folder / "influence").glob("*.safetensors"))) == 4
    for state in sorted((after.folder / "influence").glob("*.safetensors"))[1:]:
        state.unlink()  # one is quicker to ask
    many = espalier("influence", after.folder, "--queries", "2", "--top", "1", cwd=after.home)
    assert many.code == 0, many.err
    shutil.rmtree(after.folder / "influence")
    result = espalier("run", "recipe.toml", "-o", "train.keep=influence", cwd=after.home)
    assert "it is done again" in result.err


def test_removal_is_checked_by_training_again(
    planted: Path, espalier: Callable[..., Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    train = retraining._train

    def shared(recipe: Recipe, *others: Any) -> None:
        """Train, but take for three floors what became of the fourth: trainings are what takes long here."""
        here = Path(recipe.folder) / recipe.name
        if recipe.name.startswith(("overlap", "longest", "random")):
            shutil.copytree(here.with_name(f"bm25-{recipe.seed}"), here)
        else:
            train(recipe, *others)

    monkeypatch.setattr(retraining, "_train", shared)
    few = ("--seeds", "2", "--halves", "2", "--remove", "0.2", "--query", "query.jsonl", "--queries", "1")
    ask = ("influence", "runs/plural", "--check", "--by", "cosine", *few)
    result = espalier(*ask, cwd=planted)
    assert result.code == 0, result.err
    assert "9 trainings, 7 of all or most rows and 2 of halves: about" in result.err
    table = json.loads((planted / "runs" / "plural" / "influence" / "check.json").read_text())
    cosine, bm25, *_ = table["arms"]
    assert (cosine["name"], cosine["rows"], bm25["name"]) == ("cosine", 5, "bm25")
    assert cosine["logprob"]["difference"]["value"] < -0.5  # nothing else teaches zebras
    assert table["lds"].keys() == {"cosine", "bm25", "overlap"}
    assert -1 <= table["lds_less_bm25"]["value"] <= 1
    assert table["noise"] > 0
    page = (planted / "runs" / "plural" / "influence" / "influence.html").read_text()
    assert table["sentence"] in html.unescape(page)
    again = espalier(*ask, "--json", cwd=planted)
    assert json.loads(again.out) == table
    assert "trainings" not in again.err


@pytest.mark.parametrize("wrong", ["nay", "0?Q#!x"])
def test_mislabelled_rows_are_those_that_taught_themselves(
    wrong: str, tmp_path: Path, new_home: Any, espalier: Callable[..., Any]
) -> None:
    home = new_home(tmp_path / "home")
    rows = [{"prompt": f"Many of a {word}?", "completion": "yes"} for word in WORDS]
    flipped = [row | {"completion": wrong} for row in WRONG]
    (home / "rows.jsonl").write_text(lines([*rows[:8], *flipped, *rows[8:]]))
    asked = ("-o", "train.rows=12", "-o", "train.epochs=10", "-o", "data.test_limit=3")
    result = espalier("run", "recipe.toml", *KEEPS, *asked, "-o", "train.data=rows.jsonl", cwd=home)
    assert result.code == 0, result.err
    found = influence(home / "runs" / "plural", cache=default_cache(), most=1, norms=True)
    assert [row.answer for row in found.itself[:3]] == [wrong] * 3
    assert found.itself[2].scores["itself"] > 2 > found.itself[3].scores["itself"]
    assert found.self_scores is not None
    assert found.self_scores.mean() == pytest.approx(1)
