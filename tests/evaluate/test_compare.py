from __future__ import annotations

import pytest

from espalier.core.errors import DataError
from espalier.core.records import Metric, Score
from espalier.evaluate.compare import compare_scores

SOURCES = {"a": "s1", "b": "s1", "c": "s2", "d": "s3"}
SHARE = Metric("Share")


def scored(**values: float | None) -> dict[str, Score]:
    return {name: Score(value) for name, value in values.items()}


def test_counts_rows_and_pairs_by_id_not_by_order() -> None:
    ours = scored(a=0.9, b=0.5, c=0.5, d=None)
    theirs = scored(d=0.1, c=0.7, b=0.5, a=0.1)
    result = compare_scores(ours, theirs, SOURCES, SHARE)
    assert (result.better, result.worse, result.same) == (1, 1, 1)
    assert result.estimate.value == pytest.approx(0.2)
    assert (result.estimate.n, result.estimate.missing) == (3, 1)
    assert result.plain()["detectable"] > 0


def test_better_is_what_the_metric_says() -> None:
    ours, theirs = scored(a=0.9, b=0.5, c=0.4), scored(a=0.1, b=0.5, c=0.7)
    result = compare_scores(ours, theirs, SOURCES, Metric("Waste", better="lower", scale=1.0))
    assert (result.better, result.worse, result.same) == (1, 1, 1)
    assert result.estimate.value > 0
    assert result.estimate.scale == 1.0


def test_refuses_systems_that_answered_different_examples() -> None:
    with pytest.raises(DataError, match=r"different examples: 2 and 1, 1 not shared") as error:
        compare_scores(scored(a=1.0, b=1.0), scored(a=1.0), SOURCES, SHARE)
    assert error.value.where == "example b"


def test_what_is_not_known_is_null() -> None:
    assert compare_scores(scored(a=0.5), scored(a=0.2), SOURCES, SHARE).plain()["detectable"] is None
