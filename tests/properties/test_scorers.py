"""Every scorer proves itself: the reference is best, nothing is worst, and what is planted does not pass."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.core.records import Completion, Example, message
from espalier.evaluate.baselines import point
from espalier.evaluate.measures import metric_of
from espalier.scorers.registry import TOGETHER, build_scorer, fitted, scorers

WORDS = ["river", "stone", "ferry", "lamp", "garden", "slow", "nine", "letter", "green", "paint"]
SENTENCES = st.lists(st.sampled_from(WORDS), min_size=4, max_size=9).map(" ".join)
LABELS = st.sampled_from(["positive", "negative", "neutral"])
YES_NO = st.sampled_from(["yes", "no"])
NUMBERS = st.integers(-9999, 10**7).map(lambda n: f"They add up. #### {n:,}")
# What references of a kind look like, and what lists every answer at once, or all but hides one.
FORMS: dict[str, tuple[st.SearchStrategy[str], str]] = {
    "exact_match": (SENTENCES, "{} or not"),
    "quasi_exact": (SENTENCES, "{} or not"),
    "rouge_l": (SENTENCES, ""),
    "token_f1": (SENTENCES, ""),
    "numeric": (NUMBERS, "{} or 77777.5"),
    "label": (LABELS, "positive, negative or neutral"),
    "mctaco": (YES_NO, "maybe yes or no"),
    "super_ni": (SENTENCES, ""),
    "vqa": (LABELS, "{} or not"),
    "bleu": (SENTENCES, ""),
    "chrf": (SENTENCES, ""),
    "regex": (SENTENCES, ""),
}
# Those that run something, that need rows of a form of their own, or of which nothing is not 0, have tests of
# their own.
ELSEWHERE = {
    "cer",
    "choice",
    "checks",
    "cider",
    "code",
    "ifeval",
    "json",
    "reference_logprob",
    "sql",
    "table",
}
ELSEWHERE |= {"wer"}
# As a recipe has them: the official MC-TACO gives silence the F1 of "no", so that it is not the default.
CASES = [
    (kind, {key: value for key, value in own.items() if key != "strict"})
    for kind in FORMS
    for own in TOGETHER.get(kind, {"": {}}).values()
]


def examples(references: list[str]) -> list[Example]:
    facts = {"category": "title_generation", "pattern": r"\w+"}
    return [
        Example(str(i), "t", str(i), (message("user", "?"),), references=(text,), facts=facts)
        for i, text in enumerate(references)
    ]


def reached(kind: str, own: dict[str, Any], rows: list[Example], texts: list[str]) -> float:
    if kind in ("bleu", "chrf"):
        pytest.importorskip("sacrebleu")
    scorer = fitted(build_scorer(kind, own, "x"), rows)
    scores = scorer.score(rows, [Completion(e.id, t) for e, t in zip(rows, texts, strict=True)])
    assert all(score.scored for score in scores)
    return point(metric_of(kind, scorer), scores)


def test_every_scorer_is_held_to_it() -> None:
    assert {*scorers.names()} == {*FORMS} | ELSEWHERE


@pytest.mark.parametrize(("kind", "own"), CASES)
@given(data=st.data())
@settings(max_examples=12)
def test_references_are_best_and_nothing_is_worst(
    kind: str, own: dict[str, Any], data: st.DataObject
) -> None:
    form, planted = FORMS[kind]
    references = data.draw(st.lists(form, min_size=2, max_size=8))
    references += ["positive", "negative", "neutral"] if kind == "label" else []
    rows = examples(references)
    metric = metric_of(kind, fitted(build_scorer(kind, own, "x"), rows))
    assert reached(kind, own, rows, references) == pytest.approx(metric.ceiling)
    assert reached(kind, own, rows, [""] * len(rows)) == 0.0
    if planted and own.get("form") != "strict":  # the strict form takes the first mark, whatever follows it
        texts = [planted.format(text) for text in references]
        assert reached(kind, own, rows, texts) == 0.0


@pytest.mark.parametrize("kind", ["rouge_l", "token_f1", "super_ni", "bleu", "chrf"])
@given(SENTENCES)
@settings(max_examples=12)
def test_padding_costs(kind: str, reference: str) -> None:
    rows = examples([reference, reference])
    padded = f"{reference} and moreover it should be said that nothing else was there at all"
    assert reached(kind, {}, rows, [padded] * 2) < 0.85 * reached(kind, {}, rows, [reference] * 2)
