from __future__ import annotations

import pytest

from espalier.core.errors import DataError
from espalier.evaluate.compare import compare

SOURCES = {"a": "s1", "b": "s1", "c": "s2", "d": "s3"}


def test_counts_rows_and_pairs_by_id_not_by_order() -> None:
    ours = {"a": 0.9, "b": 0.5, "c": 0.5, "d": None}
    theirs = {"d": 0.1, "c": 0.7, "b": 0.5, "a": 0.1}
    result = compare(ours, theirs, SOURCES)
    assert (result.better, result.worse, result.same) == (1, 1, 1)
    assert result.estimate.value == pytest.approx(0.2)
    assert (result.estimate.n, result.estimate.missing) == (3, 1)
    assert result.plain()["detectable"] > 0


def test_refuses_systems_that_answered_different_examples() -> None:
    with pytest.raises(DataError, match=r"different examples: 2 and 1, 1 not shared") as error:
        compare({"a": 1.0, "b": 1.0}, {"a": 1.0}, SOURCES)
    assert error.value.where == "example b"


def test_what_is_not_known_is_null() -> None:
    assert compare({"a": 0.5}, {"a": 0.2}, SOURCES).plain()["detectable"] is None
