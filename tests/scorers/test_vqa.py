"""VQA accuracy: the official normalisation, several people, and what one alone does not allow."""

from __future__ import annotations

import pytest

from espalier.core.records import Completion, Example, message
from espalier.evaluate.baselines import point
from espalier.evaluate.measures import metric_of
from espalier.scorers.registry import build_scorer, fitted
from espalier.scorers.vqa import normalised, soft


def row(*references: str) -> Example:
    return Example("1", "t", "1", (message("user", "?"),), references, facts={"row": "…"})


def value(text: str, *references: str, measure: str = "hard") -> float | None:
    scorer = build_scorer("vqa", {"measure": measure}, "x")
    return scorer.score([row(*references)], [Completion("1", text)])[0].value


@pytest.mark.parametrize(
    ("text", "plain"),
    [
        ("The Dog.", "dog"),
        ("two dogs", "2 dogs"),
        ("none", "0"),
        ("t-shirt", "t shirt"),  # no space beside it: it parts
        ("red , white", "red white"),  # one beside it: it goes
        ("1,000", "1000"),  # digits are grouped: every comma goes
        ("black/white, 1,000", "blackwhite 1000"),
        ("3.5", "3.5"),
        ("p.m.", "pm"),
        ("dont know", "don't know"),
        ("couldn'tve", "couldn't've"),
        ("isn't", "isn't"),
        ("a\nbig\tone", "big 1"),
        ("A", "a"),  # the option, not the article: nothing else would be left
        ("", ""),
    ],
)
def test_answers_are_made_alike_as_the_official_evaluation_does(text: str, plain: str) -> None:
    assert normalised(text) == plain


def test_an_answer_is_right_by_any_reference() -> None:
    assert value("It's a red ball", "red ball") == 0
    assert value("The red ball!", "a ball", "red ball") == 1
    assert value("", "a") == 0
    assert value("anything") is None


@pytest.mark.parametrize(
    ("same", "others", "worth"),
    [
        (1, 9, (9 * 1 / 3) / 10),  # who is left out is he once: without him nobody says it
        (2, 8, (8 * 2 / 3 + 2 * 1 / 3) / 10),
        (3, 7, (7 * 1 + 3 * 2 / 3) / 10),
        (4, 6, 1.0),
        (10, 0, 1.0),
        (0, 10, 0.0),
        (3, 0, 2 / 3),  # three people agree, and to each only two others
    ],
)
def test_people_count_as_in_each_ten_that_leave_one_out(same: int, others: int, worth: float) -> None:
    given = ["Yes"] * same + [f"other {i}" for i in range(others)]
    assert value("yes.", *given, measure="soft") == pytest.approx(worth)


def test_one_person_is_not_several_and_people_bound_what_can_be_reached() -> None:
    scorer = build_scorer("vqa", {"measure": "soft"}, "x")
    (alone,) = scorer.score([row("yes")], [Completion("1", "yes")])
    assert alone.value is None
    assert "several people" in alone.why
    split = [row("yes", "yes", "no", "no", "2"), row(*["red"] * 10)]
    metric = metric_of("vqa", fitted(scorer, split))
    assert metric.ceiling == pytest.approx((soft("yes", ["yes", "yes", "no", "no", "2"]) + 1) / 2)
    reached = scorer.score(split, [Completion("1", "Yes"), Completion("1", "red")])
    assert point(metric, reached) == pytest.approx(metric.ceiling)
    assert f"{100 * metric.ceiling:.1f} %" in metric.note
