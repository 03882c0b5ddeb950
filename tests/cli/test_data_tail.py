"""The long tail and the trade-off of a filter, as a person asks for them."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING
from xml.etree import ElementTree

import pytest
import typer
from typer.testing import CliRunner

from espalier.builds.built import rows_with_verdicts
from espalier.builds.review import Review
from espalier.cli.data_tail import longtail, tradeoff
from espalier.core.errors import DataError, RecipeError
from espalier.core.journal import Journal

if TYPE_CHECKING:
    from pathlib import Path

data = typer.Typer()
data.command()(longtail)
data.command()(tradeoff)


@pytest.fixture
def file(tmp_path: Path) -> Path:
    path = tmp_path / "rows.jsonl"
    rows = [
        {
            "prompt": f"Write a poem about the number {n}, in exactly {n} lines, without rhyme.",
            "completion": f"{n} doves.",
        }
        for n in range(30)
    ]
    rows += [{"prompt": f"Sort {n} names.", "completion": ""} for n in range(20)]
    rows.append({"prompt": "Translate it into French.", "completion": "Oui."})
    path.write_text(
        "".join(json.dumps({**one, "completion": one["completion"] or "?"}) + "\n" for one in rows)
    )
    return path


def run(*arguments: object) -> str:
    done = CliRunner().invoke(data, [*map(str, arguments)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def test_the_long_tail_is_told_drawn_and_filled(file: Path, tmp_path: Path) -> None:
    said = run("longtail", file, "--svg", tmp_path / "tail.svg")
    assert "write 59 %" in said
    assert "51 rows" in said
    ElementTree.parse(tmp_path / "tail.svg")
    wanted = json.loads(run("longtail", file, "--fill", "verb", "--json"))
    assert (wanted["kind"], wanted["rows"], len(wanted["seeds"])) == ("translate", 3, 1)
    assert "19 more of 'translate'" in run("longtail", file, "--fill", "verb", "--least", 20)
    assert json.loads(run("longtail", file, "--json"))["rows"] == 51


def test_a_filter_is_swept_against_what_was_reviewed(file: Path, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="not been reviewed"):
        run("tradeoff", file, "--filter", "complexity")
    rows = list(rows_with_verdicts(file))
    state = Review(rows, Journal(file.with_name("rows.jsonl.review.sqlite")))
    for row, _ in rows:
        state.decide(row, "ada", "keep" if "poem" in row.input else "reject")
    said = run("tradeoff", file, "--filter", "complexity", "--svg", tmp_path / "sweep.svg")
    assert "The knee: 96.8 % of the rows pass" in said
    assert "◄ knee" in said
    ElementTree.parse(tmp_path / "sweep.svg")
    found = json.loads(run("tradeoff", file, "--filter", "complexity", "--json"))
    assert found["points"][found["knee"]]["rows"] == 31
    swept = run("tradeoff", file, "--filter", "complexity", "--set", "least=2", "--checks", "well_formed")
    assert "There is no knee" in swept


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (("--filter", "difficulty"), "needs a model"),
        (("--filter", "complexities"), "Did you mean 'complexity'"),
        (("--filter", "complexity", "--keep", "best"), "over or under"),
        (("--filter", "complexity", "--set", "least"), "no TOML"),
    ],
)
def test_what_cannot_be_swept_is_told(file: Path, arguments: tuple[str, ...], sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        run("tradeoff", file, *arguments)
