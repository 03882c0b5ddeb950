"""Predictions of other tools, in the v1 and the v2 form, with what is missing, extra or malformed."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from espalier.core.errors import DataError, RecipeError
from espalier.core.records import Demonstration, Task, TaskRow
from espalier.evaluate.predictions import score_predictions

TASK = Task(
    "t", "Repeat.", tuple(TaskRow(f"t-{i}", f"say {i}", (f"word {i}", f"term {i}")) for i in range(4))
)


def by_id(path: Path, *pairs: tuple[str, str]) -> Path:
    path.write_text("".join(json.dumps({"id": i, "prediction": text}) + "\n" for i, text in pairs))
    return path


def test_v2_form_scores_every_row_and_counts_missing_as_empty(tmp_path: Path) -> None:
    file = by_id(tmp_path / "p.jsonl", ("t-0", "term 0"), ("t-3", "Word 3."), ("t-9", "word 9"))
    result = score_predictions(TASK, file, "rouge_l")
    assert (result.estimate.value, result.estimate.n, result.missing, result.extra) == (0.5, 4, 2, 1)
    first = score_predictions(TASK, file, "exact_match", first=1)
    assert (first.estimate.value, first.estimate.n, first.missing, first.extra) == (1.0, 1, 0, 2)


def test_v1_form_scores_the_rows_that_it_names(tmp_path: Path) -> None:
    file = tmp_path / "p.json"
    items = [
        {"index": i, "output": text, "input": "…"} for i, text in ((2, "word 2"), (0, "no"), (4, "word 4"))
    ]
    file.write_text(json.dumps({"predictions": items}, indent=1))
    result = score_predictions(TASK, file, "rouge_l")
    assert (result.estimate.value, result.estimate.n, result.missing, result.extra) == (0.5, 2, 0, 1)
    first = score_predictions(TASK, file, "rouge_l", first=4)
    assert (first.estimate.value, first.missing) == (0.25, 2)


def test_the_floors_stand_beside_the_score(tmp_path: Path) -> None:
    result = score_predictions(TASK, by_id(tmp_path / "p.jsonl", ("t-0", "")), "rouge_l").percent()
    names = ["scorer", "title", "value", "low", "high", "n", "missing", "extra", "baselines", "measures"]
    assert list(result) == [*names, "findings", "read"]
    assert result["value"] == 0.0
    constant = result["baselines"]["constant"]
    assert (constant["value"], constant["text"]) == (62.5, "word 0")
    assert 20 < constant["low"] < 62.5 < constant["high"] <= 100
    assert result["baselines"]["copy"]["value"] == 50.0


@pytest.mark.parametrize(
    ("text", "message", "where"),
    [
        ('{"id": "t-0"}\n', "A line should be", "p:1"),
        (
            '{"id": "t-0", "prediction": "a"}\n{"id": "t-0", "prediction": "b"}\n',
            "'t-0' is predicted twice",
            "p:2",
        ),
        ('{"predictions": [{"index": -1, "output": "a"}]}', "-1 is no place", "p, prediction 0"),
        ('{"predictions": [{"index": 0, "outptu": "a"}]}', "A line should be", "p, prediction 0"),
        ('{"predictions": [{"index": 7, "output": "a"}]}', "No prediction belongs to a row", "p"),
        ("word 0\n", "The file has 1 prediction for 4 rows", "p"),
    ],
)
def test_a_malformed_file_is_refused_with_its_place(
    tmp_path: Path, text: str, message: str, where: str
) -> None:
    file = tmp_path / "p"
    file.write_text(text)
    with pytest.raises(DataError, match=message) as error:
        score_predictions(TASK, file, "rouge_l")
    assert error.value.where == str(tmp_path / where)


def test_unknown_scorers_and_absent_checks_are_named(tmp_path: Path) -> None:
    file = by_id(tmp_path / "p", ("t-0", "x"))
    with pytest.raises(RecipeError, match="Did you mean 'rouge_l'"):
        score_predictions(TASK, file, "rouge")
    with pytest.raises(DataError, match="no checks of its own"):
        score_predictions(TASK, file, "checks")


def test_predictions_in_another_script_are_scored_by_its_words(tmp_path: Path) -> None:
    rows = tuple(TaskRow(f"t-{i}", f"{i}", (text,)) for i, text in enumerate(("猫在睡觉", "狗在跑步")))
    task = replace(TASK, rows=rows)
    result = score_predictions(task, by_id(tmp_path / "p", ("t-0", "猫在睡觉"), ("t-1", "狗在跳")), "rouge_l")
    assert result.title == "ROUGE-L (Unicode words)"
    assert round(100 * result.estimate.value, 1) == 78.6


@pytest.mark.parametrize("value", ["9" * 5000, "[" * 20_000 + "]" * 20_000])
def test_what_nobody_could_use_is_refused_by_its_line(tmp_path: Path, value: str) -> None:
    file = tmp_path / "p.jsonl"
    file.write_text(value)
    with pytest.raises(DataError, match=r"p\.jsonl:1: The line cannot be read as JSON"):
        score_predictions(TASK, file, "rouge_l")


def test_answers_of_generate_are_predictions(tmp_path: Path) -> None:
    file = tmp_path / "answers.jsonl"
    answers = [
        {"index": i, "id": f"t-{i}", "input": "…", "text": f"word {i}", "finish": "stop"} for i in range(4)
    ]
    file.write_text("".join(json.dumps(answer) + "\n" for answer in answers))
    assert score_predictions(TASK, file, "exact_match").estimate.value == 1.0


def test_random_options_are_right_as_often_as_there_are_options(tmp_path: Path) -> None:
    options = [["A. x", "B. y"], ["A. x", "B. y", "C. z", "D. w"]]
    tags = [{"facts": json.dumps({"options": options[i % 2]})} for i in range(8)]
    rows = tuple(TaskRow(f"t-{i}", f"{i}", (options[i % 2][0],), tags=tags[i]) for i in range(8))
    result = score_predictions(
        replace(TASK, rows=rows), by_id(tmp_path / "p.jsonl", *((f"t-{i}", "A") for i in range(8))), "label"
    ).percent()
    assert result["value"] == 100.0
    assert result["measures"]["accuracy"]["baselines"]["random"]["value"] == 37.5


def test_rows_that_share_an_id_are_refused_by_it(tmp_path: Path) -> None:
    task = replace(TASK, rows=(*TASK.rows, TASK.rows[0]))
    with pytest.raises(DataError, match="Rows share the id 't-0'"):
        score_predictions(task, by_id(tmp_path / "p.jsonl", ("t-0", "x")), "exact_match")


def test_the_first_example_s_answer_stands_beside_the_score(tmp_path: Path) -> None:
    task = replace(TASK, positive=(Demonstration("say 9", "word 9"),))
    said = by_id(tmp_path / "p.jsonl", *((f"t-{i}", f"word {i}") for i in range(4)))
    result = score_predictions(task, said, "rouge_l").percent()
    example = result["baselines"]["example"]
    assert (example["value"], example["text"]) == (50.0, "word 9")
    assert result["measures"]["rouge_l"]["rescaled"]["value"] == 100.0
