"""How the attention of one prompt tree is cut into dense products without wasted scores: the plan.

Each token attends to its ancestors and itself. The plan covers every such pair once, by two sorts of part:

- a cross part: all tokens below a node against the node's tokens. What is below a node is one contiguous
  range and sees all of the node, so that this is a plain product of two slices without a mask: most of the
  work.
- a local part: the tokens of a node against each other (causal), and against those ancestors that are too
  small to be worth a cross part of their own. Nodes of similar size are padded into one batch with one
  mask.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from espalier.encode.media import FIRST, PLACES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.encode.tree import Ints, Tree

# A longer node is cut, since half of a causal square is wasted and a cross part between pieces wastes
# nothing.
LONGEST_NODE = 256
# Pairs of (query, key) from which a cross part pays for its dozen kernel calls; fewer are gathered.
SMALLEST_CROSS = 4096
# Padded pairs that cost as much as one more local part.
PADDING = 16384


@dataclass(frozen=True, slots=True)
class Cross:
    """Queries `key_end` to `query_end` attend to all keys `key_start` to `key_end`."""

    key_start: int
    key_end: int
    query_end: int


@dataclass(frozen=True, slots=True)
class Local:
    """A batch of B small problems; index T stands for a padded place.

    Attributes:
        queries: tokens [B, Q]; over all local parts each token is a query once.
        keys: tokens [B, K].
        hidden: True where a query must not see a key [B, Q, K].
    """

    queries: torch.Tensor
    keys: torch.Tensor
    hidden: torch.Tensor


@dataclass(frozen=True, slots=True)
class Plan:
    """The parts of the attention of one tree of T tokens, with its index tensors on the model's device.

    `depth` is the length of the longest path: a window that is at least as long hides nothing. `roots` are
    the first and the last token (exclusive) of each tree of the forest.
    """

    tokens: int
    depth: int
    roots: tuple[tuple[int, int], ...]
    cross: tuple[Cross, ...]
    local: tuple[Local, ...]


def make_plan(tree: Tree, device: torch.device | str = "cpu", *, blocks: bool = False) -> Plan:
    """Return the parts in which the tree's attention is computed.

    Args:
        tree: the rows.
        device: for index tensors.
        blocks: whether the tokens of a medium see each other both ways, as in Gemma 3.
    """
    last_seen = _block_ends(tree.ids) if blocks else np.arange(len(tree.ids))
    cross: list[Cross] = []
    gathered: list[list[Ints]] = []  # for each node: ancestors' tokens that no cross part covers, root first
    problems: list[tuple[Ints, Ints]] = []
    own: list[Ints] = []
    for node, parent in enumerate(tree.parents.tolist()):
        start, end = tree.node_spans[node].tolist()
        below = int(tree.ends[node])
        above = gathered[parent] + [own[parent]] if parent >= 0 else []
        gathered.append(above)
        size, count = end - start, below - end
        if crossed := size * count >= SMALLEST_CROSS:
            cross.append(Cross(start, end, below))
        own.append(np.arange(0) if crossed else np.arange(start, end))
        first = start
        while first < end:
            # A medium whose tokens see each other is not cut.
            last = int(last_seen[min(first + LONGEST_NODE, end) - 1]) + 1
            piece = np.arange(first, last)
            problems.append((piece, np.concatenate([*above, piece])))
            if last < end:
                cross.append(Cross(first, last, end))
            first = last
    buckets = _buckets([(len(queries), len(keys)) for queries, keys in problems])
    local = tuple(_pad([problems[index] for index in bucket], last_seen, device) for bucket in buckets)
    tops = np.flatnonzero(tree.parents < 0)
    roots = tuple(zip(tree.node_spans[tops, 0].tolist(), tree.ends[tops].tolist(), strict=True))
    return Plan(len(tree.ids), int(tree.positions.max()) + 1, roots, tuple(cross), local)


def _buckets(shapes: Sequence[tuple[int, int]]) -> list[list[int]]:
    """Group problems of similar shape: padding stays below a quarter of the pairs, or one part's cost."""
    buckets: list[list[int]] = []
    high, wide, used = 0, 0, 0
    for index in sorted(range(len(shapes)), key=lambda index: shapes[index], reverse=True):
        queries, keys = shapes[index]
        new_wide, new_used = max(wide, keys), used + queries * keys
        if buckets and (len(buckets[-1]) + 1) * high * new_wide <= 1.25 * new_used + PADDING:
            buckets[-1].append(index)
            wide, used = new_wide, new_used
        else:
            buckets.append([index])
            high, wide, used = queries, keys, queries * keys
    return buckets


def _block_ends(ids: Ints) -> Ints:
    """Return of each token of a layout the last one of its medium; of a word itself [T].

    The same medium twice, one behind the other, is two.
    """
    medium = np.where(ids >= FIRST, (ids - FIRST) // PLACES, -1)
    same = (medium[1:] == medium[:-1]) & (medium[1:] >= 0) & (ids[1:] == ids[:-1] + 1)
    ends = np.flatnonzero(~np.append(same, False))
    return np.repeat(ends, np.diff(ends, prepend=-1))


def _pad(problems: Sequence[tuple[Ints, Ints]], last_seen: Ints, device: torch.device | str) -> Local:
    """Pad problems into one batch. A query sees the keys up to its `last_seen`; a padded one sees all."""
    spare = len(last_seen)
    high = max(len(queries) for queries, _ in problems)
    wide = max(len(keys) for _, keys in problems)
    query_index = np.full((len(problems), high), spare)
    key_index = np.full((len(problems), wide), spare)
    hidden = np.zeros((len(problems), high, wide), bool)
    for row, (queries, keys) in enumerate(problems):
        query_index[row, : len(queries)] = queries
        key_index[row, : len(keys)] = keys
        hidden[row, : len(queries)] = key_index[row] > last_seen[queries][:, None]
    return Local(*(torch.from_numpy(array).to(device) for array in (query_index, key_index, hidden)))
