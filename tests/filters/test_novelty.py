"""What is new: each decision is the one that `rouge_score` comes to when all pairs are compared."""

from __future__ import annotations

import random
import re

import pytest
from rouge_score.rouge_scorer import RougeScorer

from espalier.filters.novelty import Nearest, Pool, novelty

PARTS = (
    "write a short story about a lighthouse keeper who finds a letter",
    "explain to a child why the moon changes its shape over a month",
    "list five things that one should take along on a walk in winter",
    "translate the sentence into French and keep its tone",
    "given a paragraph, find the sentence that does not belong and say why",
    "name an animal that lives in the desert, and what it eats there",
)


def texts(count: int, seed: int = 0) -> list[str]:
    """Return variations: parts with words left out, exchanged, and put together."""
    draw = random.Random(seed)
    known = [word for part in PARTS for word in part.split()]
    made: list[str] = []
    for _ in range(count):
        words = draw.choice(PARTS).split()
        words = [
            draw.choice(known) if draw.random() < 0.25 else word for word in words if draw.random() < 0.9
        ]
        made.append(" ".join(words).capitalize() + draw.choice(".?!"))
    return made


def by_rouge_score(made: list[str], threshold: float) -> list[tuple[int, float] | None]:
    """Return what the published filter says, text by text."""
    scorer = RougeScorer(["rougeL"], use_stemmer=False)
    kept: list[str] = []
    said: list[tuple[int, float] | None] = []
    for text in made:
        values = [scorer.score(text, other)["rougeL"].fmeasure for other in kept]
        best = max(range(len(kept)), key=values.__getitem__, default=-1)
        said.append((best, values[best]) if kept and values[best] > threshold else None)
        if said[-1] is None:
            kept.append(text)
    return said


@pytest.mark.parametrize("threshold", [0.5, 0.7])
def test_decisions_are_those_of_rouge_score(threshold: float) -> None:
    made = texts(250)
    wanted = by_rouge_score(made, threshold)
    found = [near and (near.row, near.value) for near in novelty(made, threshold=threshold)]
    assert found == wanted
    assert 20 < sum(one is not None for one in wanted) < 230


def test_the_threshold_itself_is_as_near_as_rouge_score_takes_it() -> None:
    """2 * 7 / 20 is 0.7 in numbers, and a little more in the order of operations of `rouge_score`."""
    pair = ["a b c d e f g h i j", "a b c d e f g x y z"]
    assert [near is None for near in novelty(pair)] == [one is None for one in by_rouge_score(pair, 0.7)]


def test_every_script_counts() -> None:
    russian = ["Напишите рассказ о море и ветре", "напишите рассказ о море, и ветре!", "Назовите пять птиц"]
    assert [near and near.row for near in novelty(russian)] == [None, 0, None]
    assert [near and near.value for near in novelty(["東京の天気", "東京の天気は"])] == [
        None,
        pytest.approx(10 / 11),
    ]
    assert [near is None for near in novelty(["", "?", ""])] == [True, True, True]


def test_texts_that_are_known_are_no_less_near() -> None:
    pool = Pool()
    pool.add("Name a bird.")
    pool.add("Name a bird!")
    assert len(pool) == 2
    assert pool.nearest("name a bird") == Nearest(0, 1.0)
    assert pool.try_add("Spell the word queue") is None
    assert [near and near.row for near in novelty(["Name a bird now"], ["Name a fish", "Name a bird"])] == [1]
    assert not re.search("Name", repr(pool.nearest("Draw a line")))
