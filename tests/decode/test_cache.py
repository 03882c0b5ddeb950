"""The layout of the cache: every token of a prompt is held for its row exactly once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.records import Encoded
from espalier.decode.cache import RowCache, plan_layout
from espalier.encode.tree import Tree, build_tree, row_path

TOKEN = st.integers(0, 2)


def prompts_tree(prompts: list[list[int]]) -> Tree:
    rows = [(tuple(prompt), index) for index, prompt in enumerate(prompts)]
    return build_tree(
        [Encoded((*ids, 0), (0.0,) * len(ids) + (1.0,), len(ids), str(row)) for ids, row in rows]
    )


@given(st.lists(st.lists(TOKEN, min_size=1, max_size=8), min_size=1, max_size=12), st.integers(1, 12))
def test_runs_and_own_columns_are_the_path_of_each_row(prompts: list[list[int]], least: int):
    tree = prompts_tree(prompts)
    layout = plan_layout(tree, least)
    assert sorted(layout.order.tolist()) == list(range(len(prompts)))
    for place, row in enumerate(layout.order.tolist()):
        held: list[int] = []
        for run in layout.runs:
            if run.first <= place < run.last:
                assert run.column == len(held)
                held += range(run.start, run.end)
        own = layout.own[place]
        assert (np.diff(own >= 0) >= 0).all()  # pads at the left only
        assert [*held, *own[own >= 0].tolist()] == row_path(tree, row).tolist()
        assert layout.lengths[place] == len(prompts[row])
    for run in layout.runs:
        assert (run.last - run.first - 1) * (run.end - run.start) >= least


HEADS, GROUP, WIDTH = 2, 3, 4


def filled(prompts: list[list[int]], least: int, copies: int, seed: int) -> RowCache:
    """Return a cache of one layer with random keys and values for these prompts."""
    tree = prompts_tree(prompts)
    cache = RowCache(plan_layout(tree, least, copies=copies), 8)
    draw = torch.Generator().manual_seed(seed)
    keys, values = (torch.randn(HEADS, len(tree.ids), WIDTH, generator=draw) for _ in range(2))
    cache.put(0, keys, values)
    return cache


def attended(cache: RowCache, given: tuple[torch.Tensor, ...], rows: list[int]) -> torch.Tensor:
    """Advance by one token, the queries, keys and values of which these rows of `given` hold."""
    cache.advance()
    query, key, value = (states[rows] for states in given)
    return cache.attend(0, query, key, value, 0.5)


def test_what_no_row_shares_any_more_goes_though_there_are_as_many_rows() -> None:
    cache, plain = filled([[0], [0, 0]], 1, 2, 0), filled([[0], [0, 0]], 10**9, 1, 0)
    other, plain_other = filled([[0, 0]], 1, 2, 1), filled([[0, 0]], 10**9, 1, 1)
    draw = torch.Generator().manual_seed(2)
    given_ = tuple(torch.randn(3, heads, 1, WIDTH, generator=draw) for heads in (HEADS * GROUP, HEADS, HEADS))
    cache.take(np.array([0, 0]))
    cache.join(other)
    both = attended(cache, given_, [0, 0, 2])
    torch.testing.assert_close(both[:2], attended(plain, given_, [0, 1])[[0, 0]])
    torch.testing.assert_close(both[2:], attended(plain_other, given_, [2]))


@given(
    st.lists(st.lists(TOKEN, min_size=1, max_size=8), min_size=1, max_size=6),
    st.lists(st.lists(TOKEN, min_size=1, max_size=8), min_size=1, max_size=4),
    st.sampled_from([1, 6, 1000]),
    st.integers(1, 3),
    st.data(),
)
def test_rows_attend_as_they_did_after_others_were_taken_or_have_joined(
    prompts: list[list[int]], others: list[list[int]], least: int, copies: int, data: st.DataObject
):
    cache, other = filled(prompts, least, copies, 0), filled(others, least, copies, 1)
    plain, plain_other = filled(prompts, 10**9, 1, 0), filled(others, 10**9, 1, 1)
    draw = torch.Generator().manual_seed(2)
    steps = [
        [torch.randn(10, heads, 1, WIDTH, generator=draw) for heads in (HEADS * GROUP, HEADS, HEADS)]
        for _ in range(4)
    ]
    rows = list(range(len(prompts)))
    first = data.draw(st.integers(0, 2))
    for given_ in steps[:first]:
        attended(cache, given_, rows), attended(plain, given_, rows)
    runs = len(cache._runs)
    parents = data.draw(st.lists(st.sampled_from(rows), min_size=1, max_size=9).map(sorted))
    cache.take(np.array(parents))
    assert len(cache._runs) <= runs  # what is shared is multiplied once for all copies
    cache.join(other)
    for given_ in steps[first:]:
        both = attended(cache, given_, [*parents, *range(len(others))])
        alone = attended(plain, given_, rows)[parents]
        torch.testing.assert_close(both[: len(parents)], alone)
        torch.testing.assert_close(
            both[len(parents) :], attended(plain_other, given_, list(range(len(others))))
        )


@pytest.mark.parametrize(("least", "runs"), [(1, [(0, 3), (3, 4)]), (5, [(0, 3)]), (100, [])])
def test_a_run_is_shared_where_it_pays(least: int, runs: list[tuple[int, int]]):
    layout = plan_layout(prompts_tree([[1, 1, 1, 2, 0], [1, 1, 1, 2, 1], [1, 1, 1, 0]]), least)
    assert [(run.start, run.end) for run in layout.runs] != [] or not runs
    assert len(layout.runs) == len(runs)
