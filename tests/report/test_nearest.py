"""The nearest trained answer: what an exhaustive search finds, without looking at every pair."""

from __future__ import annotations

import random
import time

import pytest

from espalier.report.nearest import Near, nearest, runs

TRAIN = [
    ("The ferry left.", "How long did the ferry take to cross the bay?"),
    ("Mara slept.", "How long did Mara sleep?"),
    ("It rained.", "Yes"),
    ("The kettle sang in the kitchen.", "yes."),
    ("The dog barked.", "No"),
]


def one(answer: str, asked: str = "") -> Near | None:
    return nearest(TRAIN, [(asked, answer)])[0]


@pytest.mark.parametrize(
    ("answer", "asked", "found"),
    [
        ("How long did the ferry take to cross the bay?", "", Near(0, 1.0, same=True, rows=1)),
        ("how long did THE FERRY take", "", Near(0, 5 / 6, same=False, rows=1)),
        ("How long did Mara sing?", "", Near(1, 3 / 5, same=False, rows=1)),
        ("YES", "the kettle boils", Near(3, 1.0, same=True, rows=2)),
        ("yes", "nothing of theirs", Near(2, 1.0, same=True, rows=2)),
        ("no", "", Near(4, 1.0, same=True, rows=1)),
        ("Perhaps", "", None),
        ("", "", None),
        (" \0 ", "", None),
    ],
)
def test_finds_what_shares_most(answer: str, asked: str, found: Near | None) -> None:
    assert one(answer, asked) == found


@pytest.mark.parametrize(
    ("trained", "answer"),
    [
        ("Сколько времени шёл паром?", "сколько ВРЕМЕНИ шёл дождь?"),
        ("渡轮用了多长时间？", "他用了多长时间？"),
        ("เรือใช้เวลานานเท่าไร", "เขาใช้เวลานาน"),
        ("कितना समय लगा था", "कितना समय लगा"),
        ("🙂🙂🎉", "🙂🙂🎈"),
        ("\ud800 a half of a sign stands here", "a half of a sign"),
    ],
)
def test_knows_every_script(trained: str, answer: str) -> None:
    (found,) = nearest([*TRAIN, ("", trained)], [("", answer)])
    assert found
    assert found.row == len(TRAIN)
    assert 0 < found.shared < 1


def test_is_the_one_that_an_exhaustive_search_finds() -> None:
    rng = random.Random(5)
    texts = [" ".join(rng.choices("abcdef", k=rng.randint(1, 9))) for _ in range(400)]
    train, rows = [("", text) for text in texts[:300]], [("", text) for text in texts[300:]]
    for (_, answer), near in zip(rows, nearest(train, rows), strict=True):
        held = runs(answer)
        most = max(len(held & runs(text)) for _, text in train)
        assert (near.shared if near else 0) == pytest.approx(most / len(held))
        assert near is None or len(held & runs(train[near.row][1])) == most


def test_answers_that_begin_alike_are_told_apart_and_take_no_time() -> None:
    begin = "Thank you for your message, we have looked into it with care and found that "
    train = [("", f"{begin}case {i} is closed") for i in range(3_000)]
    rows = [("", f"{begin}case {i} is open") for i in range(0, 3_000, 6)]
    started = time.process_time()
    found = nearest(train, rows)
    assert time.process_time() - started < 5
    assert [near.row for near in found if near] == [*range(0, 3_000, 6)]


def test_without_trained_rows_nothing_is_near() -> None:
    assert nearest([], [("", "yes")]) == [None]
    assert nearest(TRAIN, []) == []
