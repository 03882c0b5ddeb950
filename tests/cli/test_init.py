"""`espalier init`: the recipe that it writes runs as it is, fits the rows, and says why."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from espalier.core.recipe import load_recipe

Run = Callable[..., Any]

THINGS = """
    kettle boat ladder window violin teapot orchard lantern saddle bridge pillow compass feather anvil
"""
WORDS = THINGS.split()
ANSWERS = [{"prompt": f"Where is the {w}?", "completion": f"Behind the old {w} house."} for w in WORDS]
PAIRS = [{"prompt": f"Where is the {w}?", "chosen": f"By the old {w}.", "rejected": "No."} for w in WORDS]
THUMBS = [
    {"prompt": f"Where is the {w}?", "completion": f"By the old {w}.", "label": n % 2 == 0}
    for n, w in enumerate(WORDS)
]
CHOICES = [
    {"prompt": f"Is a {w} alive?", "completion": "yes" if n % 3 else "no"} for n, w in enumerate(WORDS)
]


def written(folder: Path, rows: list[dict[str, Any]]) -> str:
    (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    return "rows.jsonl"


def drafted(espalier: Run, home: Path, rows: list[dict[str, Any]], *more: str) -> tuple[dict[str, Any], str]:
    done = espalier("init", written(home, rows), "--out", "new.toml", "--model", "tiny", *more, cwd=home)
    assert done.code == 0, done.err
    return tomllib.loads((home / "new.toml").read_text()), done.out


def test_what_it_writes_runs_as_it_is(espalier: Run, home: Path) -> None:
    table, said = drafted(espalier, home, ANSWERS)
    assert table["train"]["method"] == "lora"
    assert "14 rows of 14 sources: answers to learn." in said
    assert "espalier run new.toml" in said
    assert espalier("run", "new.toml", "-o", "train.epochs=1", cwd=home).code == 0
    assert (home / "runs" / "rows" / "report.html").exists()


def test_columns_that_a_format_knows_in_capitals_are_not_guessed(espalier: Run, home: Path) -> None:
    rows = [{"Instruction": "Where is it?", "Input": w, "Output": f"By the {w}."} for w in WORDS]
    table, _ = drafted(espalier, home, rows)
    assert "columns" not in table["task"]


@pytest.mark.parametrize(
    ("rows", "objectives", "first"),
    [
        (ANSWERS, [["sft"]], "rouge_l"),
        (CHOICES, [["sft"]], "exact_match"),
        (PAIRS, [["sft"], ["dpo"]], "rouge_l"),
        (THUMBS, [["sft"], ["kto"]], "rouge_l"),
    ],
    ids=["answers", "choices", "pairs", "thumbs"],
)
def test_objective_and_measure_fit_the_rows(
    espalier: Run, home: Path, rows: list[dict[str, Any]], objectives: list[list[str]], first: str
) -> None:
    table, _ = drafted(espalier, home, rows)
    stages = table["train"] if isinstance(table["train"], list) else [table["train"]]
    assert [stage.get("objective", ["sft"]) for stage in stages] == objectives
    assert table["evaluate"][0] == first
    seen = espalier("inspect", "new.toml", cwd=home)
    assert seen.code == 0, seen.err
    assert "0 rows are left out." in seen.out
    assert "has no reference that fits" not in seen.out


def test_every_number_has_a_reason_above_it(espalier: Run, home: Path) -> None:
    drafted(espalier, home, ANSWERS)
    lines = (home / "new.toml").read_text().split("\n")
    for key in ("limit", "tokens", "epochs", "rows", "rate", "method", "path", "evaluate"):
        place = next(number for number, line in enumerate(lines) if line.startswith(f"{key} ="))
        assert lines[place - 1].startswith("# "), key


def test_many_rows_are_fewer_in_a_first_run(espalier: Run, home: Path) -> None:
    rows = [{"prompt": f"{n} {'long ' * 400}", "completion": f"{n} more"} for n in range(300)]
    table, _ = drafted(espalier, home, rows)
    assert 16 <= table["data"]["limit"] < 200
    (home / "few.jsonl").write_text("")
    assert "data" not in drafted(espalier, home, ANSWERS, "--overwrite")[0]


def test_columns_are_guessed_named_or_asked_for(espalier: Run, home: Path) -> None:
    rows = [{"Query": row["prompt"], "target": row["completion"], "id": "1"} for row in ANSWERS]
    table, said = drafted(espalier, home, rows)
    assert table["task"]["columns"] == {"prompt": "Query", "completion": "target"}
    assert "check it" in said
    named = ("--overwrite", "--column", "prompt=target", "--column", "completion=Query")
    assert drafted(espalier, home, rows, *named)[0]["task"]["columns"]["prompt"] == "target"
    assert load_recipe(home / "new.toml").task.columns["completion"] == "Query"
    odd = [{"foo": "a", "bar": "b"}, {"foo": "c", "bar": "d"}]
    done = espalier("init", written(home, odd), "--out", "odd.toml", cwd=home)
    assert done.code == 2
    assert "task.columns = {prompt" in done.err


def test_rows_that_cannot_be_used_are_left_out_with_a_word(espalier: Run, home: Path) -> None:
    table, said = drafted(espalier, home, [*ANSWERS, {"prompt": "Where?", "completion": ""}])
    assert table["task"]["on_bad"] == "reject"
    assert "1 row cannot be used and would stop the run; the first: " in said
    assert espalier("inspect", "new.toml", cwd=home).code == 0


def test_a_task_and_a_model_that_is_not_here(espalier: Run, home: Path) -> None:
    out = home / "other" / "new.toml"
    out.parent.mkdir()
    done = espalier("init", "plural.toml", "--out", out, "--cache", home / "none", cwd=home)
    assert done.code == 0, done.err
    table = tomllib.loads(out.read_text())
    assert table["task"]["path"] == "../plural.toml"
    assert (table["model"]["name"], table["evaluate"][0]) == ("smollm2-135m", "exact_match")
    assert "estimated" in done.out


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["plural.toml", "--out", "recipe.toml"], "The file exists. Name another with --out"),
        (["nothing.jsonl"], "There is no such"),
        (["same.jsonl"], "All rows ask the same"),
        (["plural.jsonl", "--column", "prompt"], "'prompt' names no column"),
        (
            ["plural.jsonl", "--column", "prompt=inptu", "--column", "completion=output"],
            "Did you mean 'input'",
        ),
        (["page.jsonl"], "a web page"),
    ],
)
def test_wrong_input_is_one_sentence(espalier: Run, home: Path, arguments: list[str], said: str) -> None:
    (home / "same.jsonl").write_text('{"prompt": "a", "completion": "b"}\n' * 3)
    (home / "page.jsonl").write_text("<!doctype html>")
    before = sorted(home.iterdir())
    done = espalier(
        "init",
        "--model",
        "tiny",
        *(["--out", "x.toml"] if "--out" not in arguments else []),
        *arguments,
        cwd=home,
    )
    assert done.code == 2
    assert said in " ".join(done.err.split())
    assert sorted(home.iterdir()) == before
