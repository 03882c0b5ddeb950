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

A row stands here for an example with all its rows: a pair, or a prompt that the model will answer.

**The trees.** A step is one tree if its distinct tokens fit half the budget, and else the few trees that lose
the least sharing; the other half is used where a cut would compute much twice. Memory grows with the largest
tree, and large trees are no faster than a few of about 2,000 tokens. Rows are never cut, and rows that a loss
compares (a group) are never in two trees.
"""

from __future__ import annotations

from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING, cast

import numpy as np

from espalier.core.errors import DataError
from espalier.encode.tree import TreeStats, build_tree, common_prefix, path_length

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from espalier.core.records import Encoded
    from espalier.encode.tokens import Unit
    from espalier.encode.tree import Tree

WORTH = 16
# What a tree's token in the second half of the budget costs, for its memory: this part of one computed twice.
PRICE = 1 / 8


def steps_per_epoch(rows: int, size: int) -> int:
    """Return in how many steps of at most `size` rows all rows are seen once."""
    return -(-rows // size)


def schedule(units: Sequence[Unit], size: int, seed: int) -> Callable[[int], list[Unit]]:
    """Return the function from a step's number, counted from 0 over all epochs, to its units.

    Raises:
        DataError: there is no row.
    """
    if not units:
        raise DataError("There is no row to train on.")
    order, shared = _sorted([_trunk(unit.rows, unit.prompt) for unit in units])
    steps = steps_per_epoch(len(units), size)
    even = steps_per_epoch(len(units), steps)

    @lru_cache(maxsize=1)
    def epoch_blocks(epoch: int) -> list[list[int]]:
        rng = np.random.Generator(np.random.PCG64([seed, epoch]))
        blocks, rest = _deal(range(len(units)), shared, even, rng)
        blocks += [rest] if rest else []
        return [[order[place] for place in blocks[block]] for block in _shuffled(len(blocks), rng)]

    def units_at(step: int) -> list[Unit]:
        epoch, block = divmod(step, steps)
        return [units[unit] for unit in epoch_blocks(epoch)[block]]

    return units_at


def in_turn(units: Sequence[Unit], size: int) -> Callable[[int], list[Unit]]:
    """Return the function from a step's number to its units, which come in their order, epoch after epoch.

    Steps are full but for an epoch's last, so that those of a set are the first of any set that goes on.

    Raises:
        DataError: there is no row.
    """
    if not units:
        raise DataError("There is no row to train on.")
    steps = steps_per_epoch(len(units), size)

    def units_at(step: int) -> list[Unit]:
        start = step % steps * size
        return [*units[start : start + size]]

    return units_at


def build_trees(groups: Sequence[Sequence[Encoded]], tokens: int) -> list[Tree]:
    """Return the trees of one step's groups of rows, see `rows_of_trees`. Raises DataError."""
    return [build_tree(rows) for rows in rows_of_trees(groups, tokens)]


def tree_sizes(groups: Sequence[Sequence[Encoded]], tokens: int) -> list[TreeStats]:
    """Return the `stats` of `build_trees`, and build none. Raises DataError."""
    trees = rows_of_trees(groups, tokens)
    return [TreeStats(sum(map(path_length, rows)), group_size(rows)) for rows in trees]


def rows_of_trees(groups: Sequence[Sequence[Encoded]], tokens: int) -> list[list[Encoded]]:
    """Return the rows of each tree of one step, of at most `tokens` distinct tokens.

    Groups are taken in sorted order, where each shares most with its neighbour. A cut makes the prefix that
    the two groups at it share be computed twice; the cuts are those that cost the fewest tokens in all, where
    each beyond half the budget costs `PRICE`, and among equals the fewest trees. A group is taken to share
    with its neighbours what all its rows share.

    Raises:
        DataError: a group alone is larger than the budget.
    """
    order, shared = _sorted([_trunk(group) for group in groups])
    new = [group_size(groups[at]) - common for at, common in zip(order, shared, strict=True)]
    best: list[tuple[float, int, int]] = [(0, 0, 0)]  # (cost in tokens, trees, start of the last tree)
    for end in range(1, len(groups) + 1):
        below, options = 0, list[tuple[float, int, int]]()
        for start in range(end - 1, -1, -1):
            below += new[start]
            if (size := below + shared[start]) <= tokens:
                cost, trees, _ = best[start]
                cost += shared[start] + PRICE * max(0, size - tokens // 2)
                options.append((cost, trees + 1, start))
            elif below > tokens:
                break
        if not options:
            group = groups[order[end - 1]]
            raise DataError(
                f"An example has {group_size(group) + 1} tokens, and a tree may have {tokens}.",
                where=group[0].example,
                hint="Raise train.tokens, or leave the example out.",
            )
        best.append(min(options))
    return [[row for place in span for row in groups[order[place]]] for span in _spans(best)]


def group_size(group: Sequence[Encoded]) -> int:
    """Return how many distinct tokens the rows of a group are laid out in."""
    if len(group) == 1:
        return path_length(group[0])
    paths = sorted(row.ids[: path_length(row)] for row in group)
    return sum(map(len, paths)) - sum(map(common_prefix, paths, paths[1:]))


def _spans(best: list[tuple[float, int, int]]) -> list[range]:
    spans: list[range] = []
    end = len(best) - 1
    while end:
        start = best[end][2]
        spans.append(range(start, end))
        end = start
    return spans[::-1]


def _trunk(rows: Sequence[Encoded], prompt: tuple[int, ...] = ()) -> tuple[int, ...]:
    """Return the tokens that are laid out in common for all the rows; the prompt where there is none."""
    if not rows:
        return prompt
    paths = [row.ids[: path_length(row)] for row in rows]
    first = min(paths)
    return first if len(paths) == 1 else first[: common_prefix(first, max(paths))]


def _sorted(paths: Sequence[tuple[int, ...]]) -> tuple[list[int], list[int]]:
    """Return the paths' sorted order, and how many tokens each shares with the one before it."""
    order = sorted(range(len(paths)), key=paths.__getitem__)
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


def groups_of(rows: Sequence[Encoded]) -> list[list[Encoded]]:
    """Return the rows in groups that a loss may compare: an example's own together, each sample by itself."""
    groups: dict[tuple[str, int], list[Encoded]] = {}
    for place, row in enumerate(rows):
        key = (row.example, place if row.role == "sample" else -1)
        groups.setdefault(key, []).append(row)
    return list(groups.values())
