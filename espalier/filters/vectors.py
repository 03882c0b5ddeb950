"""Texts as sparse vectors of their words (TF-IDF), and which of them point the same way.

The weight of a feature is 1 + log of how often a text has it, times the log of how rare it is over all texts;
vectors have length 1, so that their product is the cosine. Nothing is downloaded, and every script has
features.
"""

from __future__ import annotations

from collections import Counter
from functools import cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from espalier.core.text import kinds, words
from espalier.filters.alike import SLACK

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from numpy.typing import NDArray

SIZE = 4  # characters of a piece of a word
BLOCK = 512  # rows whose products are made at once


def word_features(text: str) -> list[str]:
    """Return a text's words; of scripts without spaces, each two letters that stand side by side."""
    found = words(text)
    if text.isascii():
        return [*found]
    dense = [kinds(word)[:1] == "c" for word in found]
    pairs = [a + b for a, b, one, two in zip(found, found[1:], dense, dense[1:], strict=False) if one and two]
    return [word for word, one in zip(found, dense, strict=True) if not one] + (pairs or [*found])


def piece_features(text: str) -> list[str]:
    """Return a text's words and their pieces of `SIZE` characters, so that forms of one word are alike."""
    found = word_features(text)
    pieces = [
        f"_{piece}"
        for word in found
        for padded in [f" {word} "]
        for piece in (padded[at : at + SIZE] for at in range(max(1, len(padded) - SIZE + 1)))
    ]
    return [*found, *pieces]


def vectors(
    texts: Iterable[str], features: Callable[[str], Sequence[str]] = piece_features, least: int = 1
) -> tuple[Any, list[str]]:
    """Return texts as vectors of length 1, a SciPy CSR matrix [T, F] from rare features to frequent ones.

    Args:
        texts: a text without a feature gets a vector of zeros.
        features: text to its features.
        least: texts that a feature has to be in.

    Returns:
        The matrix, and the feature of each column.
    """
    codes: dict[str, int] = {}
    ids: list[int] = []
    times: list[int] = []
    bounds = [0]
    for text in texts:
        for feature, count in Counter(features(text)).items():
            ids.append(codes.setdefault(feature, len(codes)))
            times.append(count)
        bounds.append(len(ids))
    rows, columns = np.array(bounds), np.array(ids, np.int64)
    frequency = np.bincount(columns, minlength=len(codes))
    order = np.argsort(frequency, kind="stable")
    order = order[frequency[order] >= least]
    place = np.full(len(codes), -1, np.int64)
    place[order] = np.arange(len(order))
    weight = np.log((1 + len(bounds) - 1) / (1 + frequency)) + 1
    values = (1 + np.log(np.array(times, np.float64))) * weight[columns] if ids else np.zeros(0)
    kept = place[columns] >= 0
    starts = np.concatenate(([0], np.cumsum(kept)))[rows]
    matrix = _sparse().csr_matrix(
        (values[kept], place[columns[kept]], starts), shape=(len(bounds) - 1, len(order))
    )
    matrix.sort_indices()
    norms = np.sqrt(np.asarray(matrix.multiply(matrix).sum(axis=1)).ravel())
    matrix.data /= np.repeat(np.where(norms > 0, norms, 1.0), np.diff(matrix.indptr))
    names = list(codes)
    return matrix, [names[int(code)] for code in order]


def near_pairs(matrix: Any, least: float) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float64]]]:
    """Yield each row, in order, with the rows before it whose cosine is at least `least`, and those cosines.

    None is missed: of each row the frequent features are set aside as long as what they weigh together stays
    under `least`. Two rows that have no other feature in common cannot be so near, as the common part of what
    is set aside is at most its weight. What is left is few and rare, and only rows that share some of it are
    compared, with all of their features.

    Args:
        matrix: vectors of length 1 or 0, columns from rare to frequent.
        least: over 0 and up to 1.
    """
    rare = _rare_part(matrix, least)
    others = rare.T.tocsc()
    for start in range(0, matrix.shape[0], BLOCK):
        shared = (rare[start : start + BLOCK] @ others).tocoo()
        mine, theirs = shared.row.astype(np.int64) + start, shared.col.astype(np.int64)
        before = theirs < mine
        mine, theirs = mine[before], theirs[before]
        order = np.lexsort((theirs, mine))
        mine, theirs = mine[order], theirs[order]
        cosines = _products(matrix, mine, theirs)
        near = cosines >= least - SLACK
        mine, theirs, cosines = mine[near], theirs[near], cosines[near]
        stop = min(start + BLOCK, matrix.shape[0])
        cuts = np.searchsorted(mine, np.arange(start, stop + 1))
        for row in range(start, stop):
            part = slice(int(cuts[row - start]), int(cuts[row - start + 1]))
            yield row, theirs[part], np.minimum(cosines[part], 1.0)


def _rare_part(matrix: Any, least: float) -> Any:
    """Return the features of each row that are left when as many of the last are set aside as may be."""
    squares = matrix.data**2
    sums = np.concatenate(([0.0], np.cumsum(squares)))
    ends = np.repeat(sums[matrix.indptr[1:]], np.diff(matrix.indptr))
    # What a feature and those after it in its row weigh together.
    rest = ends - sums[:-1]
    kept = rest >= (least - SLACK) ** 2
    starts = np.concatenate(([0], np.cumsum(kept)))[matrix.indptr]
    return _sparse().csr_matrix((matrix.data[kept], matrix.indices[kept], starts), shape=matrix.shape)


def _products(matrix: Any, mine: NDArray[np.int64], theirs: NDArray[np.int64]) -> NDArray[np.float64]:
    """Return the products of pairs of rows, in parts that stay small."""
    parts = [
        np.asarray(
            matrix[mine[at : at + 65536]].multiply(matrix[theirs[at : at + 65536]]).sum(axis=1)
        ).ravel()
        for at in range(0, len(mine), 65536)
    ]
    return np.concatenate(parts) if parts else np.zeros(0)


@cache
def _sparse() -> Any:
    """Return scipy.sparse; late, because it takes a fifth of a second, and untyped."""
    return cast("Any", import_module("scipy.sparse"))
