"""What the shell offers, asked as bash asks it; and the script that makes it ask."""

from __future__ import annotations

import os
from pathlib import Path
from unittest import mock

import pytest


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a recipe of one's own and a run."""
    (tmp_path / "mine.toml").write_text("name = 'mine'")
    (tmp_path / "runs" / "試験").mkdir(parents=True)
    (tmp_path / "runs" / "試験" / "recipe.toml").write_text("name = '試験'")
    (tmp_path / "runs" / "other").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("line", "offered"),
    [
        ("espalier ru", ["run"]),
        ("espalier run event", ["event-duration"]),
        ("espalier inspect mi", ["mine.toml"]),
        ("espalier generate ru", ["runs/試験"]),
        ("espalier generate smol", ["smollm2-135m"]),
        ("espalier chat ru", ["runs/試験"]),
        ("espalier export ./ru", ["./runs/試験"]),
        ("espalier report runs/", ["runs/試験"]),
        ("espalier report other", []),
        ("espalier models fetch smol", ["smollm2-135m"]),
        ("espalier recipes copy dp", ["dpo"]),
        ("espalier run recipes/", []),  # file names are the shell's own business
    ],
)
def test_names_are_completed(espalier, folder: Path, line: str, offered: list[str]) -> None:
    asked = {"COMP_WORDS": line, "COMP_CWORD": str(line.count(" ")), "_ESPALIER_COMPLETE": "complete_bash"}
    with mock.patch.dict(os.environ, asked):
        assert espalier(cwd=folder).out.split() == offered


def test_a_run_elsewhere_is_completed_by_its_whole_path(espalier, folder: Path) -> None:
    asked = {"COMP_WORDS": f"espalier report {folder}/runs/", "COMP_CWORD": "2"}
    with mock.patch.dict(os.environ, {**asked, "_ESPALIER_COMPLETE": "complete_bash"}):
        assert espalier().out.split() == [str(folder / "runs" / "試験")]


def test_the_script_for_a_shell_is_shown(espalier) -> None:
    # asked by name, since the option goes by the shell that the tests happen to be started from
    with mock.patch.dict(os.environ, {"_ESPALIER_COMPLETE": "source_bash"}):
        shown = espalier()
    assert shown.code == 0
    assert "_ESPALIER_COMPLETE=complete_bash" in shown.out
