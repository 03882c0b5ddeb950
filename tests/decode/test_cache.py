"""The layout of the cache: every token of a prompt is held for its row exactly once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.records import Encoded
from espalier.decode.cache import plan_layout
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


@pytest.mark.parametrize(("least", "runs"), [(1, [(0, 3), (3, 4)]), (5, [(0, 3)]), (100, [])])
def test_a_run_is_shared_where_it_pays(least: int, runs: list[tuple[int, int]]):
    layout = plan_layout(prompts_tree([[1, 1, 1, 2, 0], [1, 1, 1, 2, 1], [1, 1, 1, 0]]), least)
    assert [(run.start, run.end) for run in layout.runs] != [] or not runs
    assert len(layout.runs) == len(runs)
