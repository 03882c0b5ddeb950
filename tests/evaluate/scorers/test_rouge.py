"""ROUGE-L against google's rouge_score, which the official evaluation calls, and published numbers."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from rouge_score.rouge_scorer import RougeScorer

from espalier.core.records import Completion, Example, message
from espalier.evaluate.predictions import score_predictions
from espalier.evaluate.scorers.registry import scorers
from espalier.evaluate.scorers.rouge import rouge_l
from espalier.tasks.task_files import load_task

ORACLE = RougeScorer(["rougeL"], use_stemmer=True)
WORDS = st.sampled_from(
    ["how", "long", "was", "running", "runs", "ran", "the", "questions", "İstanbul", "3.5", "—"]
)
SENTENCES = st.lists(WORDS, max_size=12).map(" ".join)


@given(st.one_of(SENTENCES, st.text(max_size=40)), st.one_of(SENTENCES, st.text(max_size=40)))
def test_is_that_of_rouge_score(text: str, reference: str) -> None:
    oracle = ORACLE.score(reference, text)["rougeL"].fmeasure
    assert rouge_l(text, reference) == pytest.approx(oracle, abs=1e-12)


def test_takes_the_nearest_reference_and_scores_nothing_without_one() -> None:
    scorer = scorers.build("rouge_l", {})
    prompt = (message("user", "?"),)
    row = Example("a", "t", "s", prompt, references=("one two", "three four"))
    assert scorer.score(row, Completion("a", "Three four!")).value == 1.0
    assert scorer.score(row, Completion("a", "")).value == 0.0
    unscored = Example("b", "t", "s", (*prompt, message("assistant", "x", trained=True)))
    assert scorer.score(unscored, Completion("b", "x")).value is None


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
