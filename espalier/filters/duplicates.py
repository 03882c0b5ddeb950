"""Rows that are the same but for case, signs and spaces, or nearly the same: most pairs of words in common.

Two texts are near duplicates where the Jaccard index of their pairs of neighbouring words (shingles, the ends
counted) is at least a threshold. MinHash finds most such pairs by chance (Broder 1997); for rows as short as
instructions looking for all of them costs no more (`alike.py`), so none is missed, and each is verified.

Of each set of duplicates the first row stays; the others are told with the row that they repeat.
"""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from espalier.core.text import words
from espalier.filters.alike import Alike

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[np.signedinteger[Any]]

THRESHOLD = 0.8
BLOCK = 1 << 20  # shingles that are looked up at once


@dataclass(frozen=True, slots=True)
class Repeats:
    """What a row repeats.

    Attributes:
        row: number of the row that stays.
        value: their Jaccard index, 1.0 where nothing but case, signs and spaces differs.
    """

    row: int
    value: float


def shingles(text: str, size: int = 2) -> frozenset[str]:
    """Return a text's runs of so many neighbouring words, its ends counted as words where size is over 1."""
    found = words(text)
    if size > 1 and found:
        found = ("", *found, "")
    runs = zip(*(found[start:] for start in range(size)), strict=False)
    return frozenset(map(" ".join, runs)) or frozenset(found)


def duplicates(texts: Iterable[str], threshold: float = THRESHOLD, size: int = 2) -> Iterator[Repeats | None]:
    """Yield for each text, in order, None where it stays, or which kept one before it it repeats.

    A row is compared with the rows that stay, and repeats the one that is nearest, the first of equals.

    Args:
        texts: read once.
        threshold: Jaccard index from which on two are near duplicates, over 0 and up to 1.
        size: words of a shingle; 1 compares words whatever their order.
    """
    numbers, ends = _numbered(texts, size)
    alike = Alike(2 * threshold / (1 + threshold))
    same: dict[bytes, int] = {}
    kept: list[int] = []
    for row in range(len(ends) - 1):
        mine = _shared(numbers, ends, row)
        count = int(ends[row + 1] - ends[row])
        elements, lonely = mine.tolist(), count - len(mine)
        if not lonely and (again := same.get(mine.tobytes())) is not None:
            yield Repeats(again, 1.0)
            continue
        best: Repeats | None = None
        wanted = frozenset(elements)
        for place in alike.candidates(elements, lonely):
            other = kept[place]
            common = len(wanted.intersection(_shared(numbers, ends, other).tolist()))
            value = common / (count + int(ends[other + 1] - ends[other]) - common)
            if value >= threshold and (best is None or value > best.value):
                best = Repeats(other, value)
        if best is None:
            if not lonely:
                same[mine.tobytes()] = row
            alike.add(elements, lonely)
            kept.append(row)
        yield best


def _shared(numbers: Numbers, ends: Numbers, row: int) -> Numbers:
    """Return the numbers of a row's shingles that other rows have too, ascending."""
    mine = np.sort(numbers[ends[row] : ends[row + 1]])
    return mine[np.searchsorted(mine, 0) :]


def _numbered(texts: Iterable[str], size: int) -> tuple[Numbers, Numbers]:
    """Return a number for each shingle of all texts, rare ones low and -1 for what one text alone has.

    A long text's shingles are mostly its own, so that keeping them by their words would take the most memory:
    they are told apart by 64 bits of their hash. Where the texts' shingles end comes with them, from 0 on.
    """
    found, ends = array("q"), array("q", [0])
    for text in texts:
        found.extend(map(hash, shingles(text, size)))
        ends.append(len(found))
    hashes = np.frombuffer(found, np.int64) if found else np.zeros(0, np.int64)
    ordered = np.sort(hashes)
    starts = np.flatnonzero(np.diff(ordered, prepend=ordered[:1] - 1))
    counts = np.diff(starts, append=len(ordered))
    known, counts = ordered[starts][counts > 1], counts[counts > 1]
    del ordered, starts
    rank = np.zeros(len(known), np.int32)
    rank[np.argsort(counts, kind="stable")] = np.arange(len(known), dtype=np.int32)
    numbers = np.full(len(hashes), -1, np.int32)
    for start in range(0, len(hashes) if len(known) else 0, BLOCK):
        block = hashes[start : start + BLOCK]
        places = np.minimum(np.searchsorted(known, block), len(known) - 1)
        numbers[start : start + BLOCK] = np.where(known[places] == block, rank[places], -1)
    return numbers, np.frombuffer(ends, np.int64)
