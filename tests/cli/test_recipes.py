from __future__ import annotations

from pathlib import Path

import pytest

from espalier.core.bundled_recipes import bundled_recipes


def test_each_bundled_recipe_is_listed_with_what_it_does(espalier) -> None:
    listed = espalier("recipes").out.splitlines()
    assert listed[::2] == list(bundled_recipes())
    assert (
        "  Tune the bundled model on the bundled task: write a question on how long an event lasts." in listed
    )


def test_a_copy_is_never_put_over_a_file_unasked(espalier, tmp_path: Path) -> None:
    bundled = bundled_recipes()["dpo"].read_text()
    assert espalier("recipes", "copy", "dpo", cwd=tmp_path).out == "dpo.toml\n"
    (tmp_path / "dpo.toml").write_text("mine")
    again = espalier("recipes", "copy", "dpo", cwd=tmp_path)
    assert again.code == 2
    assert "dpo.toml: The file exists. Name another one, or replace it with --overwrite." in again.err
    assert (tmp_path / "dpo.toml").read_text() == "mine"
    assert espalier("recipes", "copy", "dpo", "new/folder/a.toml", cwd=tmp_path).code == 0
    assert espalier("recipes", "copy", "dpo", "new", cwd=tmp_path).out == "new/dpo.toml\n"
    assert espalier("recipes", "copy", "dpo", "--overwrite", cwd=tmp_path).code == 0
    for copied in ("dpo.toml", "new/folder/a.toml", "new/dpo.toml"):
        assert (tmp_path / copied).read_text() == bundled


@pytest.mark.parametrize("command", [("recipes", "copy", "dop"), ("inspect", "dop")])
def test_a_wrong_name_is_told_the_nearest(espalier, tmp_path: Path, command: tuple[str, ...]) -> None:
    result = espalier(*command, cwd=tmp_path)
    assert result.code == 2
    assert "Did you mean 'dpo'?" in result.err


def test_a_wrong_verb_is_told_the_nearest(espalier) -> None:
    result = espalier("recpies")
    assert result.code == 2
    assert "No such command 'recpies'. Did you mean 'recipes', 'recipe', 'review'?" in result.err
