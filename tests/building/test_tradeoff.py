"""Coverage against accuracy: what each threshold leaves, and where the knee is, if anywhere."""

from __future__ import annotations

import json
from xml.etree import ElementTree

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.building.longtail import long_tail
from espalier.building.tradeoff import tradeoff
from espalier.core.errors import DataError
from espalier.core.records import Example, message
from espalier.report.plots import tail_plot, tradeoff_plot


def test_a_threshold_that_leaves_out_bad_rows_first_has_its_knee_behind_them() -> None:
    # 100 bad rows of low scores and few kinds; 300 good ones, whose kinds go one by one.
    scores = [n / 1000 for n in range(100)] + [0.5 + n / 1000 for n in range(300)]
    passes = [False] * 100 + [True] * 300
    kinds = {"verb": [f"v{n % 300}" for n in range(100)] + [f"v{n}" for n in range(300)]}
    found = tradeoff(scores, passes, kinds)
    assert found.points[0].threshold is None
    assert found.points[0].passing.value == 0.75
    assert found.knee is not None
    knee = found.points[found.knee]
    assert 0.45 < (knee.threshold or 0) <= 0.55
    assert knee.passing.value == 1
    assert knee.coverage > 0.9
    assert json.loads(json.dumps(found.as_json()))["knee"] == found.knee
    ElementTree.fromstring(tradeoff_plot(found, "Verbs & <kinds>"))


def test_low_scores_may_be_the_good_ones() -> None:
    scores = [0.1] * 60 + [0.5] * 20 + [0.9] * 40
    passes = [True] * 80 + [False] * 40
    kinds = {"task": ["a", "b"] * 40 + ["a"] * 40}
    found = tradeoff(scores, passes, kinds, keep="under")
    assert [point.threshold for point in found.points] == [None, 0.5, 0.1]
    assert [point.rows for point in found.points] == [120, 80, 60]
    assert found.knee is not None
    assert found.points[found.knee].passing.value == 1


def test_a_handful_of_rows_at_the_end_hides_no_knee() -> None:
    # Scores tell good rows from bad ones, but for the very highest, of which there are three.
    scores = [n / 1000 for n in range(1000)] + [5.0, 6.0, 7.0]
    passes = [n % 2 == 0 if n < 500 else n % 20 > 0 for n in range(1000)] + [True] * 3
    found = tradeoff(scores, passes, {"verb": [f"v{n % 40}" for n in range(1003)]})
    assert found.knee is not None
    knee = found.points[found.knee]
    assert knee.passing.n >= 30
    assert 0.9 < knee.passing.value < 1


@pytest.mark.parametrize(
    ("passes", "sentence"),
    [
        ([n % 2 == 0 for n in range(200)], "beyond its interval"),
        ([True] * 200, "beyond its interval"),
        ([None] * 198 + [True, False], "beyond its interval"),
    ],
)
def test_where_strictness_wins_nothing_there_is_no_knee(passes: list[bool | None], sentence: str) -> None:
    scores = [n / 200 for n in range(200)]
    found = tradeoff(scores, passes, {"verb": [f"v{n}" for n in range(200)]})
    assert found.knee is None
    assert sentence in found.why
    ElementTree.fromstring(tradeoff_plot(found, "Verbs"))


def test_rows_without_a_score_stay() -> None:
    found = tradeoff([None, 0.1, 0.9], [True, False, True], {"task": ["a", "b", "b"]})
    assert [point.rows for point in found.points] == [3, 2]
    assert found.points[-1].covered == {"task": 1.0}


@given(st.lists(st.tuples(st.floats(0, 1), st.sampled_from([True, False, None])), min_size=3, max_size=80))
def test_a_stricter_threshold_never_covers_more(drawn: list[tuple[float, bool | None]]) -> None:
    passes = [True, *(verdict for _, verdict in drawn)]
    scores = [0.5, *(score for score, _ in drawn)]
    kinds = {"a": [f"{n % 7}" for n in range(len(scores))], "b": [""] * len(scores)}
    found = tradeoff(scores, passes, kinds)
    for before, after in zip(found.points, found.points[1:], strict=False):
        assert after.rows < before.rows
        assert after.coverage <= before.coverage
    assert all(
        point.rows == sum(s >= point.threshold for s in scores)
        for point in found.points[1:]
        if point.threshold is not None
    )


@pytest.mark.parametrize(
    ("scores", "passes", "kinds"),
    [([None], [True], ["a"]), ([0.5], [None], ["a"]), ([0.5], [True], [""])],
)
def test_what_cannot_be_swept_is_refused(
    scores: list[float | None], passes: list[bool | None], kinds: list[str]
) -> None:
    with pytest.raises(DataError):
        tradeoff(scores, passes, {"task": kinds})


def test_the_tail_is_drawn() -> None:
    rows = [
        Example(str(n), "t", "", (message("user", "x"), message("assistant", "y", trained=True)))
        for n in range(5)
    ]
    drawn = tail_plot(long_tail(rows, {"verb": list("aaabc"), "topic": [""] * 5}), "Kinds")
    texts = [node.text for node in ElementTree.fromstring(drawn).iter() if node.tag.endswith("text")]
    assert "verb" in texts
    assert "topic" not in texts
