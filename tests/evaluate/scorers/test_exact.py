from __future__ import annotations

import pytest

from espalier.core.records import Completion, Example, message
from espalier.evaluate.scorers.exact import normalised
from espalier.evaluate.scorers.registry import scorers


@pytest.mark.parametrize(
    ("text", "expected"),
    [("  The  Answer!\n", "the answer"), ("don't", "dont"), ("", ""), ("?!", ""), ("a–b", "a–b")],
)
def test_normalisation_keeps_articles(text: str, expected: str) -> None:
    assert normalised(text) == expected


def test_one_equal_reference_is_enough() -> None:
    scorer = scorers.build("exact_match", {})
    row = Example("a", "t", "s", (message("user", "?"),), references=("Yes.", "True"))
    assert [scorer.score(row, Completion("a", text)).value for text in ("yes", "TRUE", "no", "the yes")] == [
        1,
        1,
        0,
        0,
    ]
    unscored = Example("b", "t", "s", (message("user", "?"), message("assistant", "x", trained=True)))
    assert scorer.score(unscored, Completion("b", "x")).value is None
