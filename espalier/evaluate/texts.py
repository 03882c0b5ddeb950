"""Scoring texts that a program holds, without a task."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError
from espalier.core.records import Completion, Example, message
from espalier.evaluate.compare import estimate
from espalier.evaluate.measures import metric_of, scores_by
from espalier.scorers.registry import build_scorer, fitted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.core.records import Estimate


def score_texts(
    kind: str,
    predictions: Sequence[str],
    references: Sequence[str | Sequence[str]],
    sources: Sequence[str] | None = None,
    settings: Mapping[str, Any] | None = None,
) -> Estimate:
    """Return what texts score against their references; see `espalier.score`."""
    for what, given in (("references", references), ("sources", sources)):
        if isinstance(given, str) or (given is not None and len(given) != len(predictions)):
            raise DataError(
                f"There are {len(given)} {what} to {len(predictions)} predictions.",
                hint="Give a list with one entry for each prediction.",
            )
    examples = [
        Example(
            id=str(number),
            task="texts",
            source=sources[number] if sources else str(number),
            messages=(message("user", ""),),
            references=(reference,) if isinstance(reference, str) else tuple(reference),
        )
        for number, reference in enumerate(references)
    ]
    scorer = fitted(build_scorer(kind, settings or {}, "scorer"), examples)
    answers = [Completion(example.id, text) for example, text in zip(examples, predictions, strict=True)]
    scores = scores_by(scorer, examples, answers, f"'{kind}'")
    return estimate(metric_of(kind, scorer), scores, [example.source for example in examples])
