"""Rows that are the same but for case, signs and spaces, or nearly the same: most pairs of words in common.

Two texts are near duplicates where the Jaccard index of their pairs of neighbouring words (shingles, the ends
counted) is at least a threshold. MinHash finds most such pairs by chance (Broder 1997); for rows as short as
instructions looking for all of them costs no more (`alike.py`), so none is missed, and each is verified.

Of each set of duplicates the first row stays; the others are told with the row that they repeat.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.text import words
from espalier.filters.alike import Alike, Ranks

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

THRESHOLD = 0.8


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


def duplicates(texts: Sequence[str], threshold: float = THRESHOLD, size: int = 2) -> Iterator[Repeats | None]:
    """Yield for each text, in order, None where it stays, or which kept one before it it repeats.

    A row is compared with the rows that stay, and repeats the one that is nearest, the first of equals.

    Args:
        texts: read twice.
        threshold: Jaccard index from which on two are near duplicates, over 0 and up to 1.
        size: words of a shingle; 1 compares words whatever their order.
    """
    ranks = Ranks(shingles(text, size) for text in texts)
    alike = Alike(2 * threshold / (1 + threshold))
    same: dict[tuple[int, ...], int] = {}
    kept: list[tuple[int, ...]] = []
    rows: list[int] = []
    for number, text in enumerate(texts):
        elements = tuple(ranks.sorted(shingles(text, size)))
        if elements in same:
            yield Repeats(rows[same[elements]], 1.0)
            continue
        near = _nearest(elements, alike.candidates(elements), kept, threshold)
        if near is not None:
            yield Repeats(rows[near[0]], near[1])
            continue
        same[elements] = alike.add(elements)
        kept.append(elements)
        rows.append(number)
        yield None


def _nearest(
    elements: Sequence[int], candidates: Iterable[int], kept: Sequence[Sequence[int]], threshold: float
) -> tuple[int, float] | None:
    mine, best = frozenset(elements), None
    for candidate in candidates:
        theirs = kept[candidate]
        common = len(mine.intersection(theirs))
        value = common / (len(mine) + len(theirs) - common)
        if value >= threshold and (best is None or value > best[1]):
            best = candidate, value
    return best
