"""What judges reply, as models spell it: read where it says one thing, and never guessed."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from espalier.judge.verdicts import TURNED, gold_of, verdict_of

NOUNS = (
    "",
    "Answer ",
    "answer ",
    "Response ",
    "Assistant ",
    "The answer ",
    "Option ",
    "MODEL_",
    "**Answer** ",
)
FRAMES = (
    *(
        "{}",
        "{}.",
        " {} \n",
        "**{}**",
        "({})",
        '"{}"',
        "[[{}]]",
        "[{}]",
        "`{}`",
        "Verdict: {}",
        "Winner: **{}**",
    ),
    *(
        "Final answer: {}",
        "My final verdict is: [[{}]]",
        "The better answer is {}.",
        "{} is better.",
        "{} wins.",
    ),
    *(
        "{} is clearly the better answer.",
        "I prefer {}.",
        "I would choose {}",
        "{} is slightly better than the other.",
    ),
    *(
        "{}\n\nIt is the more complete one.",
        "{}: it says what was asked.",
        "Both are long. {} is better.",
        "\\boxed{{{}}}",
    ),
    *(
        '{{"winner": "{}"}}',
        "{{'verdict': '{}', 'reason': 'it is right'}}",
        '```json\n{{"better": "{}"}}\n```',
    ),
    "If they were alike I would say [[tie]]. But no: [[{}]]",
)
TIES = ("tie", "Tie", "TIE", "draw", "equal", "both", "neither", "C", "equally good", "a tie")
SAID = {
    "first": ["1", "the first answer", "the first one is better", "A>B", "A >> B", "[[A>B]]", "B<A",
              "Answer B is worse."],
    "second": ["2", "The second answer.", "A<B", "[[B>>A]]", "Answer A is worse than B.",
               "A good one says more. B is better."],
    "tie": ["A=B", "[[A=B]]", "It is a tie.", "Both answers are equally good.", "They are the same.",
            "Neither is better."],
}  # fmt: skip
NOTHING = (
    *(
        "",
        "   ",
        "I'm sorry, I cannot judge this.",
        "A good answer is hard to find.",
        "A or B",
        "It depends.",
    ),
    *(
        "A is better. B is better.",
        "Answer A is not better than answer B.",
        "I don't prefer A.",
        "If A is better, say so.",
    ),
    *(
        "Here are two answers: A and B.",
        "As an AI, I have no view.",
        "A better answer would have said more.",
        "10",
        "Ab",
    ),
    *(
        "Both A and B have merits.",
        "banana",
        '{"winner": "nobody"}',
        "[[D]]",
        "Blue",
        "I do not know whether A wins.",
    ),
)


@given(st.sampled_from(FRAMES), st.sampled_from(NOUNS), st.sampled_from(["A", "B"]))
@example("{}\n\nIt is the more complete one.", "", "A")
def test_a_letter_is_read_however_it_is_framed(frame: str, noun: str, letter: str) -> None:
    assert verdict_of(frame.format(noun + letter)) == {"A": "first", "B": "second"}[letter]


@given(st.sampled_from(FRAMES[:13]), st.sampled_from(TIES))
def test_a_tie_is_read_however_it_is_framed(frame: str, tie: str) -> None:
    assert verdict_of(frame.format(tie)) == "tie"


@pytest.mark.parametrize(("verdict", "text"), [(v, text) for v, texts in SAID.items() for text in texts])
def test_other_words_for_it(verdict: str, text: str) -> None:
    assert verdict_of(text) == verdict


@pytest.mark.parametrize("text", NOTHING)
def test_what_says_nothing_or_two_things_is_not_guessed(text: str) -> None:
    assert verdict_of(text) is None


@given(st.text(max_size=80))
@example("A")
def test_any_text_is_read_or_not_and_changing_the_letters_changes_the_verdict(text: str) -> None:
    said = verdict_of(text)
    assert said in ("first", "second", "tie", None)
    turned = text.translate(str.maketrans("AB", "BA"))
    if not {*"12<>ab"} & {*text} and "first" not in text and "second" not in text:
        assert verdict_of(turned) == (TURNED[said] if said else None)


@pytest.mark.parametrize(
    ("text", "verdict"),
    [
        ("1", "first"), ("2", "second"), ("1.5", "tie"), ("0", "tie"), ("1.2", "first"), ("2.0", "second"),
        ("model_a", "first"), ("model_b", "second"), ("tie (bothbad)", "tie"), ("tie (inconsistent)", "tie"),
        ("A", "first"), ("b", "second"), ("3", None), ("nan", None), ("", None),
    ],
)  # fmt: skip
def test_verdicts_of_files_are_those_of_alpacaeval_and_mt_bench_too(text: str, verdict: str | None) -> None:
    assert gold_of(text) == verdict
