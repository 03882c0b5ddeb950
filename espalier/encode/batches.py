"""Which rows make an optimizer step, and which trees a step is computed in.

**The order.** Sharing lives inside an optimizer step, so rows that share should meet in one, and what is
learned must not depend on that. An epoch is dealt like this, afresh from (seed, epoch):

1. Rows are grouped by what they share, at every depth: two rows are in one family if they share at least
   `WORTH` (16) tokens more than the family above does. The rows of a task are a family; so are the questions
   on one passage or one sentence inside it. Rows that share a few words are kept apart as all others are.
2. A family is shuffled and cut into blocks of a step's rows. Its remainder goes up to the family above, where
   the remainders are laid end to end in random order and cut again.
3. All blocks are shuffled. A block is a step.

So each row comes once per epoch, and at each step of the epoch with the same probability. Two things keep a
step of one family from counting for more or less than its rows should: steps are made equally large (100 rows
at 32 a step are 4 steps of 25, not 32, 32, 32 and 4), and a loss is divided by the epoch's *mean* weight of a
step (`train/objectives.py`), so that each trained token weighs the same whichever rows it meets. The price is
noise: consecutive steps differ more from each other than under a plain shuffle where families are large.

The order is a pure function of (rows, seed, epoch), so a step can be computed without those before it: that
is how a run resumes.

**The trees.** A step is one tree if its distinct tokens fit the budget, and else the few trees that lose the
least sharing. Rows are never cut.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np

from espalier.core.errors import DataError
from espalier.encode.tree import build_tree, common_prefix, path_length

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from espalier.core.records import Encoded
    from espalier.encode.tree import Tree

WORTH = 16


def steps_per_epoch(rows: int, size: int) -> int:
    """Return in how many steps of at most `size` rows all rows are seen once."""
    return -(-rows // size)


def schedule_rows(rows: Sequence[Encoded], size: int, seed: int) -> Callable[[int], list[Encoded]]:
    """Return the function from a step's number, counted from 0 over all epochs, to its rows.

    Raises:
        DataError: there is no row.
    """
    if not rows:
        raise DataError("There is no row to train on.")
    order, shared = _sorted(rows)
    steps = steps_per_epoch(len(rows), size)
    even = steps_per_epoch(len(rows), steps)

    @lru_cache(maxsize=1)
    def epoch_blocks(epoch: int) -> list[list[int]]:
        rng = np.random.Generator(np.random.PCG64([seed, epoch]))
        blocks, rest = _deal(range(len(rows)), shared, even, rng)
        blocks += [rest] if rest else []
        return [[order[place] for place in blocks[block]] for block in _shuffled(len(blocks), rng)]

    def rows_at(step: int) -> list[Encoded]:
        epoch, block = divmod(step, steps)
        return [rows[row] for row in epoch_blocks(epoch)[block]]

    return rows_at


def build_trees(rows: Sequence[Encoded], tokens: int) -> list[Tree]:
    """Return the trees of one step's rows, each of at most `tokens` distinct tokens.

    Rows are taken in sorted order, where each shares most with its neighbour. A cut makes the prefix that the
    two rows at it share be computed twice; the cuts are those that cost the fewest tokens in all, and among
    equals the fewest trees.

    Raises:
        DataError: a row alone is longer than the budget.
    """
    order, shared = _sorted(rows)
    new = [path_length(rows[row]) - common for row, common in zip(order, shared, strict=True)]
    best: list[tuple[int, int, int]] = [(0, 0, 0)]  # (tokens computed twice, trees, start of the last tree)
    for end in range(1, len(rows) + 1):
        below, options = 0, list[tuple[int, int, int]]()
        for start in range(end - 1, -1, -1):
            below += new[start]
            if below + shared[start] <= tokens:
                lost, trees, _ = best[start]
                options.append((lost + shared[start], trees + 1, start))
            elif below > tokens:
                break
        if not options:
            row = rows[order[end - 1]]
            raise DataError(
                f"A row has {path_length(row) + 1} tokens, and a tree may have {tokens}.",
                where=row.example,
                hint="Raise train.tokens, or leave the row out.",
            )
        best.append(min(options))
    return [build_tree([rows[order[place]] for place in span]) for span in _spans(best)]


def _spans(best: list[tuple[int, int, int]]) -> list[range]:
    spans: list[range] = []
    end = len(best) - 1
    while end:
        start = best[end][2]
        spans.append(range(start, end))
        end = start
    return spans[::-1]


def _sorted(rows: Sequence[Encoded]) -> tuple[list[int], list[int]]:
    """Return the rows' sorted order, and how many tokens each shares with the one before it."""
    paths = [np.array(row.ids[: path_length(row)], np.int64) for row in rows]
    order = sorted(range(len(rows)), key=lambda row: rows[row].ids[: len(paths[row])])
    return order, [0, *(common_prefix(paths[one], paths[two]) for one, two in pairwise(order))]


def _deal(
    span: range, shared: list[int], size: int, rng: np.random.Generator
) -> tuple[list[list[int]], list[int]]:
    """Cut the family of sorted places `span` into blocks of `size`; return them and the remainder."""
    if len(span) == 1:
        return [], list(span)
    inner = span[1:]
    apart = min(shared[place] for place in inner) + WORTH
    cuts = [span.start, *(place for place in inner if shared[place] < apart), span.stop]
    dealt = [_deal(range(start, stop), shared, size, rng) for start, stop in pairwise(cuts)]
    pool = [place for family in _shuffled(len(dealt), rng) for place in dealt[family][1]]
    full = len(pool) // size * size
    blocks = [block for family_blocks, _ in dealt for block in family_blocks]
    blocks += [pool[start : start + size] for start in range(0, full, size)]
    return blocks, pool[full:]


def _shuffled(size: int, rng: np.random.Generator) -> list[int]:
    return cast("list[int]", rng.permutation(size).tolist())
