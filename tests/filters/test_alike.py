"""The search for rows that are alike finds all that a look at every pair finds."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.filters.alike import Alike, Ranks

ROWS = st.lists(st.lists(st.integers(0, 12), max_size=40), max_size=12)


@settings(max_examples=200)
@given(ROWS, st.lists(st.integers(0, 14), max_size=40), st.sampled_from([0.3, 0.5, 0.7, 0.8, 8 / 9, 1.0]))
def test_no_row_that_is_alike_is_missed(rows: list[list[int]], row: list[int], least: float) -> None:
    ranks = Ranks(rows[::2])  # the others are of elements that it may not know
    alike = Alike(least)
    assert [alike.add(ranks.sorted(one)) for one in rows] == [*range(len(rows))]
    found = alike.candidates(ranks.sorted(row))
    assert found == sorted(set(found))
    for number, one in enumerate(rows):
        common = sum((Counter(one) & Counter(row)).values())
        if one and row and 2 * common >= least * (len(one) + len(row)):
            assert number in found


def test_sizes_of_hundreds_are_found_too() -> None:
    alike = Alike(0.8)
    rows = [list(range(start, start + 300)) for start in range(0, 400, 20)]
    ranks = Ranks(rows)
    for row in rows:
        alike.add(ranks.sorted(row))
    found = alike.candidates(ranks.sorted(range(100, 400)))
    wanted = [n for n, row in enumerate(rows) if 2 * len({*row} & {*range(100, 400)}) >= 0.8 * 600]
    assert set(wanted) <= set(found)


def test_what_a_pattern_shares_is_not_searched() -> None:
    """A thousand rows of one pattern that are not alike: a search that compares them all has no end."""
    alike = Alike(8 / 9)
    rows = [["what", "is", "the", "name", "of", "a", "good", "place", f"{n}a", f"{n}b"] for n in range(1000)]
    ranks = Ranks(rows)
    numbers = [ranks.sorted(row) for row in rows]
    for row in numbers:
        alike.add(row)
    assert [alike.candidates(row) for row in numbers] == [[n] for n in range(1000)]


@pytest.mark.parametrize("row", [[], ["new"]])
def test_nothing_is_alike_to_nothing(row: list[str]) -> None:
    ranks, alike = Ranks([["a"]]), Alike(0.5)
    alike.add(ranks.sorted(["a"]))
    alike.add(ranks.sorted([]))
    assert alike.candidates(ranks.sorted(row)) == []
