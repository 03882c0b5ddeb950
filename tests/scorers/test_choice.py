"""Multiple choice: right or wrong by what each option weighs, raw and for its length; a floor of guessing."""

from __future__ import annotations

from espalier.core.records import Completion, Example, Measured, message
from espalier.scorers.choice import build_choice
from espalier.scorers.registry import fitted


def row(name: str, options: list[str], *references: str) -> Example:
    return Example(name, "t", name, (message("user", "?"),), references, facts={"options": options, "x": 1})


ROWS = [row("0", ["no", "never in a year"], "never in a year"), row("1", ["a", "b", "c", "d"], "B")]


def test_options_are_judged_raw_and_for_their_length():
    # Raw the short one is likelier; per character the long one is.
    weighed = Completion("0", "no", options=((-2.0, 2), (-3.0, 5)))
    raw, by_length = build_choice(), build_choice(normalise="characters")
    assert [one.value for one in raw.score(ROWS[:1], [weighed])] == [0.0]
    assert raw.score(ROWS[:1], [weighed])[0].why == "It chose 'no'."
    assert [(one.value, one.answer) for one in by_length.score(ROWS[:1], [weighed])] == [
        (1.0, "never in a year")
    ]
    assert build_choice(normalise="tokens").score(ROWS[:1], [weighed])[0].value == 1.0
    assert isinstance(raw, Measured)
    assert isinstance(by_length, Measured)
    assert raw.metric.title != by_length.metric.title


def test_a_written_answer_is_the_option_that_it_names_or_wrong():
    said = [Completion("1", text) for text in ("b", "B.", "1", "c", "what?", "")]
    assert [one.value for one in build_choice().score([ROWS[1]] * 6, said)] == [1, 1, 1, 0, 0, 0]


def test_what_has_no_options_or_no_right_one_is_not_scored():
    plain = Example("2", "t", "2", (message("user", "?"),), ("b",))
    scores = build_choice().score([plain, row("3", ["a", "b"])], [Completion("2", "b"), Completion("3", "a")])
    assert [one.value for one in scores] == [None, None]
    assert "no options" in scores[0].why


def test_guessing_is_the_floor_of_the_rows():
    scorer = fitted(build_choice(), ROWS)
    assert isinstance(scorer, Measured)
    assert scorer.metric.floors == {"guessing": (1 / 2 + 1 / 4) / 2}
