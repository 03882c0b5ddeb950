from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from espalier.cli.score import score


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
