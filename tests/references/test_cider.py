"""CIDEr-D against its definition, published numbers, and an interval for which all is computed anew."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.core.errors import DataError
from espalier.core.records import Completion, Example, Media, Text, message
from espalier.core.scoring import Estimate
from espalier.evaluate.compare import compare_scores, estimate
from espalier.scorers.cider import Cider, words
from espalier.scorers.registry import build_scorer, fitted
from tests.references.naive_cider import cider_d

CAPTIONS = st.lists(st.sampled_from(["a", "the", "man", "dog", "red", "ball", "runs", "on"]), max_size=9).map(
    " ".join
)
PICTURES = st.lists(
    st.tuples(CAPTIONS, st.lists(CAPTIONS.filter(bool), min_size=1, max_size=3)), min_size=2, max_size=5
)
# What pycocoevalcap 1.2 gives these captions after its own tokenizer (Java).
PUBLISHED = [
    ("A man isn't riding the horse.", ["A man rides a horse.", "The man isn't on a horse!"], 2.5238308161),
    ("Two dogs (brown) on a t-shirt", ["Two brown dogs play.", "Dogs, on a T-shirt."], 1.7938746024),
    ("a plate of food", ["A plate of food.", "Food on the man's plate"], 5.7547741420),
]


def rows(given: list[list[str]]) -> list[Example]:
    return [Example(str(i), "t", str(i), (message("user", "?"),), tuple(g)) for i, g in enumerate(given)]


def answers(said: list[str]) -> list[Completion]:
    return [Completion(str(i), text) for i, text in enumerate(said)]


@given(PICTURES)
@settings(max_examples=60)
def test_it_is_what_the_definition_says(pictures: list[tuple[str, list[str]]]) -> None:
    said, references = [text for text, _ in pictures], [given for _, given in pictures]
    examples = rows(references)
    ours = [one.value for one in Cider().fitted(examples).score(examples, answers(said))]
    theirs = cider_d([s.split() for s in said], [[r.split() for r in given] for given in references])
    assert ours == pytest.approx(theirs, abs=1e-12)


def test_it_is_what_the_published_code_gives() -> None:
    examples = rows([given for _, given, _ in PUBLISHED])
    scorer = fitted(build_scorer("cider", {}, "x"), examples)
    scores = scorer.score(examples, answers([text for text, _, _ in PUBLISHED]))
    assert [one.value for one in scores] == pytest.approx([value for *_, value in PUBLISHED], abs=1e-9)


@pytest.mark.parametrize(
    ("text", "cut"),
    [
        ("A man's dog isn't here; it's RED-hot…", "a man 's dog is n't here it 's red-hot"),
        ("(in brackets) at 3.5 p.m. for $5 & 50%", "-lrb- in brackets -rrb- at 3.5 p.m. for $ 5 & 50 %"),
        ("cannot, gonna “I'm” 10:30 men/women", "can not gon na i 'm 10:30 men/women"),
        ("the 7-day trip of Mr. J. Smith.", "the 7-day trip of mr. j. smith"),
    ],
)
def test_words_are_those_of_the_treebank(text: str, cut: str) -> None:
    assert words(text) == cut.split()


def test_one_picture_is_refused_however_many_captions_it_has() -> None:
    picture = Media("image", "a.png", "ab" * 32)
    turn = replace(message("user", ""), parts=(picture, Text("What is it?")))
    examples = [Example(str(i), "t", "s", (turn,), (f"caption {i}",)) for i in range(3)]
    scorer = build_scorer("cider", {}, "x")
    with pytest.raises(DataError, match="CIDEr of one picture says nothing"):
        fitted(scorer, examples)
    assert {one.value for one in scorer.score(examples, answers(["a", "b", "c"]))} == {None}


def test_rows_of_one_picture_are_one_document() -> None:
    both = [Media("image", f"{name}.png", name * 64) for name in "ab"]
    turns = [replace(message("user", ""), parts=(one, Text("?"))) for one in both]
    one, two, other = "a red ball", "the red ball", "a blue dog"
    parted = [Example("0", "t", "s", (turns[0],), (one,)), Example("1", "t", "s", (turns[0],), (two,))]
    third = Example("2", "t", "o", (turns[1],), (other,))
    whole = replace(parted[0], references=(one, two))
    assert Cider().fitted([*parted, third]).having == Cider().fitted([whole, third]).having


def _width(found: Estimate) -> float:
    return found.high - found.low


def test_its_interval_is_that_of_drawing_pictures_and_computing_all_anew() -> None:
    rng = np.random.default_rng(0)
    vocabulary, odds = (
        ["a", "man", "dog", "red", "ball", "runs", "sits", "park", "small"],
        np.arange(9, 0, -1) / 45,
    )

    def caption() -> str:
        return " ".join(rng.choice(vocabulary, rng.integers(3, 7), p=odds))

    def near(text: str) -> str:
        return " ".join(word if rng.random() < 0.7 else rng.choice(vocabulary) for word in text.split())

    begun = [caption() for _ in range(40)]
    examples = rows([[near(text), near(text)] for text in begun])
    said = [[near(text) for text in begun], [near(near(text)) for text in begun]]
    scorer = Cider().fitted(examples)
    scores = [scorer.score(examples, answers(texts)) for texts in said]
    drawn: list[list[float]] = []
    for _ in range(200):
        places = rng.integers(40, size=40)
        again = [replace(examples[place], id=f"{number}") for number, place in enumerate(places)]
        judge = Cider().fitted(again)
        drawn.append(
            [
                float(np.mean([s.value for s in judge.score(again, answers([texts[p] for p in places]))]))
                for texts in said
            ]
        )
    sources = [row.source for row in examples]
    found = estimate(scorer.metric, scores[0], sources)
    gap = compare_scores(
        *(dict(zip(sources, one, strict=True)) for one in scores),
        dict(zip(sources, sources, strict=True)),
        scorer.metric,
    ).estimate
    first, difference = np.array(drawn)[:, 0], np.subtract(*np.array(drawn).T)
    assert found.value == pytest.approx(np.mean([one.value for one in scores[0]]))
    assert _width(found) == pytest.approx(2 * 1.96 * first.std(), rel=0.2)
    assert _width(gap) == pytest.approx(2 * 1.96 * difference.std(), rel=0.2)
    fixed = estimate(replace(scorer.metric, leans=False), scores[0], sources)
    assert abs(_width(found) - _width(fixed)) > 0.005 * _width(fixed)  # the weights do count
    # Of a part of the rows what they move all others by is not nothing, and its value is its rows' own.
    part = estimate(scorer.metric, scores[0][:15], sources[:15])
    assert part.value == pytest.approx(np.mean([one.value for one in scores[0][:15]]))
    assert part.low < part.value < part.high
