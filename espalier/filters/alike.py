"""Rows that have most of their elements in common, found without a look at every pair, and none is missed.

Two rows of m and n elements with o in common are alike by 2 o / (m + n) (Dice). Where that has to be at least
d, o is at least d (m + n) / 2. So of the elements of both, sorted from the rarest on, the first m - o + 1 and
n - o + 1 must have one in common: only rows that share one of a few rare elements are compared, and only
those of a fitting size (prefix filtering; Bayardo, Ma and Srikant, "Scaling Up All Pairs Similarity Search",
2007).

An element that a row has twice is two elements, so that what is in common bounds any measure that matches
each word once, such as the longest common subsequence.
"""

from __future__ import annotations

import math
from bisect import bisect_right
from collections import Counter
from itertools import chain
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Hashable, Iterable, Sequence

GROUPS = 1 << 12
# Where the groups begin that sizes are put in: each small one is its own, large ones differ by a twentieth.
STARTS = [0]
while STARTS[-1] < 1 << 40:
    STARTS.append(max(STARTS[-1] + 1, STARTS[-1] * 21 // 20))
SLACK = 1e-9  # a sum of floats may fall short of a threshold that the exact one reaches


class Ranks:
    """Numbers for the elements of rows, such that rare ones come first."""

    def __init__(self, rows: Iterable[Iterable[Hashable]]) -> None:
        counts = Counter(chain.from_iterable(rows))
        self._seen: dict[Hashable, int] = {
            element: number
            for number, (element, _) in enumerate(sorted(counts.items(), key=lambda item: item[1]), start=1)
        }
        self._new = 0  # what no row had is rarer than all: -1, -2, …
        self._again: dict[tuple[int, int], int] = {}

    def sorted(self, elements: Iterable[Hashable]) -> list[int]:
        """Return an ascending number for each element, and others for those that the row has again."""
        numbers: list[int] = []
        counts: dict[int, int] = {}
        for element in elements:
            number = self._number(element)
            times = counts[number] = counts.get(number, 0) + 1
            numbers.append(number if times == 1 else self._repeated(number, times))
        numbers.sort()
        return numbers

    def _number(self, element: Hashable) -> int:
        number = self._seen.get(element)
        if number is None:
            self._new -= 1
            number = self._seen[element] = self._new
        return number

    def _repeated(self, number: int, times: int) -> int:
        key = (number, times)
        if key not in self._again:
            self._new -= 1
            self._again[key] = self._new
        return self._again[key]


class Alike:
    """Rows that were added, and which of them another row may be alike to.

    Args:
        least: the Dice coefficient of elements from which on two rows count as alike, over 0 and up to 1.
    """

    def __init__(self, least: float) -> None:
        self._least = least
        self._rows = 0
        # By element and group of the row's size, in one number: a row, or several.
        self._holders: dict[int, int | list[int]] = {}
        self._prefixes: dict[int, list[tuple[int, int]]] = {}

    def add(self, elements: Sequence[int], lonely: int = 0) -> int:
        """Add a row and return its number, counted from 0.

        Args:
            elements: its elements, numbered such that rare ones come first, and sorted.
            lonely: how many more it has that no other row ever will; they are the rarest, and not searched.
        """
        row, size = self._rows, len(elements) + lonely
        self._rows += 1
        longest = max((prefix for _, prefix in self._fitting(size)), default=0)
        group, holders = _group(size), self._holders
        for element in elements[: max(0, longest - lonely)]:
            key = element * GROUPS + group
            held = holders.get(key)
            if held is None:
                holders[key] = row
            elif isinstance(held, int):
                holders[key] = [held, row]
            else:
                held.append(row)
        return row

    def candidates(self, elements: Sequence[int], lonely: int = 0) -> list[int]:
        """Return the numbers of all rows that may be alike to this one, ascending, and of few others."""
        found: set[int] = set()
        holders = self._holders
        for group, prefix in self._fitting(len(elements) + lonely):
            for element in elements[: max(0, prefix - lonely)]:
                held = holders.get(element * GROUPS + group)
                if isinstance(held, int):
                    found.add(held)
                elif held:
                    found.update(held)
        return sorted(found)

    def _fitting(self, size: int) -> list[tuple[int, int]]:
        """Return the groups of sizes that rows alike to one of this size have, each with a prefix's length.

        That much of this row has to be searched: a row of such a size that has none of it in its own prefix
        cannot have enough in common. As the other row is added with its longest prefix, this shorter one
        misses nothing, and leaves out what all rows of one pattern share.
        """
        if size not in self._prefixes:
            share = self._least / (2 - self._least)
            low, high = max(1, math.ceil(size * share - SLACK)), math.floor(size / share + SLACK)
            found: list[tuple[int, int]] = []
            for group in range(_group(low), _group(high) + 1) if size else ():
                smallest = max(low, STARTS[group])
                common = math.ceil(self._least / 2 * (size + smallest) - SLACK)
                found.append((group, size - common + 1))
            self._prefixes[size] = found
        return self._prefixes[size]


def _group(size: int) -> int:
    """Return the number of the group of sizes that this one is in."""
    return bisect_right(STARTS, size) - 1
