"""Comparing two systems row by row: the same examples, the difference paired, the interval by source."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError
from espalier.evaluate.statistics import detectable, paired_difference, plain

if TYPE_CHECKING:
    from collections.abc import Mapping

    from espalier.core.records import Estimate


@dataclass(frozen=True, slots=True)
class Difference:
    """The mean of a − b with its interval, and on how many rows a was better, worse, or the same.

    `detectable` is the true difference that rows as many and as varied would show in 80 of 100 repetitions.
    """

    estimate: Estimate
    better: int
    worse: int
    same: int
    detectable: float

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        power = {"detectable": None if self.detectable != self.detectable else self.detectable}
        counts = {"better": self.better, "worse": self.worse, "same": self.same}
        return {**plain(self.estimate), **counts, **power}


def compare(
    a: Mapping[str, float | None],
    b: Mapping[str, float | None],
    sources: Mapping[str, str],
    seed: int = 0,
    *,
    lower: bool = False,
) -> Difference:
    """Compare two systems' values, each keyed by example id; `sources` gives the cluster of each example.

    Better is higher, or with `lower` lower; the difference is a − b all the same.

    Raises:
        DataError: the two were not scored on the same examples; an example that only one has is named.
    """
    if a.keys() != b.keys():
        alone = sorted(a.keys() ^ b.keys())
        raise DataError(
            f"The two systems answered different examples: {len(a)} and {len(b)}, {len(alone)} not shared.",
            where=f"example {alone[0]}",
            hint="Score both on the same test rows.",
        )
    ids = list(a)
    x, y = [a[i] for i in ids], [b[i] for i in ids]
    pairs = [(p, q) for p, q in zip(x, y, strict=True) if p is not None and q is not None]
    estimate = paired_difference(x, y, [sources[i] for i in ids], seed)
    return Difference(
        estimate,
        better=sum((p < q) if lower else (p > q) for p, q in pairs),
        worse=sum((p > q) if lower else (p < q) for p, q in pairs),
        same=sum(p == q for p, q in pairs),
        detectable=detectable(estimate),
    )
