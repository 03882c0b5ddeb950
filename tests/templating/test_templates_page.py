"""The page on templates: its files and its code, run as they stand there."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from espalier.data.judgement import filters
from espalier.scorers.registry import scorers
from espalier.templating.template import load_template, shipped

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "templates.md").read_text(encoding="utf-8")


def blocks(language: str) -> list[str]:
    return re.findall(rf"^```{language}\n(.*?)^```", PAGE, re.DOTALL | re.MULTILINE)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for text in blocks("toml"):
        (tmp_path / text.split("\n", 1)[0].removeprefix("# ")).write_text(text)
    rows = [
        '{"country": "Peru", "capital": "Lima", "hint": "It begins with L."}',
        '{"country": "Chad", "capital": "N\'Djamena"}',
    ]
    (tmp_path / "rows.jsonl").write_text("\n".join(rows))
    (tmp_path / "annotations.csv").write_text("text,ada,ben,cem\nFine,a,a,b\nCold,b,b,\nWarm,a,b,\n")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def test_the_code_runs_on_the_files(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, Any] = {}
    for text in blocks("python"):
        exec(text, names)
    assert len(names["examples"]) == 6
    assert (
        names["examples"][1].prompt[-1].text
        == "Peru's government sits in which city? Hint: It begins with L."
    )
    assert [raw.value.get("label") for raw in names["labelled"]] == ["a", "b", None]
    assert names["agreement"].ties == 1
    assert "capitals-flipped Which country has Lima as its capital? Peru 3" in capsys.readouterr().out
    assert load_template(folder / "squad.toml").task.name == "squad"


def test_every_template_scorer_and_filter_is_named() -> None:
    assert not [name for name in shipped() if f"| `{name}` |" not in PAGE]
    for name in ("sql", "code", "json", "table"):
        assert f"**`{name}`**" in PAGE
        assert name in scorers.names()
        assert name in filters.names()
