"""How far annotators agree beyond chance: Krippendorff's alpha, with missing labels and an interval.

Krippendorff, "Computing Krippendorff's Alpha-Reliability", 2011; its worked examples are the tests. Alpha is
1 − D_o / D_e: the disagreement within rows against that between any two labels of all rows. 1 is perfect, 0
is chance. Rows with fewer than two labels say nothing of it. The interval is a bootstrap over rows.
"""

from __future__ import annotations

import math
from collections import Counter
from contextlib import suppress
from dataclasses import replace
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from espalier.core.records import Estimate
from espalier.evaluate.statistics import folded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.scoring import Fold

Level: TypeAlias = Literal["nominal", "ordinal", "interval"]
Parts: TypeAlias = "tuple[float, ...]"
MOST_ORDERED = 50  # values of an ordinal scale: a row carries the square of their number


def alpha(
    rows: Sequence[Sequence[object]], level: Level = "nominal", order: Sequence[object] = (), seed: int = 0
) -> Estimate:
    """Return Krippendorff's alpha of the labels that each row was given, without those that are missing.

    Args:
        rows: the labels of each row, in any order, as many as there are.
        level: whether labels are names, ranks, or numbers whose differences count.
        order: the ranks, from the lowest; by default the labels, sorted.
        seed: of the bootstrap.

    Returns:
        The value, NaN where no two labels differ or no row has two; its interval; n is the number of rows
        with two labels, missing that of the others.

    Raises:
        ValueError: numbers were expected, or a label is no rank, or there are too many ranks.
    """
    paired = [row for row in rows if len(row) > 1]
    labels = list(dict.fromkeys(label for row in paired for label in row))
    if level == "interval":
        numbers = {label: _number(label) for label in labels}
        middle = sum(numbers.values()) / max(1, len(numbers))
        parts = [_spread([numbers[label] - middle for label in row]) if len(row) > 1 else () for row in rows]
        fold: Fold = _interval
    elif level == "ordinal":
        ranks = list(order) or sorted(labels, key=_rank)
        if unknown := [label for label in labels if label not in ranks]:
            raise ValueError(f"{unknown[0]!r} is none of the ranks {', '.join(map(str, ranks))}")
        if len(ranks) > MOST_ORDERED:
            raise ValueError(f"there are {len(ranks)} ranks; at most {MOST_ORDERED} were expected")
        parts = [_coincidences(row, ranks) for row in rows]
        fold = _ordinal
    else:
        parts = [_counts(row, labels) for row in rows]
        fold = _nominal
    estimate = folded(parts, [str(number) for number in range(len(rows))], fold, seed)
    return replace(estimate, scale=1.0, high=min(1.0, estimate.high))


def _number(label: object) -> float:
    if isinstance(label, str | int | float) and not isinstance(label, bool):
        with suppress(ValueError):
            number = float(label)
            if math.isfinite(number):
                return number
    raise ValueError(f"{label!r} is no number")


def _rank(label: object) -> tuple[int, float, str]:
    """Return what ranks are sorted by: numbers by their value, before texts."""
    try:
        return 0, _number(label), ""
    except ValueError:
        return 1, 0.0, str(label)


def _counts(row: Sequence[object], labels: Sequence[object]) -> Parts:
    """Return a row's disagreement, and how often each label comes; () where there are no two."""
    if len(row) < 2:
        return ()
    found = Counter(row)
    within = (len(row) ** 2 - sum(count**2 for count in found.values())) / (len(row) - 1)
    return (within, *(float(found[label]) for label in labels))


def _nominal(sums: Sequence[float]) -> float:
    within, *counts = sums
    total = sum(counts)
    return 1 - (total - 1) * within / (total**2 - sum(count**2 for count in counts))


def _spread(values: Sequence[float]) -> Parts:
    """Return a row's disagreement, how many labels it has, their sum, and that of their squares."""
    if len(values) < 2:
        return ()
    count, total, squares = len(values), sum(values), sum(value**2 for value in values)
    return (2 * (count * squares - total**2) / (count - 1), float(count), total, squares)


def _interval(sums: Sequence[float]) -> float:
    within, count, total, squares = sums
    return 1 - (count - 1) * within / (2 * (count * squares - total**2))


def _coincidences(row: Sequence[object], ranks: Sequence[object]) -> Parts:
    """Return the coincidences of a row's labels, ranks by ranks in one line."""
    if len(row) < 2:
        return ()
    found = Counter(row)
    return tuple(
        found[one] * (found[other] - (one == other)) / (len(row) - 1) for one in ranks for other in ranks
    )


def _ordinal(sums: Sequence[float]) -> float:
    size = math.isqrt(len(sums))
    together = np.array(sums).reshape(size, size)
    counts = together.sum(1)
    until = np.cumsum(counts) - counts / 2  # how many labels lie below the middle of each rank
    distance = (until[:, None] - until[None, :]) ** 2
    between = float((np.outer(counts, counts) * distance).sum())
    if not between:
        raise ZeroDivisionError
    return 1 - (float(counts.sum()) - 1) * float((together * distance).sum()) / between
