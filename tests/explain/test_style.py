"""Style is told by rules, of answers as they are written."""

from __future__ import annotations

import pytest

from espalier.core.records import Estimate
from espalier.explain.manner import Told, manner_of
from espalier.explain.style import TRAITS, style_score, traits
from espalier.tasks.abilities import abilities


@pytest.mark.parametrize(
    ("text", "has"),
    [
        ("", set[str]()),
        ("blue", set[str]()),
        ("Blue", {"begins with a capital letter"}),
        ("It is blue.", {"begins with a capital letter", "ends as a sentence does"}),
        ("see:\n- one\n- two", {"has a list"}),
        ("1. one\n2. two", {"has a list"}),
        ("**bold** and `code`", {"has Markdown"}),
        ("3 * 4 ** 2", set[str]()),
        ("it may be blue", {"hedges"}),
        ("sure, please wait", {"is polite"}),
        ("yes. no", {"has several sentences"}),
        ("3.5 metres", set[str]()),
        ("a b c d e f g h i j k l", {"has at least 12 words"}),
    ],
)
def test_traits(text: str, has: set[str]) -> None:
    assert {name for name, value in traits(text).items() if value} == has
    assert style_score(text) == pytest.approx(len(has) / len(TRAITS))


def test_style_moves_and_facts_do_not() -> None:
    rows = abilities()
    right = [float(n % 2) if "options" in row.facts else None for n, row in enumerate(rows)]
    before = Told(["blue" for _ in rows], right)
    after = Told(["Of course! It is probably blue." for _ in rows], right)
    found = manner_of(before, after)
    assert found.style.gap.excludes_zero
    assert found.style.gap.value > 0
    assert found.facts.gap.value == 0
    assert not found.facts.gap.excludes_zero
    assert found.facts.base.n == sum("options" in row.facts for row in rows)
    assert isinstance(found.words.gap, Estimate)
    assert {one.name for one in found.traits} == {*TRAITS}
