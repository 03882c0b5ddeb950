"""Names of runs: any script, one spelling of each, and a reason for what no folder should be called."""

from __future__ import annotations

import unicodedata

import pytest

from espalier.core.errors import RecipeError
from espalier.core.recipe import parse_recipe


def named(name: str) -> str:
    return parse_recipe({"name": name}).name


@pytest.mark.parametrize(
    "name",
    ["попытка-1", "試験", "event-duration", "हिन्दी-२", "تجربة_1", "x²", "2024.11", "Ångström", "한국어"],
)
def test_a_name_in_any_script_is_kept(name: str) -> None:
    composed = unicodedata.normalize("NFC", name)
    assert named(name) == composed
    assert named(unicodedata.normalize("NFD", name)) == composed


@pytest.mark.parametrize(
    ("name", "why"),
    [
        ("", "it is empty"),
        (".hidden", "it begins with '.'"),
        ("..", "it begins with '.'"),
        ("-rf", "it begins with '-'"),
        ("run.", "it ends with '.'"),
        ("a/b", "'/' cannot be in a run's name"),
        ("a\\b", "'\\' cannot be"),
        ("a:b", "':' cannot be"),
        ("run ", "space (U+0020) cannot be"),
        ("a\u00a0b", "no-break space (U+00A0) cannot be"),
        ("a\x00b", "a control character (U+0000) cannot be"),
        ("a\u200db", "zero width joiner (U+200D) cannot be"),
        ("a\u202eb", "right-to-left override (U+202E) cannot be"),
        ("🙂", "'🙂' cannot be"),
        ("試" * 67, "it has 201 bytes, and a folder's name has room for 200"),
    ],
)
def test_another_is_refused_with_the_reason(name: str, why: str) -> None:
    with pytest.raises(RecipeError) as caught:
        named(name)
    assert caught.value.where == "name"
    assert why in str(caught.value)
