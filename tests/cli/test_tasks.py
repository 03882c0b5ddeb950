"""A run on several tasks: each row under its own words, one model, and what becomes of each task."""

from __future__ import annotations

import json
import re
import tomllib
from collections import Counter
from pathlib import Path

from espalier.core.files import file_sha256
from espalier.core.recipe import load_recipe, parse_recipe
from espalier.core.run import RunFolder
from espalier.data.inputs import asked as shaped
from espalier.data.inputs import read_questions
from espalier.data.table import read_examples
from espalier.runs.asking import run_asking
from espalier.runs.prepare import prepare

CHATS = [
    {"messages": [{"role": "user", "content": f"And {n}?"}, {"role": "assistant", "content": f"{n}!"}]}
    for n in range(12)
]


def mixed(home: Path) -> list[str]:
    """Write a second task with a check and a file of rows, and return a run's options that take all three."""
    text = (home / "plural.toml").read_text().replace("plural.jsonl", "loud.jsonl")
    text = text.replace('"plural"', '"loud"').replace("the plural of the noun", "the noun in capitals")
    (home / "loud.toml").write_text(f'checks = ["well_formed"]\n{text}')
    loud = [{"input": f"noun {n}", "output": f"How long is noun number {n}?"} for n in range(12)]
    (home / "loud.jsonl").write_text("".join(json.dumps(row) + "\n" for row in loud))
    (home / "chats.jsonl").write_text("".join(json.dumps(row) + "\n" for row in CHATS))
    path = 'task.path=["plural.toml", "loud.toml", "chats.jsonl"]'
    return ["-o", "name=mixed", "-o", path, "-o", "data.limit=6", "-o", "data.test_limit=3"]


def test_a_run_on_two_tasks_and_a_file_of_rows(home: Path, espalier) -> None:
    options = mixed(home)
    result = espalier("run", "recipe.toml", *options, cwd=home)
    assert result.code == 0, result.err
    assert "3 tasks: 18 rows to train on, 9 to score." in result.err
    assert "  loud: 6 to train on, 3 to score" in result.err
    run = home / "runs" / "mixed"
    test = read_examples(run / "data" / "test.parquet")
    by_task = {name: [row for row in test if row.task == name] for name in ("plural", "loud", "chats")}
    assert {name: len(rows) for name, rows in by_task.items()} == {"plural": 3, "loud": 3, "chats": 3}
    assert all("in capitals" in row.prompt[-1].text for row in by_task["loud"])
    assert all("the plural" in row.prompt[-1].text for row in by_task["plural"])
    scores = json.loads((run / "scores.json").read_text())
    rate = scores["systems"]["tuned"]["checks"]["well_formed"]
    assert (rate["n"], rate["missing"]) == (3, 6)
    known = json.loads((run / "provenance.json").read_text())["tasks"]
    assert [(task["name"], task["rows"]) for task in known] == [
        (name, {"train": 6, "test": 3}) for name in by_task
    ]
    files = {name: digest for task in known for name, digest in task["files"].items()}
    assert files == {name: file_sha256(home / name) for name in sorted(files, key=list(files).index)}
    assert set(files) == {"plural.toml", "plural.jsonl", "loud.toml", "loud.jsonl", "chats.jsonl"}
    report = (run / "report.html").read_text()
    assert "Rows of each of the 3 tasks" in report
    assert "<td>chats</td>" in report
    again = espalier("run", "recipe.toml", *options, cwd=home)
    assert again.code == 0
    assert "Training is done" in again.err
    (home / "loud.jsonl").write_text((home / "loud.jsonl").read_text().replace("noun 1", "noun 100"))
    changed = espalier("run", "recipe.toml", *options, cwd=home)
    assert changed.code == 2
    assert "what the task's file holds" in changed.err


TOY = (
    "data.limit=6",
    "data.test_limit=3",
    "train.rows=4",
    "decode.limit=4",
    "model.name=tiny",
    "evidence=false",
)


def test_the_bundled_recipe_on_a_task_and_conversations(home: Path, espalier) -> None:
    options = [option for key in (*TOY, "model.precision=fp32") for option in ("-o", key)]
    result = espalier("run", "several-tasks", *options, cwd=home)
    assert result.code == 0, result.err
    assert "2 tasks: 11 rows to train on, 6 to score." in result.err  # whole sources


def test_the_pages_example_is_a_recipes(home: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "data-formats.md").read_text(encoding="utf-8")
    (shown,) = re.findall(r"```toml\n(.*?)```", page, re.DOTALL)
    recipe = parse_recipe({"name": "x", **tomllib.loads(shown)})
    prepared = prepare(recipe)
    train = Counter(row.task for row in prepared.train)
    assert 60 <= train["event-duration"] <= 64
    assert prepared.name == f"{len(train)} tasks"


def test_the_same_tasks_as_a_folder(home: Path, espalier) -> None:
    options = mixed(home)
    (home / "tasks").mkdir()
    for name in ("plural.toml", "plural.jsonl", "loud.toml", "loud.jsonl", "chats.jsonl"):
        (home / name).rename(home / "tasks" / name)
    shown = espalier("inspect", "recipe.toml", *options, "-o", "task.path=tasks", cwd=home)
    assert shown.code == 0, shown.err
    assert "3 tasks: 18 rows to train on, 9 to score." in shown.err
    first = espalier("init", "tasks", "--out", "first.toml", "--model", "tiny", cwd=home)
    assert first.code == 0, first.err
    assert 'name = "tasks"' in (home / "first.toml").read_text()
    missing = espalier("inspect", "recipe.toml", "-o", 'task.path=["tasks/loud.toml", "gone.json"]', cwd=home)
    assert missing.code == 2
    assert "gone.json: There is no such task file." in missing.err


def test_a_run_on_several_tasks_is_asked_under_a_tasks_own_words(home: Path, espalier) -> None:
    assert espalier("run", "recipe.toml", *mixed(home), "-o", "task.positive=1", cwd=home).code == 0
    asked = run_asking(RunFolder(home / "runs" / "mixed"))
    questions = read_questions(home / "loud.toml")
    (first, *_) = prepare(load_recipe(home / "runs" / "mixed" / "recipe.toml")).test[3:]
    (row,) = [question for question in questions if question.text == first.input]
    assert shaped([row], asked, None)[0].prompt == first.prompt
    answered = espalier("generate", "runs/mixed", "--file", "loud.toml", "--limit", "2", cwd=home)
    assert answered.code == 0, answered.err
    assert "The run is on several tasks" in answered.err
