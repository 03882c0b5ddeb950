"""Numbers out of answers: GSM8K's own extraction, lm-eval's two, and every way to write one number."""

from __future__ import annotations

import re
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import RecipeError
from espalier.core.files import read_jsonl
from espalier.core.records import Completion, Example, Score, message
from espalier.scorers.numeric import build_numeric, last_number, marked
from espalier.scorers.registry import build_scorer


def judged(text: str, reference: str, **settings: str) -> Score:
    row = Example("a", "t", "s", (message("user", "?"),), references=(reference,))
    return build_scorer("numeric", settings, "x").score([row], [Completion("a", text)])[0]


@pytest.mark.parametrize(
    ("text", "value", "percent"),
    [
        ("−18", -18, False),
        ("so it is $1,234.50.", Fraction(2469, 2), False),
        ("-$5", -5, False),
        ("$-5", -5, False),
        ("3/4", Fraction(3, 4), False),
        ("1 1/2 hours", Fraction(3, 2), False),
        ("1½", Fraction(3, 2), False),
        ("⅓", Fraction(1, 3), False),
        (r"\frac{3}{4}", Fraction(3, 4), False),
        (r"\boxed{-7}", -7, False),
        ("1{,}000", 1000, False),
        ("1\u202f000", 1000, False),
        ("50 %", 50, True),
        ("10-3", 3, False),
        ("3–5", 5, False),
        ("(5)-3", 3, False),
        ("= -3", -3, False),
        ("18.", 18, False),
        ("18km", 18, False),
        ("答案是18。", 18, False),
        ("５", 5, False),
        ("2.5e3", 2500, False),
        ("1, 2 and 3", 3, False),
        ("on 24/7/2020", 2020, False),
        ("12,345,678.9", Fraction(123456789, 10), False),
    ],
)
def test_the_last_number_however_it_is_written(text: str, value: Fraction, percent: bool) -> None:
    assert last_number(text) == (Fraction(value), percent)


@pytest.mark.parametrize("text", ["", "none", "H2O", "x2", "v1.2.3"[:2], "1/0", "9" * 500])
def test_what_is_no_number(text: str) -> None:
    assert last_number(text) is None


@given(
    st.integers(-(10**9), 10**9), st.sampled_from(["{:,}", "{}", "${:,}", "{} dollars", "**{}**", "{}.00"])
)
def test_a_number_is_found_however_it_is_dressed(number: int, dress: str) -> None:
    said = dress.format(number)
    assert last_number(f"First 3 of them, then the answer is {said}.") == (Fraction(number), False)


@given(st.text(alphabet="0123456789.,-#$%/ aA\n", max_size=40))
def test_the_strict_extraction_is_the_published_one(text: str) -> None:
    found = re.compile(r"#### (\-?[0-9\.\,]+)").search(text)
    assert marked(text) == (found.group(1).strip().replace(",", "") if found else None)


@pytest.mark.parametrize(
    ("text", "reference", "flexible", "strict"),
    [
        ("She has 3 + 4 = 7.\n#### 7", "… #### 7", 1.0, 1.0),
        ("It is 7 apples.", "… #### 7", 1.0, 0.0),
        ("#### 1,000", "#### 1000", 1.0, 1.0),
        ("#### 7.0", "#### 7", 1.0, 0.0),
        ("#### 7\n\nQuestion: there are 5", "#### 7", 0.0, 1.0),
        ("#### 8", "7", 0.0, 0.0),
        ("#### 7", "7", 1.0, 1.0),
        ("", "#### 7", 0.0, 0.0),
        ("no idea", "#### 7", 0.0, 0.0),
        ("50%", "0.5", 1.0, 0.0),
        ("50 percent", "50", 1.0, 0.0),
        ("50%", "5", 0.0, 0.0),
    ],
)
def test_flexible_and_strict(text: str, reference: str, flexible: float, strict: float) -> None:
    assert judged(text, reference).value == flexible
    assert judged(text, reference, form="strict").value == strict


def test_what_cannot_be_judged_is_not_scored() -> None:
    assert judged("7", "seven").value is None
    assert judged("#### 7", "seven", form="strict").value is None
    with pytest.raises(RecipeError, match="mark is empty"):
        build_numeric(mark=" ")


def test_the_verdicts_on_the_published_model_solutions(shared_data: Path) -> None:
    """5,276 solutions with their verdicts; their mark is "A:" in place of "####"."""
    rows = [row for _, row in read_jsonl(shared_data / "gsm8k/example_model_solutions.jsonl")]
    models = [key for key in rows[0] if key not in ("question", "ground_truth")]
    for settings in ({}, {"form": "strict", "mark": "A:"}):
        scorer = build_scorer("numeric", settings, "x")
        for model in models:
            examples = [
                Example(str(i), "t", str(i), (message("user", "?"),), references=(row["ground_truth"],))
                for i, row in enumerate(rows)
            ]
            answers = [Completion(str(i), row[model]["solution"]) for i, row in enumerate(rows)]
            values = [score.value for score in scorer.score(examples, answers)]
            assert values == [float(row[model]["is_correct"]) for row in rows]


def test_every_reference_of_gsm8k_is_right_by_itself(shared_data: Path) -> None:
    rows = [row["answer"] for _, row in read_jsonl(shared_data / "gsm8k/test.jsonl")]
    examples = [
        Example(str(i), "t", "s", (message("user", "?"),), references=(text,)) for i, text in enumerate(rows)
    ]
    answers = [Completion(str(i), text) for i, text in enumerate(rows)]
    for form in ("flexible", "strict"):
        scores = build_scorer("numeric", {"form": form}, "x").score(examples, answers)
        assert {score.value for score in scores} == {1.0}
