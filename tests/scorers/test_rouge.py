"""ROUGE-L against google's rouge_score, which the official evaluation calls, and published numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from espalier.core.records import Completion, Example, Score, Scorer, message
from espalier.evaluate.predictions import score_predictions
from espalier.scorers.registry import scorers
from espalier.scorers.rouge import RougeL, is_official, rouge_l, tokens
from espalier.tasks.task_files import load_task

ORACLE = RougeScorer(["rougeL"], use_stemmer=True)
WORDS = st.sampled_from(
    ["how", "long", "was", "running", "runs", "ran", "the", "questions", "İstanbul", "3.5", "—"]
)
SENTENCES = st.lists(WORDS, max_size=12).map(" ".join)


def judged(scorer: Scorer, row: Example, completion: Completion) -> Score:
    return scorer.score([row], [completion])[0]


@given(st.one_of(SENTENCES, st.text(max_size=40)), st.one_of(SENTENCES, st.text(max_size=40)))
def test_is_that_of_rouge_score(text: str, reference: str) -> None:
    oracle = ORACLE.score(reference, text)["rougeL"].fmeasure
    assert rouge_l(text, reference) == pytest.approx(oracle, abs=1e-12)


@given(SENTENCES, st.text(alphabet=st.characters(codec="ascii"), max_size=40))
def test_unicode_words_of_ascii_score_the_same(text: str, reference: str) -> None:
    ascii_text = text.encode("ascii", "ignore").decode()
    if tokens(ascii_text) and tokens(reference):
        assert rouge_l(ascii_text, reference, official=False) == rouge_l(ascii_text, reference)


@pytest.mark.parametrize(
    ("near", "reference", "far"),
    [
        ("Она долго читала книгу", "Она читала книгу", "Дождь шёл всю ночь"),
        ("η γάτα κοιμάται εδώ", "Η ΓΆΤΑ ΚΟΙΜΆΤΑΙ", "βρέχει πολύ"),
        ("猫在椅子上睡觉", "猫在椅子上睡觉。", "下雨了"),
        ("猫が眠っている", "猫は眠っている", "雨だ"),
        ("แมวกำลังนอนหลับ", "แมวนอนหลับ", "ฝนตก"),
        ("बिल्ली सो रही है", "बिल्ली रही है", "बारिश हुई"),
        ("고양이가 자고 있다", "고양이가 있다", "비가 온다"),
        ("القطة تنام هنا", "القطة تنام", "السماء تمطر"),
        ("GPT模型很大", "gpt 模型 很大", "小"),
        ("😀😀", "😀", "👍"),
    ],
)
def test_other_scripts_have_words_too(near: str, reference: str, far: str) -> None:
    row = Example("a", "t", "s", (message("user", "?"),), references=(reference,))
    scorer = RougeL().fitted([row])
    assert scorer.metric.title == "ROUGE-L (Unicode words)"
    same, close, other = (judged(scorer, row, Completion("a", text)).value for text in (reference, near, far))
    assert same == 1.0
    assert close is not None
    assert other is not None
    assert other < 0.3 < 0.6 < close <= 1.0


def test_the_references_of_all_rows_decide_which_it_is() -> None:
    english = [
        "He studied medicine in Córdoba, paid for it by tutoring younger students, and graduated at last "
        "with honours, the first of his family."
    ] * 3
    assert is_official(["How long?", "Why?"])
    assert is_official(english), "a name now and then is no other script"
    assert not is_official(["Où est né l'élève ?"])
    assert not is_official([*english, "Да"]), "one that would score 0 whatever is said"
    assert not is_official(["+", "minus"])
    assert is_official([])
    rows = [
        Example(str(i), "t", "s", (message("user", "?"),), references=(text,))
        for i, text in enumerate(["yes", "да"])
    ]
    fitted = RougeL().fitted(rows)
    assert fitted.official is False
    assert fitted.fitted(rows[:1]) == fitted, "decided once"
    assert judged(RougeL(), rows[1], Completion("1", "да")).value == 1.0, "a row by itself"


def test_the_recipe_may_say_which() -> None:
    row = Example("a", "t", "s", (message("user", "?"),), references=("да",))
    for words, title, value in (("official", "ROUGE-L", 0.0), ("unicode", "ROUGE-L (Unicode words)", 1.0)):
        scorer = scorers.build("rouge_l", {"words": words})
        assert isinstance(scorer, RougeL)
        assert scorer.fitted([row]).metric.title == title
        assert judged(scorer, row, Completion("a", "да")).value == value


def test_takes_the_nearest_reference_and_scores_nothing_without_one() -> None:
    scorer = scorers.build("rouge_l", {})
    prompt = (message("user", "?"),)
    row = Example("a", "t", "s", prompt, references=("one two", "three four"))
    assert judged(scorer, row, Completion("a", "Three four!")).value == 1.0
    assert judged(scorer, row, Completion("a", "")).value == 0.0
    unscored = Example("b", "t", "s", (*prompt, message("assistant", "x", trained=True)))
    assert judged(scorer, unscored, Completion("b", "x")).value is None


def test_constants_score_what_the_official_evaluation_gives(shared_data: Path) -> None:
    """On the first 100 rows of task003, the rows of the official evaluation: 43.92, 41.05 and 24.17."""
    file = (
        shared_data / "natural-instructions-v2/tasks/task003_mctaco_question_generation_event_duration.json"
    )
    rows = load_task(file).rows[:100]

    def mean(answer: str | None) -> float:
        return sum(
            max(rouge_l(answer or row.input, r) for r in row.outputs) for row in rows
        )  # 100 rows: per cent

    assert round(mean("How long did it take?"), 2) == 43.92
    assert round(mean("How long did it last?"), 2) == 41.05
    assert round(mean(None), 2) == 24.17


# Part of the file's name between "@_" and "@" → ROUGE-L ×100 of GPT-3 (2021) with that prompt.
GPT3 = {
    "Definition_Prompt@0": 24.26,
    "Definition_Prompt_Positive_Examples_Full_Only@2": 36.03,
    "Definition_Prompt_Things_to_Avoid_Emphasis___Caution@0": 19.21,
    "Definition_Prompt_Things_to_Avoid_Emphasis___Caution_Positive_Examples_Full_Only@2": 37.86,
    "Positive_Examples_Full_Only@2": 19.94,
    "Prompt@0": 24.20,
    "Prompt_Emphasis___Caution@0": 20.68,
    "Prompt_Negative_Examples_Full_Explanations_Positive_Examples_Full_Explanations@2": 33.30,
    "Prompt_Positive_Examples_Full_Only@2": 37.18,
    "Prompt_Things_to_Avoid@0": 16.30,
}


@pytest.mark.parametrize(("prompt", "expected"), GPT3.items())
def test_gpt3_scores_what_was_published(shared_data: Path, prompt: str, expected: float) -> None:
    name = "subtask003_mctaco_question_generation_event_duration"
    folder = shared_data / "natural-instructions-v1"
    predictions = folder / "gpt3_predictions" / f"{name}@_{prompt}_100.json"
    result = score_predictions(load_task(folder / f"{name}.json"), predictions, "rouge_l")
    assert round(100 * result.estimate.value, 2) == expected
    assert (result.estimate.n, result.missing, result.extra) == (100, 0, 0)
    assert result.estimate.low < result.estimate.value < result.estimate.high
