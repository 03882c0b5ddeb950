"""The wording of a task as a factor: at test, of the same rows, by name or number."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from espalier.core.errors import RecipeError
from espalier.core.recipe import as_recipe
from espalier.design.factors import factors
from espalier.design.files import Files
from espalier.runs.prepare import prepare
from espalier.tasks.wordings import WORDINGS

if TYPE_CHECKING:
    from pathlib import Path

    from espalier.core.recipe import Recipe


@pytest.fixture
def recipe(tmp_path: Path) -> Recipe:
    lines = [f'{{"input": "thing {n}", "output": "things {n}"}}' for n in range(8)]
    (tmp_path / "task.jsonl").write_text("\n".join(lines))
    task = tmp_path / "task.toml"
    task.write_text('name = "plural"\ndefinition = "Write the plural."\nrows = "task.jsonl"\n')
    return as_recipe({"name": "x", "task": {"path": str(task)}, "model": {"name": "tiny"}})


def test_a_wording_changes_prompts_and_not_rows(recipe: Recipe, tmp_path: Path) -> None:
    factor, files = factors.build("wording", {}, "factor.1"), Files(tmp_path / "files")
    assert factor.at == "test"
    assert factor.apply(recipe, "original", files) == factor.apply(recipe, 0, files) == recipe
    usual = prepare(recipe)
    for number, name in enumerate(WORDINGS):
        made = factor.apply(recipe, name, files)
        assert made == factor.apply(recipe, number, files)
        if name in ("headings", "last", "polite"):
            found = prepare(made)
            assert [row.id for row in found.test] == [row.id for row in usual.test]
            text = found.test[0].prompt[0].text
            assert {"headings": "### Input\nthing", "last": "\n\nWrite", "polite": "Please do"}[name] in text
    assert prepare(recipe).hash == usual.hash


def test_what_is_no_wording_is_refused(recipe: Recipe, tmp_path: Path) -> None:
    factor = factors.build("wording", {}, "factor.1")
    for level in ("polit", 99, -1):
        with pytest.raises(RecipeError, match="no level of 'wording'"):
            factor.apply(recipe, level, Files(tmp_path))


def test_a_layout_that_is_not_known_is_named(recipe: Recipe, tmp_path: Path) -> None:
    task = tmp_path / "task.toml"
    task.write_text(task.read_text() + '[layout]\nimput = "Text: "\n')
    with pytest.raises(Exception, match=r"no key 'imput' here.*\n?.*input"):
        prepare(recipe)
