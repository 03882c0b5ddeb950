"""What filters say of rows: each fault that they are for, and each row that only looks like one."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from espalier.core.errors import RecipeError
from espalier.core.records import Example, example_id, message
from espalier.data.judgement import Judgement, filters
from espalier.filters.personal import is_account, is_card, personal_in


def row(prompt: str, answer: str, input: str = "") -> Example:
    turns = (message("user", prompt), message("assistant", answer, trained=True))
    return Example(example_id(prompt, answer), "chat", prompt, turns, (answer,), input=input)


def judged(kind: str, *rows: Example, **params: Any) -> list[Judgement]:
    return list(filters.build(kind, params, "filter")(rows))


BAD = [
    ("form", "Name a bird.", "  "),
    ("form", "Name a bird.", "N/A"),
    ("form", "Name a bird, please.", "name a bird please"),
    ("form", "Write a letter.", "Dear [Your Name], thank you."),
    ("form", "Who are you?", "I am {{name}}."),
    ("form", "Print a line.", "```python\nprint('a')"),
    ("form", "Sing.", "la lo li lu le ly la lo li lu le ly " * 4),
    ("length", "Name a bird.", "word " * 2001),
    ("beyond_text", "Draw a picture of the house.", "Here it is."),
    ("beyond_text", "What do you see in the attached image?", "A house."),
    ("beyond_text", "Create a pie chart of these numbers.", "Done."),
    ("beyond_text", "Summarise it. Go to the website https://a.example first.", "It sells hats."),
    ("refusal", "Tell me the news.", "I'm sorry, but I cannot browse."),
    ("refusal", "Sag mir das Wetter.", "Es tut mir leid, das weiß ich nicht."),
    ("refusal", "天气怎么样？", "很抱歉，我无法回答。"),
    ("refusal", "How do you feel?", "As an AI language model, I feel nothing."),
    ("self_identification", "How old is the sea?", "My knowledge cutoff is 2021, so I do not know."),
    ("self_identification", "How do you feel?", "Well! I'm just a chatbot, of course."),
    ("personal", "Write to me.", "I am at ada.l@post.org today."),
    ("personal", "Call me.", "It is +44 20 7946 0958."),
    ("personal", "Pay.", "4539 1488 0343 6467, it says."),
    ("personal", "Where is it?", "At 8.8.8.8, or 2001:4860:4860::8888."),
    ("personal", "Log in.", "export TOKEN=ghp_abcdefghijklmnopqrstuvwxyz0123456789"),
    ("personal", "Send it.", "GB82 WEST 1234 5698 7654 32"),
]
GOOD = [
    ("form", "Write a set in mathematics.", "{x} and {y}, written `{x}`."),
    ("form", "Repeat: yes", "yes"),
    ("form", "Print a line.", "```python\nprint('a')\n```"),
    ("length", "Name a bird.", "wren"),
    ("beyond_text", "How do children learn to draw a house?", "By looking."),
    ("beyond_text", "Carla can download 2 GB in a minute. How long for 200?", "100 minutes."),
    ("beyond_text", "Summarise the plot of the play.", "A prince hesitates."),
    ("refusal", "My dog died.", "I'm so sorry to hear that."),
    ("refusal", "Write a dialogue.", "A: Come along!\nB: I cannot help you, I'm sorry."),
    ("self_identification", "Are you an AI language model?", "Yes, I am an AI language model."),
    ("personal", "Which version?", "Version 1.2.3.4 of 2024-05-01, build 20240501."),
    ("personal", "What is 1000*3+4000?", "1000 * 3 + 4000 = 7000, or 12345678."),
    ("personal", "Where?", "At 127.0.0.1 or 192.168.1.1; mail ada@example.com."),
    ("personal", "Pay.", "1234 5678 9012 3456"),
    ("personal", "When?", "It was 10:20:30, from 1914-1918 and 1939-1945."),
]


@pytest.mark.parametrize(("kind", "prompt", "answer"), BAD)
def test_faults_are_found_with_a_reason(kind: str, prompt: str, answer: str) -> None:
    (found,) = judged(kind, row(prompt, answer))
    assert found.ok is False
    assert found.why.endswith(".")


@pytest.mark.parametrize(("kind", "prompt", "answer"), GOOD)
def test_what_only_looks_like_a_fault_passes(kind: str, prompt: str, answer: str) -> None:
    (found,) = judged(kind, row(prompt, answer))
    assert found == Judgement(True), found


def test_an_input_that_says_there_is_none_is_told() -> None:
    assert judged("form", row("Name a bird.\n\nNoinput", "wren", input="<noinput>"))[0].why.startswith(
        "The input"
    )


def test_personal_data_is_told_by_its_place() -> None:
    text = "Ada (ada.l@post.org) at +44 20 7946 0958"
    found = [(kind, text[start:end]) for kind, (start, end) in personal_in(text)]
    assert found == [("email", "ada.l@post.org"), ("phone", "+44 20 7946 0958")]
    (verdict,) = judged("personal", row("Who?", text), kinds=["email"])
    assert [text[start:end] for number, start, end in verdict.spans if number == 1] == ["ada.l@post.org"]
    assert is_card("4111-1111-1111-1111")
    assert not is_card("4111-1111-1111-1112")
    assert not is_card("0" * 16)
    assert is_account("DE89 3704 0044 0532 0130 00")
    assert not is_account("DE88 3704 0044 0532 0130 00")


def test_rows_that_repeat_or_contradict_are_told_beside_the_other() -> None:
    first = row("Name a bird that sings at night in spring.", "A nightingale.")
    again = row("Name a bird that sings at night, in spring!", "a nightingale")
    other = row("Name a bird that sings at night in spring.", "An owl.")
    new = row("Spell the word queue.", "q-u-e-u-e")
    rows = (first, again, other, new)
    assert [one.near for one in judged("novelty", *rows)] == ["", first.id, first.id, ""]
    assert [one.near for one in judged("duplicates", *rows)] == ["", first.id, "", ""]
    assert [one.near for one in judged("duplicates", *rows, of="prompt")] == ["", first.id, first.id, ""]
    contradicting = judged("contradictions", *rows)
    assert [one.ok for one in contradicting] == [False, True, False, True]
    assert contradicting[0].near == other.id
    assert contradicting[2].near == first.id


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ("-5", "5", False),
        ("1.5", "15", False),
        ("C++", "C", False),
        ("1,000 birds", "1000 birds.", True),
        ("Yes.", "yes", True),
        ("from 3-8", "From 3–8.", True),
    ],
)
def test_answers_contradict_by_what_they_say(one: str, other: str, same: bool) -> None:
    found = judged("contradictions", row("What is it?", one), row("What is it?", other))
    assert [judgement.ok for judgement in found] == [same, same]


def test_an_answer_that_is_accepted_contradicts_none() -> None:
    rows = [replace(row("Name a bird.", name), references=("wren", "owl")) for name in ("wren", "owl")]
    assert [one.ok for one in judged("contradictions", *rows)] == [True, True]
    assert [one.ok for one in judged("contradictions", *rows, row("Name a bird.", "carp"))] == [False] * 3
    worse = replace(rows[0], messages=rows[0].messages[:1], references=(), rejected=rows[0].messages[1:])
    assert [one.ok for one in judged("contradictions", rows[0], worse)] == [True, True]


@pytest.mark.parametrize(
    ("kind", "params"), [("novelty", {"threshold": 0.0}), ("length", {"least": 9, "most": 3})]
)
def test_settings_that_do_not_fit_are_refused(kind: str, params: dict[str, Any]) -> None:
    with pytest.raises(RecipeError):
        filters.build(kind, params, "filter")


DDL = "CREATE TABLE boat (id INTEGER PRIMARY KEY, name TEXT);"


@pytest.mark.parametrize(
    ("kind", "good", "bad", "unknown", "facts"),
    [
        ("sql", "SELECT name FROM boat WHERE id > 3", "SELECT name FROM boat", None, {"schema": DDL}),
        ("code", "def f(): return 1", "import sys; sys.exit(0)", None, {"tests": ["assert f() == 1"]}),
        ("code", None, None, "def f(): return 1", {"tests": ["f()"]}),
        ("json", '{"a": 1}', '{"a": "1"}', None, {"schema": {"properties": {"a": {"type": "integer"}}}}),
        ("json", None, None, "1", {"schema": {"pattern": "a"}}),
        ("table", "a,b\n1,2", "a,b\n2,1", None, {"table": [{"a": 1, "b": 2}]}),
    ],
)
def test_answers_that_can_be_run_are(
    kind: str, good: str | None, bad: str | None, unknown: str | None, facts: dict[str, Any]
) -> None:
    facts = {**facts, "queries": ["SELECT name FROM boat WHERE id >= 4"]} if kind == "sql" else facts
    for text, ok in ((good, True), (bad, False), (unknown, None)):
        if text is not None:
            without, found = judged(kind, row("Do it.", text), replace(row("Do it.", text), facts=facts))
            assert without == Judgement(True)
            assert found.ok is ok
            assert bool(found.why) is not ok or ok is None
