"""What of a model's paraphrases can be used: each reason by what causes it, and none by what keeps to it."""

from __future__ import annotations

import pytest

from espalier.generate.author import Answer
from espalier.generate.rewording import Told, Writing, fault, judged

DEFINITION = 'Read the review and say whether it is positive or negative. Answer "Unknown" if neither holds.'
TOLD = Told(DEFINITION, ("positive", "negative"), frozenset({"positive", "negative", "unknown"}))
GOOD = (
    'You will see a review. Tell whether it is negative or positive, and answer "Unknown" if it is neither.',
    "Is the review below POSITIVE or NEGATIVE? Say so; where neither holds, the answer is unknown.",
)


@pytest.mark.parametrize("text", GOOD)
def test_what_keeps_labels_form_and_length_can_be_used(text: str) -> None:
    assert fault(text, TOLD, {DEFINITION.lower()}) == ""


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "It is empty."),
        (f"  {GOOD[0].upper()} ", "It is a copy"),
        ("Unknown", "It is an answer to the task."),
        (f"{GOOD[0]} Review: good. Answer: positive", "It makes up an example"),
        (f'{GOOD[0]} As in "I like it".', "It makes up an example"),
        (f"{GOOD[0]} Take 20 words.", "It makes up an example"),
        (f"I'm sorry, here it is: {GOOD[0]}", "It speaks of itself"),
        ('Say whether the review is good or negative, answering "Unknown" where neither holds.', "A label"),
        (
            "Say whether the review is positive or negative, or nothing where neither holds.",
            "A form",
        ),
        ('positive, negative or "unknown"', "It is far shorter or longer"),
        (f"{GOOD[0]} {GOOD[1]} {GOOD[0]}", "It is far shorter or longer"),
    ],
)
def test_what_does_not_is_left_out_and_says_why(text: str, why: str) -> None:
    assert fault(text, TOLD, {GOOD[0].lower()}).startswith(why)


def test_an_answer_that_is_no_reference_shares_no_words() -> None:
    told = Told("Translate the sentence about weather into German.", (), frozenset())
    assert fault("Heute regnet es den ganzen Tag lang.", told, set()).startswith("It shares hardly a word")
    assert fault("Put the sentence into German words.", told, set()) == ""


def test_answers_are_judged_in_their_order_and_counted_by_reason() -> None:
    said = [
        Answer(f"New description: {GOOD[0]}", "r1", "stop"),
        Answer(GOOD[0], "r2", "stop"),
        Answer(GOOD[1], "r3", "length"),
        Answer("", "r4", "error"),
        Answer(GOOD[1], "r5", "stop"),
    ]
    texts = judged("reviews", TOLD, [("plainly", one) for one in said])
    found = Writing("m at http://x/v1", "…", "k", tuple(texts))
    assert found.kept == {"reviews": [*GOOD]}
    assert [one.request for one in texts if not one.why] == ["r1", "r5"]
    assert {*found.left.values()} == {1}
    assert len(found.left) == 3
    assert found.name == "m"
