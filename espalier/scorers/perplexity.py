"""Perplexity out of a file of log-probabilities: what a model finds of texts that it did not write itself.

Sums over rows, never means: a long row has as many tokens as it has. Two models' perplexities compare only
where their tokens are the same.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError
from espalier.core.files import read_jsonl
from espalier.core.records import Metric, Score

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


def _fold(sums: Sequence[float]) -> float:
    return math.exp(-sums[0] / sums[1])


PERPLEXITY = Metric(
    "Perplexity",
    better="lower",
    note="Per token: of models with other tokens it says nothing.",
    scale=1.0,
    fold=_fold,
)


def read_logprobs(path: Path) -> tuple[list[str], list[Score]]:
    """Return the source of each line, which is its id where it has one, and its log-probability as a score.

    A line is {"logprob": sum in nats, "tokens": count} or {"logprobs": [of each token]}, with "id" or not.

    Raises:
        DataError: a line is neither, is not finite, above 0, without a token, or there is none.
    """
    sources: list[str] = []
    scores: list[Score] = []
    for number, item in read_jsonl(path):
        total, count = _sum(item, f"{path}:{number}")
        sources.append(str(item.get("source", item.get("id", number))))
        scores.append(Score(math.exp(min(-total / count, 700.0)), parts=(total, float(count))))
    if not scores:
        raise DataError("The file is empty.", where=str(path))
    return sources, scores


def _sum(item: dict[str, Any], where: str) -> tuple[float, int]:
    match item:
        case {"logprobs": [*each]} if each:
            values, count = each, len(each)
        case {"logprob": float() | int() as total, "tokens": int(count)} if count > 0:
            values = [total]
        case _:
            raise DataError(
                'A line should be {"logprob": sum, "tokens": count} or {"logprobs": [number, …]}.',
                where=where,
            )
    if not all(isinstance(one, float | int) and math.isfinite(one) and one <= 0 for one in values):
        raise DataError("A log-probability is no number, not finite, or above 0.", where=where)
    return math.fsum(cast("Sequence[float]", values)), count
