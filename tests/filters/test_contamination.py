"""What training data has of a test set: all that a look at every pair finds, with what is the same."""

from __future__ import annotations

import json
import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.core.text import words
from espalier.filters import contamination as module
from espalier.filters.contamination import Contamination, contamination

WORDS = ["red", "old", "boat", "house", "runs", "sleeps", "under", "over", "near", "green"]
SENTENCE = "the harbour master counted fourteen boats before the storm reached the outer wall that night"


def runs(row: tuple[str, ...], size: int) -> set[tuple[str, ...]]:
    """Return a row's runs of words, within each of its texts."""
    cut = [words(text) for text in row]
    return {found[at : at + size] for found in cut for at in range(len(found) - size + 1)}


def by_all_pairs(train: list[tuple[str, ...]], test: list[tuple[str, ...]]) -> tuple[list[int], list[int]]:
    """Return the test rows and the training rows with 13 words in a row in common."""
    pairs = [(a, b) for a, x in enumerate(test) for b, y in enumerate(train) if runs(x, 13) & runs(y, 13)]
    return sorted({a for a, _ in pairs}), sorted({b for _, b in pairs})


ROW = st.lists(st.lists(st.sampled_from(WORDS[:3]), max_size=24).map(" ".join), min_size=1, max_size=2).map(
    tuple
)


@settings(max_examples=150)
@given(st.lists(ROW, max_size=6), st.lists(ROW, max_size=6))
def test_no_run_of_13_words_is_missed(train: list[tuple[str, ...]], test: list[tuple[str, ...]]) -> None:
    found = contamination(train, test)
    tests, rows = by_all_pairs(train, test)
    assert set(tests) <= {match.test for match in found.matches}
    assert set(rows) <= set(found.rows)
    for match in found.matches:
        assert match.passage in {
            " ".join(words(row_text)[at : at + len(match.passage.split())])
            for row_text in train[match.train]
            for at in range(len(words(row_text)) + 1)
        }


def test_batches_make_no_difference(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = random.Random(0)
    train = [(" ".join(draw.choices(WORDS[:2], k=15)),) for _ in range(50)]
    test = [(" ".join(draw.choices(WORDS[:2], k=15)),) for _ in range(50)]
    whole = contamination(train, test)
    monkeypatch.setattr(module, "BATCH", 7)
    assert contamination(iter(train), test) == whole
    assert whole.seen == 50
    assert 0 < len(whole.matches) < 50


def test_each_kind_is_told_with_its_passage() -> None:
    test = [
        (f"Sentence: {SENTENCE}.", "Yes."),
        (f"What happened when {SENTENCE}, as they say?", ""),
        ("two old friends met under the green bridge at noon today", ""),
        ("a sentence that no training row has a run of, long as it may be, in its words", "no"),
    ]
    train = [
        ("nothing", "of", "it"),
        (f"{SENTENCE.upper()}!",),
        (f"Once {SENTENCE} and he went home",),
        ("where two old friends met under the green bridge at noon yesterday",),
    ]
    found = contamination(train, test)
    assert [(match.test, match.train, match.kind) for match in found.matches] == [
        (0, 1, "text"),
        (1, 1, "13-gram"),
        (2, 3, "8-gram"),
    ]
    assert [match.passage for match in found.matches[:2]] == [SENTENCE, SENTENCE]
    assert found.matches[2].passage == "two old friends met under the green bridge at noon"
    assert found.rows == (1, 2, 3)
    assert found.matches[1].share == pytest.approx(15 / 21)


def test_runs_do_not_go_from_one_text_into_the_next() -> None:
    half, other = SENTENCE.split()[:7], SENTENCE.split()[7:]
    found = contamination([(" ".join(half), " ".join(other[:3]))], [(f"x {SENTENCE} x",)])
    assert found == Contamination((), (), 1)


def test_every_script_is_compared() -> None:
    text = "В тот вечер смотритель маяка насчитал четырнадцать лодок, прежде чем буря дошла до стены"
    assert contamination([(text.lower(),)], [(f"- {text}?",)]).matches[0].kind == "text"
    japanese = "灯台守はその夜、嵐が来る前に十四隻の船を数えた。"
    assert (
        contamination([(f"むかし、{japanese}",)], [(f"問い: {japanese}なぜ",)]).matches[0].kind == "13-gram"
    )


@pytest.mark.parametrize("rows", [[], [()], [("",)], [("?!", "")]])
def test_nothing_matches_nothing(rows: list[tuple[str, ...]]) -> None:
    assert contamination(rows, rows) == Contamination((), (), len(rows))


def test_two_tasks_of_one_source_share_their_sentences(shared_data) -> None:
    """Sentences of subtask 020, which is a test task, are those of subtask 003."""

    def rows(name: str) -> list[tuple[str, ...]]:
        path = next(shared_data.glob(f"natural-instructions-v1/{name}_*.json"))
        return [(row["input"], *row["output"]) for row in json.loads(path.read_text())["Instances"]]

    train, test = rows("subtask003"), rows("subtask020")
    found = contamination(train, test)
    sentences = {test[match.test][0].split("\n")[0] for match in found.matches}
    assert len(sentences) >= 209
    assert len(found.rows) <= len(train)


def test_a_short_line_of_a_long_text_is_a_turn_of_phrase() -> None:
    recipe = "Boil the water in a large pot.\nAdd the noodles.\nSalt and pepper to taste.\nServe it hot."
    other = "Fry two eggs in plenty of butter.\nSalt and pepper to taste.\nEat them with fresh bread."
    assert contamination([[other]], [[recipe]]).rows == ()
    short = "Sentence: He ran home fast.\nQuestion: How long did he run?"
    found = contamination([["Sentence: He ran home fast."]], [[short]])
    assert [match.passage for match in found.matches] == ["he ran home fast"]
