from __future__ import annotations

import re
import string
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.records import Completion, Example, Score, Scorer, message
from espalier.scorers.exact import build_quasi_exact, token_f1, without_articles
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


def helm(text: str) -> str:
    """HELM's normalisation, for ASCII, in the plain way."""
    lowered = "".join(c for c in text.lower() if c not in string.punctuation)
    return " ".join(re.sub(r"\b(a|an|the)\b", " ", lowered).split())


def squad_f1(text: str, reference: str) -> float:
    """SQuAD's F1 of two texts, in the plain way."""
    ours, theirs = helm(text).split(), helm(reference).split()
    same = sum((Counter(ours) & Counter(theirs)).values())
    if not ours or not theirs:
        return float(ours == theirs)
    precision, recall = same / len(ours), same / len(theirs)
    return 2 * precision * recall / (precision + recall) if same else 0.0


TEXTS = st.lists(
    st.sampled_from(["The", "a", "an", "cat", "cats", "there", "Cat.", "(on)", "it's", "mat!", "2"]),
    max_size=6,
).map(" ".join)


@given(TEXTS, TEXTS)
def test_quasi_exact_is_helm_s_and_token_f1_squad_s(text: str, reference: str) -> None:
    if helm(text) and helm(reference):
        assert (without_articles(text) == without_articles(reference)) == (helm(text) == helm(reference))
        assert token_f1(text, reference) == pytest.approx(squad_f1(text, reference), abs=1e-12)


@pytest.mark.parametrize(
    ("text", "reference", "value"),
    [
        ("The cat!", "a cat", 1.0),
        ("the", "a", 0.0),
        ("", "cat", 0.0),
        ("", "the", 0.0),
        ("L’ÉTÉ", "l'été", 1.0),
        ("theatre", "atre", 0.0),
    ],
)
def test_quasi_exact_drops_articles_and_nothing_that_only_looks_so(
    text: str, reference: str, value: float
) -> None:
    row = Example("a", "t", "s", (message("user", "?"),), references=(reference,))
    assert build_quasi_exact().score([row], [Completion("a", text)])[0].value == value


def test_token_f1_takes_letters_where_there_are_no_spaces() -> None:
    assert token_f1("猫在睡觉", "猫睡觉") == pytest.approx(6 / 7)
    assert token_f1("кот спит", "Кот спит!") == 1.0
    assert token_f1("", "") == 1.0
    assert token_f1("", "cat") == token_f1("cat", "") == 0.0
