from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from espalier.cli.score import score
from espalier.core.errors import DataError


@pytest.fixture
def files(tmp_path: Path) -> list[str]:
    rows = [{"id": f"t-{i}", "input": f"say {i}", "output": [f"word {i}"]} for i in range(3)]
    task = tmp_path / "task.json"
    task.write_text(json.dumps({"Definition": ["Repeat."], "Instances": rows}))
    predictions = tmp_path / "predictions.jsonl"
    predictions.write_text('{"id": "t-1", "prediction": "word [1]"}\n{"id": "t-7", "prediction": "word 7"}\n')
    return ["--task", str(task), "--predictions", str(predictions)]


def run(arguments: list[str]) -> str:
    app = typer.Typer()
    app.command()(score)
    result = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert result.exit_code == 0
    return result.stdout


def test_json_is_one_object_with_values_times_100(files: list[str]) -> None:
    result = json.loads(run(["rouge_l", *files, "--json"]))
    assert (result["scorer"], result["value"], result["n"]) == ("rouge_l", 33.3333, 3)
    assert (result["missing"], result["extra"]) == (2, 1)
    assert set(result["baselines"]) == {"constant", "copy"}


def test_the_table_says_what_was_missing(files: list[str]) -> None:
    text = " ".join(run(["exact_match", *files]).split())
    assert "33.33" in text
    assert "2 rows have no prediction" in text
    assert "1 prediction belongs to no scored row and is ignored" in text
    assert "50.00" in run(["exact_match", *files, "--first", "2"])


def test_rows_of_any_format_are_references_and_ids_may_be_numbers(tmp_path: Path) -> None:
    rows = [{"id": 10 + i, "prompt": f"say {i}", "completion": f"word {i}"} for i in range(3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    said = [{"id": 11, "prediction": "word 1"}, {"id": "12", "prediction": "no"}]
    (tmp_path / "said.jsonl").write_text("\n".join(map(json.dumps, said)))
    files = ["--references", str(tmp_path / "rows.jsonl"), "--predictions", str(tmp_path / "said.jsonl")]
    result = json.loads(run(["exact_match", *files, "--json"]))
    assert (result["value"], result["n"], result["missing"], result["extra"]) == (33.3333, 3, 1, 0)


def test_rows_without_ids_are_counted_from_0(tmp_path: Path) -> None:
    rows = [{"prompt": f"say {i}", "completion": f"word {i}"} for i in range(3)]
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    files = ["--task", str(tmp_path / "rows.jsonl"), "--predictions", str(tmp_path / "said.jsonl")]
    (tmp_path / "said.jsonl").write_text('{"id": 2, "prediction": "word 2"}')
    assert json.loads(run(["exact_match", *files, "--json"]))["value"] == 33.3333
    (tmp_path / "said.jsonl").write_text('{"id": "x", "prediction": "word 2"}')
    with pytest.raises(DataError, match="None of the 1 predictions has the id of a row: theirs are like 'x'"):
        run(["exact_match", *files])


def test_a_run_s_outputs_are_scored_by_system(finished) -> None:
    test = finished.folder / "data" / "test.parquet"
    files = ["--task", str(test), "--predictions", str(finished.folder / "outputs.jsonl"), "--json"]
    scores = json.loads((finished.folder / "scores.json").read_text())["systems"]
    for system in ("tuned", "base", "copy"):
        result = json.loads(run(["rouge_l", *files, "--system", system]))
        assert result["value"] == pytest.approx(100 * scores[system]["scores"]["rouge_l"]["value"], abs=1e-3)
        assert (result["n"], result["missing"], result["extra"]) == (scores["tuned"]["distinct"]["n"], 0, 0)
    with pytest.raises(DataError, match=r"no answers of 'tund'.*Did you mean 'tuned'"):
        run(["rouge_l", *files, "--system", "tund"])
