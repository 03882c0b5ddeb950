"""The record of a run's scores: to its file and back, and what is wrong with a file in a sentence."""

from __future__ import annotations

import copy
import json
from pathlib import Path
from typing import Any

import pytest

from espalier.core.errors import DataError
from espalier.core.records import Completion, Example, Metric, Score, message
from espalier.evaluate.harness import evaluate
from espalier.evaluate.pairs import evaluate_pairs
from espalier.evaluate.score_records import Limit
from espalier.evaluate.scores import Scores
from espalier.scorers.by_row import ByRow
from espalier.scorers.registry import scorers

ROWS = [
    Example(f"e{i}", "t", f"s{i // 2}", (message("user", "p"),), references=(f"r {i}",), input=f"{i}")
    for i in range(8)
]
WASTE = Metric("Waste", better="lower", ceiling=0.0, scale=1.0, floors={"silence": 0.5})


def scored() -> Scores:
    """Scores with all that a file can hold: what is not known, a reason, an answer, parts."""

    def judge(example: Example, completion: Completion) -> Score:
        value = None if example.id == "e3" else len(completion.text) / 9
        return Score(value, "as long as that", completion.text[:1], (1.0, 2.0))

    systems = {
        name: [Completion(row.id, f"{said} {row.id}") for row in ROWS]
        for name, said in (("tuned", "r"), ("base", "I think"), ("copy", "x"))
    }
    chosen = {"rouge_l": scorers.build("rouge_l", {}), "my:waste": ByRow(judge, WASTE)}
    return evaluate(ROWS, systems, chosen, rewarded=["my:waste"], limit=Limit(9, 1, 12))


def test_a_file_holds_all_of_it(tmp_path: Path) -> None:
    scores = scored()
    (tmp_path / "scores.json").write_text(scores.to_json())
    read = Scores.read(tmp_path / "scores.json")
    assert read.to_json() == scores.to_json()
    assert (read.metrics, read.references, read.limit) == (scores.metrics, scores.references, scores.limit)
    assert read["tuned"] == scores["tuned"]
    assert read.examples == scores.examples
    assert "answers" not in json.loads(scores.to_json())["systems"]["tuned"]
    assert read.metrics["my:waste"] == WASTE
    assert read.examples[0].systems["tuned"]["my:waste"].answer == "r"
    assert "ceiling" not in json.loads(scores.to_json())["metrics"]["rouge_l"]


def test_a_reward_models_file_is_read_too() -> None:
    turns = (message("user", "q"), message("assistant", "good", trained=True))
    pairs = [Example(f"p{i}", "t", f"{i}", turns, (), (message("assistant", "bad"),)) for i in range(3)]
    scores = evaluate_pairs(pairs, {"tuned": [(2, 1)] * 3, "base": [(1, 2)] * 3, "longer": [(1, 1)] * 3})
    table = json.loads(scores.to_json())
    assert table.keys() == {"rows", "sources", "seed", "rewarded", "systems", "differences", "examples"}
    assert Scores.of(table) == scores
    assert {name: floor.value for name, floor in scores.floors("pair_accuracy").items()} == {
        "longer": 0.5,
        "guessing": 0.5,
    }


def test_systems_and_measures_are_found_by_their_names() -> None:
    scores = scored()
    assert [*scores] == [*scores.keys()] == ["tuned", "base", "copy"]
    assert [*scores["tuned"]] == ["rouge_l", "my:waste"]
    assert str(scores["tuned"]["rouge_l"]).startswith(f"{100 * scores['tuned']['rouge_l'].value:.1f} (")
    assert str(scores["tuned"]["my:waste"]).startswith("0.4 (")
    assert scores["tuned"]["my:waste"].missing == 1
    assert scores.floors("my:waste").keys() == {"copy", "silence"}
    assert repr(scores).startswith("Scores(rouge_l: tuned ")
    assert repr(Scores()) == "Scores()"


LOST: list[tuple[tuple[str | int, ...], str]] = [
    (("systems",), "The scores have no 'systems'."),
    (("systems", "tuned", "checks"), "The scores have no 'checks'."),
    (("systems", "base", "scores", "rouge_l", "low"), "The scores have no 'low'."),
    (("differences", 0, "values", "rouge_l", "detectable"), "The scores have no 'detectable'."),
    (("examples", 0, "source"), "The scores have no 'source'."),
]


@pytest.mark.parametrize(("path", "said"), LOST)
def test_a_file_that_lacks_something_is_refused_in_a_sentence(path: tuple[str | int, ...], said: str) -> None:
    table: Any = json.loads(scored().to_json())
    place = table
    for step in path[:-1]:
        place = place[step]
    del place[path[-1]]
    with pytest.raises(DataError) as error:
        Scores.of(table)
    assert said in str(error.value)
    assert "score the run again" in str(error.value)


@pytest.mark.parametrize("table", [[], {"rows": 1}, {"rows": 1, "sources": 1, "systems": 3}, "x"])
def test_what_are_no_scores_is_refused(table: Any) -> None:
    with pytest.raises(DataError, match="The scores"):
        Scores.of(table)


def test_parts_that_older_files_lack_may_be_missing() -> None:
    table = copy.deepcopy(json.loads(scored().to_json()))
    for key in ("metrics", "references", "limit", "seed", "rewarded"):
        del table[key]
    old = Scores.of(table)
    assert (old.metrics, old.references, old.limit, old.seed) == ({}, None, None, 0)
    assert old.metric("my:waste").title == "Waste"
