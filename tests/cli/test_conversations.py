"""A run on a file of rows, from the conversations to the report, and what of it cannot be used."""

from __future__ import annotations

import json
from pathlib import Path

from espalier.data.table import read_examples


def test_a_run_on_conversations(home: Path, espalier) -> None:
    small = ["-o", "data.limit=6", "-o", "data.test_limit=3", "-o", "task.path=conversations"]
    result = espalier("run", "recipe.toml", "-o", "name=chats", *small, cwd=home)
    assert result.code == 0, result.err
    run = home / "runs" / "chats"
    trained = read_examples(run / "data" / "train.parquet")
    assert max(sum(turn.trained for turn in example.messages) for example in trained) > 1
    outputs = [json.loads(line) for line in (run / "outputs.jsonl").read_text().splitlines()]
    scored = {example.id for example in read_examples(run / "data" / "test.parquet")}
    assert {output["example"] for output in outputs} == scored
    assert (run / "report.html").exists()


def test_bad_rows_are_counted_and_written_down(home: Path, espalier) -> None:
    rows = [{"prompt": f"{n}?", "completion": f"{n}!", "label": n % 2 == 0} for n in range(12)]
    rows += [
        {"prompt": "a", "completion": "", "label": True},
        {"prompt": "a", "completion": "b", "label": "no"},
    ]
    (home / "thumbs.json").write_text(json.dumps(rows))
    command = ["run", "recipe.toml", "-o", "name=thumbs", "-o", "task.path=thumbs.json"]
    refused = espalier(*command, cwd=home)
    assert refused.code == 2
    assert "thumbs.json, row 13, completion: The text is empty." in refused.err
    kto = ["-o", "train.objective=['kto']", "-o", "task.on_bad=reject"]
    result = espalier(*command, *kto, cwd=home)
    assert result.code == 0, result.err
    rejects = (home / "runs" / "thumbs" / "rejects.jsonl").read_text().splitlines()
    assert [json.loads(line)["where"].split(", ", 1)[1] for line in rejects] == [
        "row 13, completion",
        "row 14, label",
    ]
