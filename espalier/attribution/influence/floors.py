"""What needs no model to say which training rows matter to a query: the floors of every influence score.

BM25 (Robertson and Zaragoza 2009) as Lucene has it, the share of tokens that two texts have in common, the
longest rows, and chance. Texts are read by their words (`core/text.py`), prompt and answer together; words
that stand in every row, as a task's definition does, tell nothing: BM25 gives them next to no weight, and of
the overlap they are left out.
"""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.text import words

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

K1, B = 1.2, 0.75


def bm25(queries: Sequence[str], rows: Sequence[str]) -> Floats:
    """Return the score of each row for each query [Q, R]; a row without a word of the query has 0."""
    counts = [Counter(words(row)) for row in rows]
    lengths = np.array([sum(count.values()) for count in counts], np.float64)
    mean = max(float(lengths.mean()), 1.0)
    asked = [set(words(query)) for query in queries]
    found = np.zeros((len(queries), len(rows)))
    for word in set[str]().union(*asked):
        times = np.array([count[word] for count in counts], np.float64)
        holders = int((times > 0).sum())
        rarity = np.log(1 + (len(rows) - holders + 0.5) / (holders + 0.5))
        weight = rarity * times / (times + K1 * (1 - B + B * lengths / mean))
        found[[word in one for one in asked]] += weight
    return found


def overlap(queries: Sequence[str], rows: Sequence[str]) -> Floats:
    """Return the Dice coefficient of each query's and each row's sets of words [Q, R]."""
    held = [frozenset(words(row)) for row in rows]
    everywhere = frozenset.intersection(*held) if len(held) > 1 else frozenset[str]()
    held = [one - everywhere for one in held]
    asked = [frozenset(words(query)) - everywhere for query in queries]
    return np.array(
        [[2 * len(q & r) / max(1, len(q) + len(r)) for r in held] for q in asked], np.float64
    ).reshape(len(queries), len(rows))


def longest(lengths: Sequence[int], queries: int) -> Floats:
    """Return the rows' lengths in tokens, for every query the same [Q, R]."""
    return np.tile(np.array(lengths, np.float64), (queries, 1))


def by_chance(queries: int, rows: int, seed: int) -> Floats:
    """Return numbers drawn at random [Q, R]."""
    return np.random.default_rng(seed).random((queries, rows))
