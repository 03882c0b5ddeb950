"""Which expressions say how long something lasts, which do not, and how they are joined to what lasts."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.tasks.event_duration.clauses import stated_duration
from espalier.tasks.event_duration.durations import find_durations


@pytest.mark.parametrize(
    ("text", "found", "joined"),
    [
        ("They slept for two hours.", "two hours", "clause"),
        ("They slept for 2.5 hours.", "2.5 hours", "clause"),
        ("They slept for an hour and a half.", "an hour and a half", "clause"),
        ("They waited two hours and ten minutes.", "two hours and ten minutes", "clause"),
        ("They slept for half an hour.", "half an hour", "clause"),
        ("They slept for several days.", "several days", "clause"),
        ("They slept for hours.", "hours", "clause"),
        ("It rained all night.", "all night", "clause"),
        ("They lived there from 1914 to 1918.", "from 1914 to 1918", "clause"),
        ("The shop opens from 9 a.m. until 5 p.m. daily.", "from 9 a.m. until 5 p.m", "clause"),
        ("She has taught since 1990.", "since 1990", "clause"),
        ("A three-year voyage began.", "A three-year", "noun"),
        ("A 90-minute film began.", "90-minute", "noun"),
        ("A decade of drought began.", "A decade", "noun"),
        ("A delay of forty minutes followed.", "forty minutes", "noun"),
        ("The Great War (1914-1918) was over.", "1914-1918", "noun"),
        ("They spent a week in Rome.", "a week", "complement"),
        ("It took him two years to write it.", "two years", "complement"),
        ("They mended it within two days.", "two days", "deadline"),
    ],
)
def test_durations(text: str, found: str, joined: str) -> None:
    assert [(d.text, d.joined) for d in find_durations(text)] == [(found, joined)]


@pytest.mark.parametrize(
    "text",
    [
        "She left two hours ago.",
        "She left two hours later.",
        "The three-year-old laughed.",
        "He is 80 years old.",
        "The bus comes every two hours.",
        "She works 40 hours a week.",
        "It costs $20 an hour.",
        "They pay $5 million a year.",
        "One day the cat ran off.",
        "It was the second day of the fair.",
        "In 1990 she left.",
        "The inn is an hour away.",
        "Two days before the fair it rained.",
        "It is the first time in ten years.",
        "The 19th century was long.",
        "Wait a second time.",
        "",
    ],
)
def test_what_is_no_duration(text: str) -> None:
    assert find_durations(text) == []


@given(st.text(max_size=60), st.text(max_size=40))
def test_any_text_is_judged_without_an_error(sentence: str, question: str) -> None:
    for duration in find_durations(sentence):
        assert 0 <= duration.start < duration.end <= len(sentence)
    stated_duration(sentence, question)


WORDS = st.sampled_from(
    [
        "how",
        "long",
        "did",
        "it",
        "take",
        "to",
        "the",
        "a",
        "for",
        "two",
        "hours",
        "years",
        "after",
        "before",
        "and",
        ",",
        "since",
        "1990",
        "from",
        "1914",
        "of",
        "in",
        "Ann",
        "slept",
        "?",
        ".",
        "(",
    ]
)


@given(st.lists(WORDS, max_size=14), st.lists(WORDS, max_size=8))
def test_any_words_are_judged_without_an_error(sentence: list[str], question: list[str]) -> None:
    stated = stated_duration(" ".join(sentence), " ".join(question))
    assert stated is None or stated.text in " ".join(sentence)
