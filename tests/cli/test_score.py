from __future__ import annotations

import json
import sys
from pathlib import Path
from types import ModuleType

import pytest
import typer
from typer.testing import CliRunner

from espalier.cli.score import score
from espalier.core.errors import DataError, RecipeError


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


def table(tmp_path: Path, rows: list[dict[str, object]], lines: str) -> list[str]:
    (tmp_path / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    (tmp_path / "said.txt").write_text(lines)
    return ["--references", str(tmp_path / "rows.jsonl"), "--predictions", str(tmp_path / "said.txt")]


def test_labels_show_floors_confusion_and_that_a_constant_is_not_beaten(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [
        {"prompt": f"say {i}", "completion": ("good", "bad")[i % 5 == 0]} for i in range(60)
    ]
    files = table(tmp_path, rows, "Good.\n" * 60)
    result = json.loads(run(["label", *files, "--json"]))
    assert (result["value"], result["confusion"]) == (80.0, {"bad": {"good": 12}, "good": {"good": 48}})
    accuracy, macro = result["measures"]["accuracy"], result["measures"]["macro_f1"]
    assert accuracy["baselines"]["random"]["value"] == 50.0
    assert accuracy["baselines"]["constant"]["text"] == "good"
    assert accuracy["baselines"]["all-bad"]["value"] == 20.0
    assert (accuracy["rescaled"]["value"], accuracy["beats_constant"]) == (0.0, False)
    assert macro["value"] == 44.4444
    assert result["findings"][0].startswith("The predictions cannot be told from one constant answer, “good”")
    text = " ".join(run(["label", *files]).split())
    assert "Which label was taken for which" in text
    assert "0.0 % of the way from the constant" in text
    right = "".join(f"{row['completion']}\n" for row in rows)
    best = json.loads(run(["label", *table(tmp_path, rows, right), "--json"]))
    assert (best["value"], best["findings"]) == (100.0, [])
    assert best["measures"]["accuracy"]["rescaled"]["value"] == 100.0


def test_settings_and_facts_reach_the_scorer(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": f"say {i}", "completion": f"{i} days"} for i in range(3)]
    files = [*table(tmp_path, rows, "1 day\n2 days\nnone\n"), "--json"]
    assert json.loads(run(["regex", *files, "-o", r"pattern='\d+ days?'"]))["value"] == 66.6667
    with_facts = [{**row, "facts": {"pattern": f"^{i}"}} for i, row in enumerate(rows)]
    files = [*table(tmp_path, with_facts, "0 days\n2 days\nnone\n"), "--json"]
    assert json.loads(run(["regex", *files]))["value"] == 33.3333
    assert [*json.loads(run(["numeric", *files]))["measures"]] == ["flexible", "strict"]
    assert [*json.loads(run(["numeric", *files, "-o", "form=strict"]))["measures"]] == ["numeric"]


def test_what_does_not_fit_is_said(tmp_path: Path) -> None:
    rows: list[dict[str, object]] = [{"prompt": f"say {i}", "completion": "x"} for i in range(3)]
    files = table(tmp_path, rows, "x\nx\n")
    with pytest.raises(DataError, match=r"2 predictions for 3 rows: without ids .* --first"):
        run(["exact_match", *files])
    assert json.loads(run(["exact_match", *files, "--first", "2", "--json"]))["n"] == 2
    with pytest.raises(RecipeError, match=r"No scorer is named 'mctac'.*Did you mean 'mctaco'"):
        run(["mctac", *files])
    with pytest.raises(RecipeError, match="'label' has to know what was asked"):
        run(["label", *files[2:]])
    with pytest.raises(RecipeError, match="takes no 'from'"):
        run(["numeric", *files, "-o", "from=strict"])
    with pytest.raises(RecipeError, match="There is no mode 'loose'"):
        run(["ifeval", *files, "--mode", "loose"])


def test_mctaco_and_perplexity_read_their_own_files(tmp_path: Path) -> None:
    lines = [f"It ran.\tHow long?\t{i} days\t{'yes' if i < 2 else 'no'}\tEvent Duration" for i in range(4)]
    (tmp_path / "rows.tsv").write_text("\n".join(lines) + "\nIt ran.\tWhen?\tnow\tno\tTypical Time\n")
    (tmp_path / "said.txt").write_text("yes\nyes\nno\nno\nYes\n")
    files = ["--references", str(tmp_path / "rows.tsv"), "--predictions", str(tmp_path / "said.txt")]
    result = json.loads(run(["mctaco", *files, "--json"]))
    assert {name: one["value"] for name, one in result["measures"].items()} == {
        "em": 50.0,
        "f1": 100.0,
        "accuracy": 80.0,
    }
    assert (result["questions"], result["neither"]) == (2, 1)
    assert any("1 answer is neither “yes” nor “no”" in one for one in result["findings"])
    assert result["groups"]["category"]["Event Duration"]["em"] == {
        "value": 100.0,
        "low": None,
        "high": None,
        "n": 1,
    }
    (tmp_path / "l.jsonl").write_text('{"id": 1, "logprobs": [-1, -1]}\n{"id": 2, "logprobs": [-1]}\n')
    found = json.loads(run(["perplexity", "--predictions", str(tmp_path / "l.jsonl"), "--json"]))
    assert found["value"] == 2.7183
    assert "Perplexity" in run(["perplexity", "--predictions", str(tmp_path / "l.jsonl")])


def test_ifeval_is_what_its_own_files_say(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = ModuleType("espalier.evaluate.instruction_following")
    files.score_files = lambda prompts, said, mode: {"prompt_strict": 50.0, "mode": mode, "of": said.name}  # pyright: ignore
    monkeypatch.setitem(sys.modules, "espalier.evaluate.instruction_following", files)
    arguments = ["ifeval", "--prompts", str(tmp_path / "p.jsonl"), "--predictions", str(tmp_path / "r.jsonl")]
    monkeypatch.setattr("espalier.cli.score.load_rows", lambda path: [])
    monkeypatch.setattr("espalier.cli.score.look_of_file", lambda *given: None)
    found = json.loads(run([*arguments, "--mode", "repaired", "--json"]))
    assert found == {"prompt_strict": 50.0, "mode": "repaired", "of": "r.jsonl"}
    assert "prompt strict" in run(arguments)
