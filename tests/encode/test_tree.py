"""The layout of small trees, written out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from espalier.core.errors import DataError
from espalier.core.records import Encoded
from espalier.encode.tree import build_tree, row_path, row_tokens, stats


def encoded(ids: list[int], prompt: int, name: str = "row") -> Encoded:
    weights = [0.0] * prompt + [1.0] * (len(ids) - prompt)
    return Encoded(tuple(ids), tuple(weights), prompt, name)


def test_two_rows_share_their_prompt():
    tree = build_tree([encoded([1, 2, 3, 7, 9], 3, "b"), encoded([1, 2, 3, 5, 6, 9], 3, "a")])
    assert tree.ids.tolist() == [1, 2, 3, 5, 6, 7]
    assert tree.positions.tolist() == [0, 1, 2, 3, 4, 3]
    assert tree.parents.tolist() == [-1, 0, 0]
    assert tree.node_spans.tolist() == [[0, 3], [3, 5], [5, 6]]
    assert tree.ends.tolist() == [6, 5, 6]
    assert [row.example for row in tree.rows] == ["b", "a"]
    assert tree.leaves.tolist() == [5, 4]
    assert list(zip(tree.sources.tolist(), tree.targets.tolist(), strict=True)) == [
        (2, 5),
        (2, 7),
        (3, 6),
        (4, 9),
        (5, 9),
    ]
    assert tree.entry_rows.tolist() == [0, 0, 1, 1, 1]
    assert tree.entry_edges.tolist() == [1, 4, 0, 2, 3]


def test_equal_answers_are_one_edge_with_two_entries():
    tree = build_tree([encoded([1, 2, 3], 2), encoded([1, 2, 3], 2)])
    assert tree.ids.tolist() == [1, 2]
    assert tree.targets.tolist() == [3]
    assert tree.entry_edges.tolist() == [0, 0]
    assert tree.weights.tolist() == [1.0, 1.0]


def test_a_row_that_is_a_prefix_of_another_adds_no_token_and_no_node():
    tree = build_tree([encoded([1, 2, 3], 1), encoded([1, 2, 3, 4, 5], 3)])
    assert tree.ids.tolist() == [1, 2, 3, 4]
    assert tree.parents.tolist() == [-1]
    assert tree.leaves.tolist() == [1, 3]
    assert row_tokens(tree, 0) == (1, 2, 3)


def test_rows_without_a_common_token_make_a_forest():
    tree = build_tree([encoded([1, 2], 1), encoded([3, 4], 1)])
    assert tree.parents.tolist() == [-1, -1]
    assert tree.positions.tolist() == [0, 0]


def test_tokens_after_the_last_target_are_not_laid_out():
    tree = build_tree([Encoded((1, 2, 3, 4), (0.0, 1.0, 0.0, 0.0), 1, "row")])
    assert tree.ids.tolist() == [1]
    assert row_tokens(tree, 0) == (1, 2)


def test_a_deep_path_runs_through_its_ancestors():
    rows = [[1, 2, 3, 4, 9], [1, 2, 3, 5, 9], [1, 2, 6, 9], [1, 7, 9]]
    tree = build_tree([encoded(row, len(row) - 1) for row in rows])
    assert len(tree.parents) == 7
    assert [tree.ids[row_path(tree, row)].tolist() for row in range(4)] == [row[:-1] for row in rows]


def test_stats_count_what_is_computed():
    found = stats(build_tree([encoded([1, 2, 3, 7, 9], 3), encoded([1, 2, 3, 5, 6, 9], 3)]))
    assert (found.row_tokens, found.distinct_tokens) == (9, 6)
    assert found.ratio == pytest.approx(1.5)


def test_no_row_is_refused():
    with pytest.raises(DataError, match="at least one row"):
        build_tree([])


def test_a_weighted_first_token_is_refused():
    with pytest.raises(DataError, match="no token predicts it"):
        build_tree([Encoded((1, 2), (1.0, 1.0), 0, "row")])


def test_arrays_are_int64_and_float64():
    tree = build_tree([encoded([1, 2, 3], 2)])
    for values in (
        tree.ids,
        tree.positions,
        tree.parents,
        tree.node_spans,
        tree.ends,
        tree.sources,
        tree.leaves,
    ):
        assert values.dtype == np.int64
    assert tree.weights.dtype == np.float64
