"""The prompt tree: rows become a radix tree of tokens, laid out depth first; what rows share exists once.

Sorted rows make this short. The longest common prefix of a row with the row before it is exactly what is
already laid out of it, so the layout is the concatenation of the rows' new tokens, and what is below a token
is contiguous. Labels belong to edges and not to tokens: one shared token can be followed by several targets.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.errors import DataError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from espalier.core.records import Encoded

    Ints = NDArray[np.int64]
    Floats = NDArray[np.float64]

WIDTH = 16  # tokens that are compared first


@dataclass(frozen=True, slots=True, eq=False)
class Tree:
    """A forest of T tokens in N nodes, with the E edges that carry loss, and the M entries that weigh them.

    Nodes are in depth-first order, parents before children; a node is a run of tokens with no branch inside.
    The tokens below node n are `node_spans[n, 1]` to `ends[n]`, one contiguous range.

    Attributes:
        ids: token ids [T].
        positions: depth of each token on its path, from 0 [T].
        parents: parent of each node, -1 at a root [N].
        node_spans: first token of each node and the one after its last [N, 2].
        ends: the token after each node's last descendant [N].
        sources: token whose hidden state predicts, for each edge; ascending [E].
        targets: predicted token id of each edge [E].
        entry_rows: row of each weighted target token, in the order of rows and then of tokens [M].
        entry_edges: its edge [M].
        weights: its loss weight [M].
        rows: the rows themselves, in the order they were given [R].
        leaves: last laid-out token of each row: the source of its last target [R].
    """

    ids: Ints
    positions: Ints
    parents: Ints
    node_spans: Ints
    ends: Ints
    sources: Ints
    targets: Ints
    entry_rows: Ints
    entry_edges: Ints
    weights: Floats
    rows: tuple[Encoded, ...]
    leaves: Ints


@dataclass(frozen=True, slots=True)
class TreeStats:
    """What sharing saves: tokens that the rows would be computed at one by one, and tokens of the tree."""

    row_tokens: int
    distinct_tokens: int

    @property
    def ratio(self) -> float:
        """Row tokens per distinct token: the most that sharing can speed a step up."""
        return self.row_tokens / self.distinct_tokens


def build_tree(rows: Sequence[Encoded]) -> Tree:
    """Return the radix tree of the rows. The layout depends on the rows' contents only, not on their order.

    A row is laid out up to the token before its last weighted one: what follows influences no loss.

    Raises:
        DataError: no row, or a row whose first token is weighted (no token predicts it).
    """
    if not rows:
        raise DataError("A tree needs at least one row, and none was given.")
    lengths = [path_length(row) for row in rows]
    order = sorted(range(len(rows)), key=lambda row: rows[row].ids[: lengths[row]])
    paths: list[Ints] = [np.empty(0, np.int64)] * len(rows)
    ids: list[Ints] = []
    before: tuple[int, ...] = ()
    path: Ints = np.empty(0, np.int64)
    size = 0
    for row in order:
        tokens = rows[row].ids[: lengths[row]]
        shared = common_prefix(before, tokens)
        new = len(tokens) - shared
        path = np.concatenate([path[:shared], np.arange(size, size + new)])
        ids.append(np.array(tokens[shared:], np.int64))
        paths[row], before, size = path, tokens, size + new
    token_parents = np.full(size, -1, np.int64)
    positions = np.zeros(size, np.int64)
    for path in paths:
        token_parents[path[1:]] = path[:-1]
        positions[path] = np.arange(len(path))
    parents, node_spans, ends = _nodes(token_parents)
    sources, targets, entry_rows, entry_edges, weights = _edges(rows, paths)
    return Tree(
        ids=np.concatenate(ids),
        positions=positions,
        parents=parents,
        node_spans=node_spans,
        ends=ends,
        sources=sources,
        targets=targets,
        entry_rows=entry_rows,
        entry_edges=entry_edges,
        weights=weights,
        rows=tuple(rows),
        leaves=np.array([path[-1] for path in paths], np.int64),
    )


def row_path(tree: Tree, row: int) -> Ints:
    """Return the tokens of a row as indices into the layout, from its root to its leaf."""
    leaf = int(tree.leaves[row])
    node = int(np.searchsorted(tree.node_spans[:, 0], leaf, side="right")) - 1
    runs: list[Ints] = [np.arange(int(tree.node_spans[node, 0]), leaf + 1)]
    while (node := int(tree.parents[node])) >= 0:
        runs.append(np.arange(int(tree.node_spans[node, 0]), int(tree.node_spans[node, 1])))
    return np.concatenate(runs[::-1])


def row_tokens(tree: Tree, row: int) -> tuple[int, ...]:
    """Return a row's token ids up to its last weighted one: what `build_tree` was given."""
    last = int(np.searchsorted(tree.entry_rows, row, side="right")) - 1
    return (*tree.ids[row_path(tree, row)].tolist(), int(tree.targets[tree.entry_edges[last]]))


def stats(tree: Tree) -> TreeStats:
    """Return the number of tokens at which the rows and the tree are computed."""
    return TreeStats(int((tree.positions[tree.leaves] + 1).sum()), len(tree.ids))


def path_length(row: Encoded) -> int:
    """Return how many tokens of a row are laid out, those before its last weighted one. Raises DataError."""
    if row.weights[0]:
        raise DataError("The first token of a row is weighted, and no token predicts it.", where=row.example)
    return next(index for index in range(len(row.weights) - 1, 0, -1) if row.weights[index])


def common_prefix(one: tuple[int, ...], two: tuple[int, ...]) -> int:
    """Return how many leading tokens two rows share."""
    size = min(len(one), len(two))
    low, width = 0, WIDTH
    # Slices are compared where one by one would take long: wider and wider ones, and then halves.
    while low < size and one[low : low + width] == two[low : low + width]:
        low, width = low + width, 2 * width
    low, high = min(low, size), min(low + width, size)
    while low < high:
        middle = (low + high + 1) // 2
        low, high = (middle, high) if one[low:middle] == two[low:middle] else (low, middle - 1)
    return low


def _nodes(token_parents: Ints) -> tuple[Ints, Ints, Ints]:
    """Cut the layout into nodes: a node starts at a root and below every token with more than one child."""
    size = len(token_parents)
    children = np.bincount(token_parents[token_parents >= 0], minlength=size)
    first = (token_parents < 0) | (children[token_parents] > 1)
    starts = np.flatnonzero(first)
    spans = np.stack([starts, np.append(starts[1:], size)], axis=1)
    node_of = np.cumsum(first) - 1
    above = token_parents[starts]
    parents = np.where(above < 0, -1, node_of[above])
    ends = spans[:, 1].copy()
    for node in range(len(starts) - 1, -1, -1):
        if (parent := int(parents[node])) >= 0:
            ends[parent] = max(ends[parent], ends[node])
    return parents, spans, ends


def _edges(rows: Sequence[Encoded], paths: Sequence[Ints]) -> tuple[Ints, Ints, Ints, Ints, Floats]:
    """Return the distinct (source, target) pairs, and each weighted token's row, edge and weight."""
    taken = [np.flatnonzero(row.weights) for row in rows]
    source = np.concatenate([path[index - 1] for path, index in zip(paths, taken, strict=True)])
    target = np.concatenate(
        [np.array(row.ids, np.int64)[index] for row, index in zip(rows, taken, strict=True)]
    )
    weights = np.concatenate([np.array(row.weights)[index] for row, index in zip(rows, taken, strict=True)])
    entry_rows = np.repeat(np.arange(len(rows)), [len(index) for index in taken])
    # One number for a pair: numpy compares rows of numbers as structures, where Ctrl-C ends in a TypeError.
    words, place = np.unique(target, return_inverse=True)
    edges, entry_edges = np.unique(source * len(words) + place, return_inverse=True)
    sources, places = np.divmod(edges, len(words))
    return sources, words[places], entry_rows, entry_edges, weights
