"""Mixtures: the rates that are published, the counts that follow, and that nothing but the seed decides."""

from __future__ import annotations

from collections import Counter
from itertools import pairwise
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.building.mixing import Rates, mix, row_counts, subset
from espalier.core.errors import RecipeError
from espalier.core.records import Example, message
from espalier.data.split import split_tasks

if TYPE_CHECKING:
    from collections.abc import Mapping


def row(number: int, task: str = "t", source: str = "", words: int = 1) -> Example:
    turns = (message("user", f"{task} {number}"), message("assistant", "a " * words, trained=True))
    return Example(f"{task}-{number}", task, source or f"{task} {number}", turns)


def rows(task: str, count: int, words: int = 1) -> list[Example]:
    return [row(number, task, words=words) for number in range(count)]


def words_of(example: Example) -> int:
    return len(example.answer.split())


def test_rows_are_in_proportion_up_to_the_cap() -> None:
    sizes = {"large": 100_000, "middle": 3_000, "small": 100}
    assert row_counts(sizes, Rates(cap=3_000), {}) == {"large": 3_000, "middle": 3_000, "small": 100}
    assert row_counts(sizes, Rates(), {}) == sizes
    assert row_counts(sizes, Rates(cap=3_000, rows=610), {}) == {"large": 300, "middle": 300, "small": 10}


def test_a_high_temperature_makes_sources_equal_and_a_weight_counts() -> None:
    sizes = {"a": 10_000, "b": 100}
    assert row_counts(sizes, Rates(rows=110, temperature=2), {}) == {"a": 100, "b": 10}
    assert row_counts(sizes, Rates(rows=100, temperature=1e9), {}) == {"a": 50, "b": 50}
    assert row_counts({"a": 10, "b": 10}, Rates(rows=8, weights={"a": 3}), {}) == {"a": 6, "b": 2}
    assert row_counts({"a": 10, "b": 10}, Rates(weights={"a": 0}), {}) == {"a": 0, "b": 10}


def test_shares_of_tokens_are_met_in_tokens() -> None:
    sources = {"long": rows("long", 400, words=30), "short": rows("short", 400, words=3)}
    mixture = mix(sources, Rates(rows=440, tokens={"long": 1, "short": 1}), 0, words_of)
    assert [(p.rows, p.tokens, round(p.token_share, 2)) for p in mixture.portions] == [
        (40, 1200, 0.5),
        (400, 1200, 0.5),
    ]
    assert mixture.portions[0].row_share == pytest.approx(1 / 11)


def test_passes_over_a_source_are_exact_and_whole_before_one_begins_anew() -> None:
    sources = {"a": rows("a", 10), "b": rows("b", 50)}
    mixture = mix(sources, Rates(rows=45, epochs={"a": 2.5}), 3, words_of)
    counts = Counter(found.id for found in mixture.rows)
    assert sorted(counts[one.id] for one in sources["a"]) == [2] * 5 + [3] * 5
    assert [p.rows for p in mixture.portions] == [25, 20]
    assert mixture.portions[0].epochs == 2.5


@pytest.mark.parametrize(
    ("rates", "sentence"),
    [
        (Rates(weights={"aa": 1}), "Did you mean 'a'"),
        (Rates(weights={"a": -1}), "must be 0 or more"),
        (Rates(temperature=0), "over 0"),
        (Rates(rows=5, epochs={"a": 2}), "The passes alone are 20 rows"),
        (Rates(rows=45, epochs={"a": 2, "b": 1}), "The passes alone are 24 rows"),
        (Rates(weights={"a": 0, "b": 0}), "No source has a share"),
        (Rates(tokens={"a": 1}, epochs={"a": 1}), "share of the tokens and passes"),
    ],
)
def test_rates_that_do_not_fit_are_refused(rates: Rates, sentence: str) -> None:
    with pytest.raises(RecipeError, match=sentence):
        mix({"a": rows("a", 10), "b": rows("b", 4)}, rates, 0, words_of)


SIZES = st.dictionaries(st.sampled_from("abcde"), st.integers(1, 60), min_size=1)


@given(
    SIZES,
    st.integers(0, 200),
    st.sampled_from([0, 5, 30]),
    st.sampled_from([0.5, 1.0, 3.0]),
    st.integers(0, 3),
)
def test_counts_add_up_and_none_repeats_unasked(
    sizes: Mapping[str, int], total: int, cap: int, temperature: float, seed: int
) -> None:
    sources = {name: rows(name, size) for name, size in sizes.items()}
    mixture = mix(sources, Rates(total, cap, temperature), seed, words_of)
    assert sum(p.rows for p in mixture.portions) == len(mixture.rows) == (total or len(mixture.rows))
    assert sum(p.row_share for p in mixture.portions) == pytest.approx(1 if mixture.rows else 0)
    again = mix(dict(reversed(sources.items())), Rates(total, cap, temperature), seed, words_of)
    assert [one.id for one in again.rows] == [one.id for one in mixture.rows]
    counts = Counter(one.id for one in mixture.rows)
    for portion in mixture.portions:
        times = [counts[one.id] for one in sources[portion.source]]
        assert max(times) - min(times) <= 1
        assert total or max(times) <= 1


@given(SIZES, st.integers(1, 100), st.integers(0, 100))
def test_a_smaller_mixture_lies_in_a_larger_one(sizes: Mapping[str, int], less: int, more: int) -> None:
    sources = {"a": rows("a", 50), **{name: rows(name, size) for name, size in sizes.items()}}
    small = Counter(row.id for row in mix(sources, Rates(less, epochs={}), 1, words_of).rows)
    large = Counter(row.id for row in mix(sources, Rates(less + more), 1, words_of).rows)
    # Each count is within 1 of its share, so that a source may give one row more to the smaller one.
    assert (small - large).total() <= len(sources)


@given(st.lists(st.sampled_from("abcde"), min_size=1, max_size=40), st.data())
def test_subsets_are_nested_by_whole_sources(sources: list[str], data: st.DataObject) -> None:
    every = [(source, f"row {n}") for n, source in enumerate(sources)]
    sizes = sorted(data.draw(st.sets(st.integers(1, len(every)), min_size=1, max_size=4)))
    found = [subset(every, size, 5) for size in sizes]
    assert [len(places) for places in found] == sizes
    assert all(places == sorted(places) for places in found)
    assert all({*one} <= {*other} for one, other in pairwise(found))
    for places in found:
        inside = Counter(sources[place] for place in places)
        cut = [source for source, count in inside.items() if count < sources.count(source)]
        assert len(cut) <= 1
    # Rows of a source that comes later move no other.
    before = [every[place] for place in subset(every, sizes[0], 5)]
    after = [([*every, ("z", "new")])[place] for place in subset([*every, ("z", "new")], sizes[0], 5)]
    assert [one for one in after if one in before] == after or ("z", "new") in after


def test_a_subset_larger_than_the_rows_is_refused() -> None:
    for size in (4, 0, -1):
        with pytest.raises(RecipeError, match="3 go out"):
            subset([("a", "1"), ("a", "2"), ("b", "3")], size, 0)


def test_tasks_that_share_a_sentence_are_on_one_side() -> None:
    every = [
        row(n, task, source=f"{group} {n}")
        for task, group in zip("abcdef", "xxyyzz", strict=True)
        for n in range(3)
    ]
    for seed in range(8):
        train, test = split_tasks(every, 0.6, seed)
        sides = ({one.task for one in train}, {one.task for one in test})
        assert not sides[0] & sides[1]
        assert all(set(pair) <= sides[0] or set(pair) <= sides[1] for pair in ("ab", "cd", "ef"))
        assert not {one.source for one in train} & {one.source for one in test}
        assert len(train) + len(test) == len(every)


@given(
    st.dictionaries(st.sampled_from("abcdef"), st.integers(1, 5000), min_size=1),
    st.integers(0, 4000),
    st.integers(0, 3000),
    st.sampled_from([0.5, 1.0, 2.0, 5.0, 100.0]),
)
def test_counts_are_those_of_the_formula(sizes: dict[str, int], total: int, cap: int, heat: float) -> None:
    counts = row_counts(sizes, Rates(rows=total, cap=cap, temperature=heat), {})
    rates = {name: min(size, cap or size) ** (1 / heat) for name, size in sizes.items()}
    shares = {name: rate / sum(rates.values()) for name, rate in rates.items()}
    if total:
        assert sum(counts.values()) == total
    else:
        assert all(counts[name] <= sizes[name] for name in sizes)
        assert any(counts[name] >= sizes[name] - 1 for name in sizes)
    mixed = sum(counts.values())
    assert all(abs(counts[name] - shares[name] * mixed) <= 1 + 1e-6 for name in sizes)
