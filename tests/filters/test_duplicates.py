"""Near duplicates: those that a look at all pairs finds, each with the row that it repeats."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.filters.duplicates import Repeats, duplicates, shingles

WORDS = [
    "the",
    "a",
    "red",
    "old",
    "boat",
    "house",
    "runs",
    "sleeps",
    "under",
    "over",
    "near",
    "green",
    "hill",
    "river",
    "stone",
]


def by_all_pairs(texts: list[str], threshold: float, size: int) -> list[Repeats | None]:
    kept: list[int] = []
    said: list[Repeats | None] = []
    for number, text in enumerate(texts):
        mine = shingles(text, size)
        near = None
        for row in kept:
            theirs = shingles(texts[row], size)
            value = len(mine & theirs) / len(mine | theirs) if mine | theirs else 1.0
            if value >= threshold and (near is None or value > near.value):
                near = Repeats(row, value)
        said.append(near)
        if near is None:
            kept.append(number)
    return said


@settings(max_examples=100)
@given(
    st.lists(st.lists(st.sampled_from(WORDS), max_size=14).map(" ".join), max_size=25),
    st.sampled_from([0.5, 0.8, 1.0]),
    st.sampled_from([1, 2]),
)
def test_all_pairs_say_the_same(texts: list[str], threshold: float, size: int) -> None:
    assert list(duplicates(texts, threshold, size)) == by_all_pairs(texts, threshold, size)


def test_variations_are_found_and_shown() -> None:
    draw = random.Random(0)
    texts = [" ".join(draw.choices(WORDS, k=20)) for _ in range(200)]
    changed = [text.split() for text in texts[:50]]
    for number, words in enumerate(changed):
        words[number % 20] = "new"
    found = list(duplicates([*texts, *map(" ".join, changed)], 0.7))
    assert found[:200] == [None] * 200
    assert [near and near.row for near in found[200:]] == [*range(50)]


def test_case_signs_and_spaces_make_no_difference() -> None:
    found = list(
        duplicates(["Name a bird.", "name  a BIRD", "Name a bird, please!", "", " ", "?", "!", "¿?"])
    )
    assert found[1] == Repeats(0, 1.0)
    assert found[2] is None
    assert found[4] == Repeats(3, 1.0)
    assert found[5:7] == [None, None]


@pytest.mark.parametrize(("text", "pairs"), [("a", 2), ("a b", 3), ("", 0), ("東京", 3)])
def test_the_ends_count(text: str, pairs: int) -> None:
    assert len(shingles(text)) == pairs
