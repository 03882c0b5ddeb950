"""Records refuse what cannot be trained on or scored, and know their prompt and answer."""

from __future__ import annotations

import math

import pytest

from espalier.core.errors import DataError
from espalier.core.records import Encoded, Example, Media, Message, Text, example_id, message
from espalier.core.scoring import value_of


def example(*messages: Message, references: tuple[str, ...] = ()) -> Example:
    return Example("id", "task", "source", messages, references)


def test_unknown_roles_are_refused() -> None:
    with pytest.raises(DataError, match="unknown role 'robot'; expected one of system, user"):
        message("robot", "Hi")  # type: ignore[arg-type]


def test_only_the_assistant_is_trained() -> None:
    with pytest.raises(DataError, match="A message of the user is marked as trained"):
        message("user", "Hi", trained=True)


def test_text_joins_the_text_parts() -> None:
    picture = Media("image", "a.png", "0" * 64)
    assert Message("user", (Text("What is "), picture, Text("this?"))).text == "What is this?"


def test_rows_without_message_or_purpose_are_refused() -> None:
    with pytest.raises(DataError, match="A row has no message"):
        example()
    with pytest.raises(DataError, match="nothing to train on and nothing to score"):
        example(message("user", "Hi"), message("assistant", "Hello"))


def test_prompt_and_answer_are_cut_at_the_last_trained_turn() -> None:
    turns = (
        message("user", "1"),
        message("assistant", "one", trained=True),
        message("user", "2"),
        message("assistant", "two", trained=True),
    )
    row = example(*turns)
    assert row.prompt == turns[:3]
    assert row.answer == "two"


def test_a_row_that_is_only_scored_is_all_prompt() -> None:
    row = example(message("user", "Hi"), references=("Hello", "Hey"))
    assert row.prompt == row.messages
    assert row.answer == "Hello"


def test_same_content_same_id_everywhere() -> None:
    assert example_id("a", {"x": 1, "y": 2}) == example_id("a", {"y": 2, "x": 1}) == "a388a20392265b84"
    assert example_id("a", "b") != example_id("ab")


def test_encoded_rows_match_and_learn_something() -> None:
    with pytest.raises(DataError, match="2 tokens and 1 weights"):
        Encoded((1, 2), (1.0,), 1, "id")
    with pytest.raises(DataError, match="id: Every token of the row is masked"):
        Encoded((1, 2), (0.0, 0.0), 1, "id")
    with pytest.raises(DataError, match="masked"):
        Encoded((), (), 0, "id")


@pytest.mark.parametrize("sums", [(0.0, 0.0), (), (1.0,), (float("inf"), float("inf"))])
def test_what_a_fold_makes_nothing_of_is_no_number(sums: tuple[float, ...]) -> None:
    assert math.isnan(value_of(lambda parts: parts[0] / parts[1], sums))
