"""The split keeps sources whole, moves no row when others come, and leaves no side empty."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import DataError
from espalier.core.records import Example, message
from espalier.data.split import hold_out, limit, split

SOURCES = st.lists(st.text(max_size=3), min_size=1, max_size=40)


def rows(sources: list[str]) -> list[Example]:
    answer = (message("assistant", "yes", trained=True),)
    return [Example(id=str(i), task="t", source=source, messages=answer) for i, source in enumerate(sources)]


@given(SOURCES, st.floats(0.01, 0.99), st.integers(0, 5))
def test_every_row_is_on_one_side_with_its_source(sources: list[str], share: float, seed: int) -> None:
    examples = rows(sources)
    if len(set(sources)) < 2:
        with pytest.raises(DataError, match="cannot be split"):
            split(examples, share, seed)
        return
    train, test = split(examples, share, seed)
    assert train
    assert test
    assert sorted([*train, *test], key=examples.index) == examples
    assert not {e.source for e in train} & {e.source for e in test}
    assert train == [e for e in examples if e in train]  # in the given order


@given(st.sets(st.text(max_size=4), min_size=30, max_size=50), st.sets(st.text(max_size=4), max_size=10))
def test_added_rows_move_no_other_row(sources: set[str], added: set[str]) -> None:
    before, _ = split(rows(sorted(sources)), 0.5, 0)
    after, _ = split(rows([*sorted(sources), *sorted(added - sources)]), 0.5, 0)
    assert {e.source for e in before} == {e.source for e in after} & sources


def test_the_share_is_about_right_and_the_seed_matters() -> None:
    examples = rows([str(number) for number in range(2000)])
    train, _ = split(examples, 0.8, 0)
    assert 0.77 < len(train) / 2000 < 0.83  # three standard errors
    assert train == split(examples, 0.8, 0)[0]
    assert train != split(examples, 0.8, 1)[0]


@given(SOURCES, st.floats(0.01, 0.99), st.floats(0.01, 0.99), st.integers(0, 5))
def test_what_is_held_out_is_drawn_apart_from_the_test_set(
    sources: list[str], share: float, more: float, seed: int
) -> None:
    examples = rows(sources)
    if len(set(sources)) < 2:
        with pytest.raises(DataError, match=r"cannot be split into rows to train on and data\.dev"):
            hold_out(examples, share, seed)
        return
    train, dev = hold_out(examples, share, seed)
    assert train
    assert dev
    assert sorted([*train, *dev], key=examples.index) == examples
    assert not {e.source for e in train} & {e.source for e in dev}
    if share <= more:  # a larger share holds the same rows out, and others besides
        assert {e.source for e in dev} <= {e.source for e in hold_out(examples, more, seed)[1]}


def test_the_test_set_tells_nothing_of_what_is_held_out() -> None:
    examples = rows([str(number) for number in range(2000)])
    train, test = split(examples, 0.5, 0)
    shares = [len(hold_out(some, 0.2, 0)[1]) / len(some) for some in (train, test)]
    assert shares == pytest.approx([0.2, 0.2], abs=0.04)  # three standard errors


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, 1.5])
def test_a_share_that_empties_a_side_is_refused(share: float) -> None:
    with pytest.raises(DataError, match="expected more than 0"):
        split(rows(["a", "b"]), share, 0)


def test_an_unsplittable_set_says_what_to_do() -> None:
    with pytest.raises(DataError) as caught:
        split(rows(["a", "a"]), 0.5, 0)
    assert "2 rows of 1 source " in caught.value.message
    assert "source" in caught.value.hint


@given(SOURCES, st.integers(1, 30), st.integers(0, 5))
def test_a_subset_has_whole_sources(sources: list[str], n: int, seed: int) -> None:
    examples = rows(sources)
    sizes = Counter(sources)
    try:
        kept = limit(examples, n, seed)
    except DataError:
        assert max(sizes.values()) > n
        return
    assert 0 < len(kept) <= n
    assert Counter(e.source for e in kept) == {source: sizes[source] for source in {e.source for e in kept}}
    assert kept == [e for e in examples if e in kept]


def test_a_subset_is_the_beginning_of_a_larger_one_and_all_if_all_fit() -> None:
    examples = rows([str(number // 2) for number in range(100)])
    small, large = limit(examples, 20, 0), limit(examples, 60, 0)
    assert len(small) == 20
    assert set(map(id, small)) < set(map(id, large))
    assert limit(examples, 100, 0) == examples
    assert limit([], 5, 0) == []


def test_large_sources_are_drawn_as_often_as_small_ones() -> None:
    examples = rows(["large"] * 10 + [f"small {number}" for number in range(30)])
    drawn = sum(any(e.source == "large" for e in limit(examples, 20, seed)) for seed in range(200))
    # A source is in if it comes before the limit is reached: between 10/31 and 20/31 of the seeds.
    assert 200 * 0.25 < drawn < 200 * 0.7


def test_a_limit_below_one_source_says_so() -> None:
    with pytest.raises(DataError, match="No source fits into 2 rows"):
        limit(rows(["a"] * 3), 2, 0)
