"""Recipes by name: what ships with the package, a file of one's own before it, and what is nearest."""

from __future__ import annotations

from pathlib import Path

import pytest

from espalier.builds.recipe import load_build
from espalier.core.bundled_recipes import BUILD, bundled_recipes, recipe_path
from espalier.core.errors import DataError
from espalier.core.recipe import load_recipe


@pytest.fixture(autouse=True)
def elsewhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def test_every_bundled_recipe_loads_by_its_name_and_carries_it() -> None:
    assert "event-duration" in bundled_recipes()
    for name, path in bundled_recipes().items():
        load = load_build if name.startswith(BUILD) else load_recipe
        assert load(name).name == name
        assert path.read_text(encoding="utf-8").startswith("# ")  # what `espalier recipes` says of it


def test_a_file_goes_before_a_bundled_recipe_and_a_folder_does_not(tmp_path: Path) -> None:
    (tmp_path / "dpo").mkdir()
    assert recipe_path("dpo") == bundled_recipes()["dpo"]
    (tmp_path / "dpo").rmdir()
    (tmp_path / "dpo").write_text("name = 'mine'")
    assert load_recipe("dpo").name == "mine"


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ("evnt-duration", "Did you mean 'event-duration'?"),
        ("recipes/event-duration.toml", "Did you mean 'event-duration'?"),
        ("mein.toml", "Did you mean 'mine.toml'?"),
        ("mine.toml/x", "no bundled recipe of this name"),
        ("run", "This is a folder; a recipe was expected. Its own is run/recipe.toml."),
        ("empty", "This is a folder; a file was expected."),
        ("long" * 99, "File name too long"),
    ],
)
def test_what_is_no_recipe_is_told_with_the_nearest(tmp_path: Path, asked: str, said: str) -> None:
    (tmp_path / "mine.toml").write_text("name = 'mine'")
    (tmp_path / "empty").mkdir()
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "recipe.toml").write_text("name = 'mine'")
    with pytest.raises(DataError) as caught:
        load_recipe(asked)
    assert said in str(caught.value)
