"""Labels out of answers, and what is made of them; macro F1 against scikit-learn's definition."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, Score, message
from espalier.evaluate.compare import estimate
from espalier.evaluate.measures import metric_of
from espalier.scorers.labels import NO_LABEL, Labels, confusion, labels_of, taken
from espalier.scorers.registry import build_scorer, fitted

LABELS = ("positive", "negative", "neutral")


def rows(*labels: str, options: tuple[str, ...] = ()) -> list[Example]:
    facts = {"options": [*options]} if options else {}
    return [
        Example(str(i), "t", str(i), (message("user", "?"),), references=(label,), facts=facts)
        for i, label in enumerate(labels)
    ]


def scores(examples: list[Example], texts: list[str], measure: str = "accuracy") -> list[Score]:
    scorer = fitted(build_scorer("label", {"measure": measure}, "x"), examples)
    return scorer.score(examples, [Completion(e.id, t) for e, t in zip(examples, texts, strict=True)])


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("Positive.", "positive"),
        ("Negative, because it rains.", "negative"),
        ("The answer is: neutral", "neutral"),
        ("I would call it negative here", "negative"),
        ("**positive**", "positive"),
        ("positive\nThe text is not negative at all.", "positive"),
        ("", ""),
        ("either", ""),
        ("positive negative neutral", ""),
        ("positive, negative or neutral", ""),
        ("It is positive; then again negative.", ""),
        ("positively", ""),
    ],
)
def test_the_label_of_an_answer(text: str, label: str) -> None:
    assert taken(text, LABELS) == label


@pytest.mark.parametrize(
    ("text", "letter"),
    [("B", "B"), ("(b)", "B"), ("B. Paris", "B"), ("Paris", "B"), ("The answer is A", "A")],
)
def test_options_answer_by_their_letter_or_their_text(text: str, letter: str) -> None:
    options = ("A. Rome", "B. Paris", "C. Bonn")
    assert taken(text, options) == letter
    (score,) = scores(rows(f"{letter}. {dict(A='Rome', B='Paris')[letter]}", options=options), [text])
    assert score.value == 1.0
    assert taken("a pity that nobody said", options) == "", "an article is no option in the middle of a text"


def macro_f1(gold: list[str], said: list[str]) -> float:
    """The mean of F1 over the labels that occur, as scikit-learn's `f1_score(average="macro")`."""
    found: list[float] = []
    for label in sorted({*gold, *said}):
        hits = sum(a == b == label for a, b in zip(gold, said, strict=True))
        found.append(2 * hits / (gold.count(label) + said.count(label)))
    return sum(found) / len(found)


@given(
    st.lists(st.tuples(st.sampled_from(LABELS), st.sampled_from(LABELS)), min_size=2, max_size=30).filter(
        lambda pairs: {said for _, said in pairs} <= {gold for gold, _ in pairs}
    )
)
def test_macro_f1_is_the_mean_of_the_labels(pairs: list[tuple[str, str]]) -> None:
    gold, said = [a for a, _ in pairs], [b for _, b in pairs]
    examples = rows(*gold)
    found = scores(examples, said, "macro_f1")
    metric = Labels("macro_f1").metric
    assert metric.fold is not None
    assert metric.fold(
        [sum(part) for part in zip(*(one.parts for one in found), strict=True)]
    ) == pytest.approx(macro_f1(gold, said))


def test_a_constant_does_well_by_accuracy_and_not_by_macro_f1() -> None:
    examples = rows(*["positive"] * 18, "negative", "neutral")
    for measure, value in (("accuracy", 0.9), ("macro_f1", 0.315789)):
        found = scores(examples, ["positive"] * 20, measure)
        scorer = fitted(build_scorer("label", {"measure": measure}, "x"), examples)
        reached = estimate(metric_of("label", scorer), found, [e.source for e in examples])
        assert reached.value == pytest.approx(value, abs=1e-6)
        assert reached.bounded


def test_the_table_of_confusion_counts_every_row() -> None:
    examples = rows("positive", "positive", "negative", "neutral")
    table = confusion(examples, scores(examples, ["positive", "negative", "negative", "who knows"]))
    assert table == {
        "positive": {"positive": 1, "negative": 1},
        "negative": {"negative": 1},
        "neutral": {NO_LABEL: 1},
    }


def test_several_accepted_labels_and_too_many_labels() -> None:
    either = [Example("0", "t", "s", (message("user", "?"),), references=("positive", "neutral"))]
    assert labels_of(either) == ("positive", "neutral")
    assert [score.value for score in scores(either, ["neutral"])] == [1.0]
    with pytest.raises(RecipeError, match="101 labels, more than 100"):
        scores(rows(*(f"name {i}" for i in range(101))), ["x"] * 101)
    assert build_scorer("label", {"labels": ["yes", "no"]}, "x").score(rows("yes"), [Completion("0", "No.")])[
        0
    ] == Score(0.0, "it says no", "no")
