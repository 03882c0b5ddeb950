"""`espalier compare` as a person has it: a table, a page, JSON, and errors in words."""

from __future__ import annotations

import io
import json
from pathlib import Path

import pytest
from rich.cells import cell_len
from rich.console import Console

from espalier.cli.summary import fitting


def test_a_run_beside_its_base_and_beside_another(finished, espalier, tmp_path: Path) -> None:
    runs = finished.folder.parent
    page = tmp_path / "page.html"
    result = espalier("compare", "plural:base", "plural", "--metric", "rouge_l", "--report", page, cwd=runs)
    assert result.code == 0, result.err
    words = " ".join(result.out.split())
    assert "plural:base" in words
    assert "could see" in words
    assert "say nothing about retraining" in words
    assert str(page) in result.out.replace("\n", "")
    assert "Rows side by side" in page.read_text()


def test_json_is_one_object(finished, espalier) -> None:
    result = espalier("compare", "plural:base", "plural", "--json", "--margin", 2, cwd=finished.folder.parent)
    table = json.loads(result.out)
    assert set(table["pairs"][0]["measures"]) == {"rouge_l", "exact_match"}
    assert table["margin"] == 2


def test_what_cannot_be_compared_is_told_in_a_sentence(finished, espalier) -> None:
    runs = finished.folder.parent
    for arguments, said in (
        (("plural", "plural"), "plural is there twice"),
        (("plural", "none"), "not a run folder"),
        (("plural", "plural:base", "--allow", "seed"), "'seed' cannot be allowed to differ"),
        (("plural", "plural:base", "--looks", "many"), "Give a number, or all"),
        (("plural", "plural:base", "--metric", "bleu"), "no scores of 'bleu'"),
        (("plural", "none.jsonl"), "There is no such file"),
    ):
        result = espalier("compare", *arguments, cwd=runs)
        assert result.code == 2
        assert said in " ".join(result.err.split())
        assert "Traceback" not in result.err


def test_seeds_keep_their_test_rows_with_a_seed_of_the_split(finished, espalier, home: Path) -> None:
    from espalier.core.recipe import load_recipe
    from espalier.runs.prepare import prepare

    def test_rows(*changes: str) -> list[str]:
        return [row.id for row in prepare(load_recipe(home / "recipe.toml", changes)).test]

    assert test_rows() == test_rows("data.seed=0", "seed=5")
    assert test_rows() != test_rows("seed=5")


NAMES = ["", "plural", "a-run-of-a-rather-long-name-with-lora-8-and-seed-1", "difference", "p", "won", "ties"]


@pytest.mark.parametrize("width", [40, 60, 80, 120])
def test_a_table_fits_and_cuts_no_number(width: int) -> None:
    rows = [
        [f"Measure {n}, of 名", *(f"−{place}{n}.5\n−12.{n} to +39.{n}" for place in range(6))]
        for n in range(3)
    ]
    drawn = io.StringIO()
    for table in fitting(NAMES, rows, width):
        Console(width=width, file=drawn).print(table)
    text = drawn.getvalue()
    assert max(map(cell_len, text.splitlines())) <= width
    assert "…" not in text
    assert all(number in text for row in rows for cell in row[1:] for number in cell.split("\n"))
    assert text.count("difference") == 1
