"""CIDEr-D written down as its paper and its published code define it, over all runs of words there are."""

from __future__ import annotations

import math
from collections.abc import Sequence

Words = Sequence[str]


def _runs(words: Words, size: int) -> list[tuple[str, ...]]:
    return [tuple(words[start : start + size]) for start in range(len(words) - size + 1)]


def cider_d(said: Sequence[Words], given: Sequence[Sequence[Words]]) -> list[float]:
    """Return each picture's value, from its caption's words and those of its references."""

    def weight(run: tuple[str, ...]) -> float:
        having = sum(any(run in _runs(words, len(run)) for words in references) for references in given)
        return math.log(len(given)) - math.log(max(1, having))

    def alike(ours: Words, theirs: Words, size: int) -> float:
        every = sorted({*_runs(ours, size), *_runs(theirs, size)})
        a = [_runs(ours, size).count(run) * weight(run) for run in every]
        b = [_runs(theirs, size).count(run) * weight(run) for run in every]
        length = math.sqrt(sum(x * x for x in a)) * math.sqrt(sum(y * y for y in b))
        found = sum(min(x, y) * y for x, y in zip(a, b, strict=True)) / length if length else 0.0
        apart = max(0, len(ours) - 1) - max(0, len(theirs) - 1)
        return found * math.exp(-(apart**2) / (2 * 6.0**2))

    return [
        10
        * sum(alike(ours, theirs, size) for theirs in references for size in (1, 2, 3, 4))
        / 4
        / len(references)
        for ours, references in zip(said, given, strict=True)
    ]
