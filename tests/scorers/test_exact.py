from __future__ import annotations

import string

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.records import Completion, Example, Score, Scorer, message
from espalier.scorers.registry import scorers


def judged(scorer: Scorer, row: Example, completion: Completion) -> Score:
    return scorer.score([row], [completion])[0]


@pytest.mark.parametrize(
    ("answer", "reference", "equal"),
    [
        ("  The  Answer!\n", "the answer", 1),
        ("the yes", "yes", 0),
        ("“Да”.", "да", 1),
        ("是的。", "是的", 1),
        ("ＹＥＳ", "yes", 1),
        ("cafe\u0301", "Café", 1),
        ("STRASSE", "Straße", 1),
        ("İYİ", "iyi", 1),
        ("हाँ।", "हाँ", 1),
        ("हा", "हाँ", 0),
        ("+", "-", 0),
        ("", "+", 0),
        ("?", "", 0),
        ("😀", "😀", 1),
        ("😀", "😡", 0),
    ],
)
def test_case_punctuation_and_composition_do_not_count(answer: str, reference: str, equal: int) -> None:
    row = Example("a", "t", "s", (message("user", "?"),), references=(reference,))
    assert judged(scorers.build("exact_match", {}), row, Completion("a", answer)).value == equal


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=20), st.text(alphabet="aB .,!'$", max_size=6))
def test_on_ascii_it_is_the_official_one(answer: str, reference: str) -> None:
    def official(text: str) -> str:
        return " ".join("".join(c for c in text.lower() if c not in string.punctuation).split())

    if official(answer) and official(reference):
        row = Example("a", "t", "s", (message("user", "?"),), references=(reference,))
        value = judged(scorers.build("exact_match", {}), row, Completion("a", answer)).value
        assert value == float(official(answer) == official(reference))


def test_one_equal_reference_is_enough() -> None:
    scorer = scorers.build("exact_match", {})
    row = Example("a", "t", "s", (message("user", "?"),), references=("Yes.", "True"))
    assert [
        judged(scorer, row, Completion("a", text)).value for text in ("yes", "TRUE", "no", "the yes")
    ] == [
        1,
        1,
        0,
        0,
    ]
    unscored = Example("b", "t", "s", (message("user", "?"), message("assistant", "x", trained=True)))
    assert judged(scorer, unscored, Completion("b", "x")).value is None
