"""Every kind of instruction can be followed and be failed, whatever its settings: none passes in silence.

A witness is a reply that follows an instruction, built from its settings; a breach is one that does not. No
check takes a null reply for one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.scorers.ifeval.judge import MODES, Instruction, Mode, instructions_of, judged
from espalier.scorers.ifeval.kinds import ANSWERS, KINDS, LEAST, LESS, UnusableInstruction, settings_of

if TYPE_CHECKING:
    from collections.abc import Callable

GERMAN = "Das ist ein Satz, und der ist nicht auf Englisch, weil wir es so wollen."
ENGLISH = "This is what we have to say about it, and there is nothing that you would not know."
WORD = st.text("abcdefghijklmnopqrstuvwxyz", min_size=3, max_size=8)
COUNT, RELATION = st.integers(1, 9), st.sampled_from([LESS, LEAST])
SETTINGS: dict[str, st.SearchStrategy[Any]] = {
    "keywords": st.lists(WORD, min_size=1, max_size=4),
    "forbidden_words": st.lists(WORD, min_size=1, max_size=4),
    "letter": st.sampled_from("abcqxyzEIO#!"),
    "language": st.sampled_from(["de", "en"]),
    "postscript_marker": st.sampled_from(["P.S.", "P.P.S", "Note:"]),
    "section_spliter": st.sampled_from(["Section", "SECTION", "Day"]),
    "prompt_to_repeat": WORD.map(lambda word: f"Tell me of {word},\nplease."),
    "end_phrase": st.sampled_from(["Any other questions?", "That is all", "Bye!"]),
    **{name: WORD for name in ("keyword", "first_word")},
}


@st.composite
def instructions(draw: st.DrawFn, *kinds: str) -> Instruction:
    kind = draw(st.sampled_from(kinds or tuple(KINDS)))
    made = {
        name: draw(SETTINGS.get(name, RELATION if "relation" in sort else COUNT))
        for name, sort in KINDS[kind].items()
    }
    if LESS in made.values():  # what has a word has a sentence
        made |= {name: 1 + value for name, value in made.items() if isinstance(value, int)}
    if "nth_paragraph" in made:
        made["num_paragraphs"] += made["nth_paragraph"]
    return Instruction(kind, made)


def several(what: str, count: int, between: str = " ") -> str:
    return between.join([what] * count) or "7"


def times(what: str, count: int, relation: str) -> str:
    """Return a text that has something as often as asked; digits are words of no kind."""
    return several(what, count) if relation == LEAST else "7 7"


def paragraphs(count: int, nth: int, word: str) -> str:
    parts = ["And so on."] * count
    parts[nth - 1] = f"{word.capitalize()} comes first."
    return "\n\n".join(parts)


WITNESSES: dict[str, Callable[..., str]] = {
    "keywords:existence": lambda keywords: f"It is about {', '.join(keywords)}.",
    "keywords:frequency": lambda keyword, frequency, relation: times(keyword, frequency, relation),
    "keywords:forbidden_words": lambda forbidden_words: "7 7",
    "keywords:letter_frequency": lambda letter, let_frequency, let_relation: times(
        f"{letter} 7", let_frequency, let_relation
    ),
    "language:response_language": lambda language: {"de": GERMAN, "en": ENGLISH}[language],
    "length_constraints:number_sentences": lambda num_sentences, relation: several(
        "The cat sat.", num_sentences if relation == LEAST else num_sentences - 1
    ),
    "length_constraints:number_paragraphs": lambda num_paragraphs: several(
        "A part.", num_paragraphs, "\n***\n"
    ),
    "length_constraints:number_words": lambda num_words, relation: several(
        "word", num_words if relation == LEAST else num_words - 1
    ),
    "length_constraints:nth_paragraph_first_word": lambda num_paragraphs, nth_paragraph, first_word: (
        paragraphs(num_paragraphs, nth_paragraph, first_word)
    ),
    "detectable_content:number_placeholders": lambda num_placeholders: several("[address]", num_placeholders),
    "detectable_content:postscript": lambda postscript_marker: (
        f"It ends.\n\n{postscript_marker} One more thing"
    ),
    "detectable_format:number_bullet_lists": lambda num_bullets: several("* point", num_bullets, "\n"),
    "detectable_format:constrained_response": lambda: ANSWERS[1],
    "detectable_format:number_highlighted_sections": lambda num_highlights: several(
        "so *loud*", num_highlights
    ),
    "detectable_format:multiple_sections": lambda section_spliter, num_sections: "\n\n".join(
        f"{section_spliter} {number}\nText." for number in range(1, num_sections + 1)
    ),
    "detectable_format:json_format": lambda: '```json\n{"a": [1, "b"]}\n```',
    "detectable_format:title": lambda: "<<A title>>\nAnd text.",
    "combination:two_responses": lambda: "One.\n******\nTwo.",
    "combination:repeat_prompt": lambda prompt_to_repeat: f"{prompt_to_repeat}\n\nHere you are.",
    "startend:end_checker": lambda end_phrase: f"It ends. {end_phrase}",
    "startend:quotation": lambda: '"All of it."',
    "change_case:capital_word_frequency": lambda capital_frequency, capital_relation: times(
        "NASA", capital_frequency, capital_relation
    ),
    "change_case:english_capital": lambda: several(ENGLISH, 3).upper(),
    "change_case:english_lowercase": lambda: several(ENGLISH, 3).lower(),
    "punctuation:no_comma": lambda: "It has no such sign.",
}
BREACHES: dict[str, Callable[..., str]] = {
    "keywords:forbidden_words": lambda forbidden_words: f"It is {forbidden_words[-1].upper()}!",
    "language:response_language": lambda language: {"en": GERMAN, "de": ENGLISH}[language],
    "detectable_format:number_bullet_lists": lambda num_bullets: several("* point", num_bullets + 1, "\n"),
    "length_constraints:number_paragraphs": lambda num_paragraphs: several(
        "A", num_paragraphs + 1, "\n***\n"
    ),
    "detectable_format:json_format": lambda: '{"a": [1, "b"',
    "combination:two_responses": lambda: "One.\n******\nOne.",
    "punctuation:no_comma": lambda: "It has it, here.",
}
# A reply without a word follows these officially: what must not be there is not there.
SILENT = {
    "punctuation:no_comma",
    "keywords:forbidden_words",
    "language:response_language",
    *(kind for kind, names in KINDS.items() if "relation" in names.values()),  # "less than"
}


def witness(one: Instruction) -> str:
    return WITNESSES[one.kind](**one.settings)


def breach(one: Instruction) -> str:
    """Return a reply with words that fails: one digit is too little of most things, a witness too much."""
    if one.kind in BREACHES:
        return BREACHES[one.kind](**one.settings)
    if LESS not in one.settings.values():
        return "7" if 1 not in one.settings.values() or "num_words" not in one.settings else ""
    relations = {name: LEAST for name, value in one.settings.items() if value == LESS}
    return WITNESSES[one.kind](**{**one.settings, **relations})


def usable(one: Instruction) -> bool:
    """Tell settings by which a witness of digits or a breach of one word is none."""
    found = one.settings
    return not (found.get("num_sentences", found.get("num_words", 2)) == 1 and LEAST in found.values())


modes = pytest.mark.parametrize("mode", MODES)
patient = settings(max_examples=100)  # langdetect takes a second to load


@modes
@patient
@given(one=instructions())
def test_a_witness_follows_and_a_breach_does_not(mode: Mode, one: Instruction) -> None:
    followed = judged(one, witness(one), mode)
    assert followed.strict, followed.why
    assert followed.loose
    if usable(one):
        failed = judged(one, breach(one), mode)
        assert not failed.strict
        assert failed.why


@modes
@patient
@given(one=instructions(), null=st.sampled_from(["", " ", "\n\n\t\n"]))
def test_no_check_takes_a_blank_reply(mode: Mode, one: Instruction, null: str) -> None:
    verdict = judged(one, null, mode)
    assert (verdict.strict, verdict.loose, verdict.why) == (False, False, "there is no reply")


@patient
@given(one=instructions(), null=st.sampled_from(["…", "***", '""', "--", "<<>>", "[]", "#", "\n.\n", "🙂"]))
def test_no_repaired_check_takes_a_reply_without_a_word(one: Instruction, null: str) -> None:
    verdict = judged(one, null, "repaired")
    assert not verdict.strict
    assert not verdict.loose


@patient
@given(one=instructions())
def test_which_official_checks_take_a_reply_without_a_word(one: Instruction) -> None:
    passes = one.kind in SILENT and LEAST not in one.settings.values()
    one_is_enough = 1 in (one.settings.get("num_sentences"), one.settings.get("num_paragraphs"))
    assert judged(one, "…", "official").strict is (passes or one_is_enough)


# They can be followed at once, in the order in which they stand in a reply.
TOGETHER = (
    "detectable_format:title",
    "keywords:existence",
    "detectable_content:number_placeholders",
    "detectable_format:number_highlighted_sections",
    "detectable_format:multiple_sections",
    "detectable_format:number_bullet_lists",
    "detectable_content:postscript",
    "startend:end_checker",
)


@modes
@settings(max_examples=40)
@given(data=st.data())
def test_instructions_are_followed_at_once(mode: Mode, data: st.DataObject) -> None:
    kinds = data.draw(st.lists(st.sampled_from(TOGETHER), min_size=2, unique=True).map(sorted), label="kinds")
    asked = [data.draw(instructions(kind)) for kind in sorted(kinds, key=TOGETHER.index)]
    reply = "\n\n".join(map(witness, asked))
    verdicts = [judged(one, reply, mode) for one in asked]
    assert all(verdict.strict for verdict in verdicts), verdicts
    wrapped = judged(Instruction("startend:quotation", {}), f'"{reply}"', mode)
    assert wrapped.strict


@modes
@patient
@given(one=instructions(), data=st.data())
def test_a_frame_fails_strictly_and_not_loosely(mode: Mode, one: Instruction, data: st.DataObject) -> None:
    framed = f"Sure, here it is:\n{witness(one)}\nI hope this helps, friend."
    verdict = judged(one, framed, mode)
    assert verdict.loose or not verdict.strict
    if one.kind in ("startend:quotation", "detectable_format:json_format", "startend:end_checker"):
        assert (verdict.strict, verdict.loose) == (False, True)


@pytest.mark.parametrize(
    ("kind", "kwargs", "why"),
    [
        ("keywords:existance", {}, "Did you mean 'keywords:existence'?"),
        ("keywords:existence", {}, "has no 'keywords'"),
        ("keywords:existence", None, "has no 'keywords'"),
        ("keywords:existence", {"keywords": None}, "has no 'keywords'"),
        ("keywords:existence", {"keywords": "wren"}, "is 'wren'; it should be a list of texts"),
        ("keywords:existence", {"keywords": []}, "should be a list of texts"),
        ("keywords:existence", {"keywords": ["wren", 3]}, "should be a list of texts"),
        ("keywords:existence", ["wren"], "are list, not an object"),
        (
            "keywords:frequency",
            {"keyword": " ", "frequency": 1, "relation": LESS},
            "a text that is not empty",
        ),
        ("keywords:frequency", {"keyword": "a", "frequency": "1", "relation": LESS}, "a whole number"),
        ("keywords:frequency", {"keyword": "a", "frequency": True, "relation": LESS}, "a whole number"),
        ("keywords:frequency", {"keyword": "a", "frequency": -1, "relation": LESS}, "a whole number"),
        ("keywords:frequency", {"keyword": "a", "frequency": 1.5, "relation": LESS}, "a whole number"),
        ("keywords:frequency", {"keyword": "a", "frequency": 1, "relation": "at most"}, "'less than' or"),
        (
            "keywords:letter_frequency",
            {"letter": "ab", "let_frequency": 1, "let_relation": LESS},
            "one character",
        ),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 3, "first_word": "so"},
            "is 3, of 2 paragraphs",
        ),
    ],
)
def test_settings_that_are_none_are_refused(kind: str, kwargs: object, why: str) -> None:
    with pytest.raises(UnusableInstruction, match=why.replace("?", r"\?").replace("(", r"\(")):
        settings_of(kind, kwargs)


def test_settings_of_other_kinds_are_left_out_where_they_are_null() -> None:
    table = {"num_words": 300.0, "relation": LEAST, "keywords": None, "letter": None}
    assert settings_of("length_constraints:number_words", table) == {"num_words": 300, "relation": LEAST}


@pytest.mark.parametrize("lists", [(None, None), ([], []), (["punctuation:no_comma"], []), ("a", [{}])])
def test_lists_that_do_not_fit_are_refused(lists: tuple[object, object]) -> None:
    with pytest.raises(UnusableInstruction):
        instructions_of("?", *lists, "repaired")


def test_what_the_prompts_themselves_say_is_repaired() -> None:
    prompt = "Answer in lower case letters, in at least 400 words and double quotation marks."
    kinds = ["startend:quotation", "length_constraints:number_words", "startend:quotation"]
    kwargs = [{}, {"relation": LEAST, "num_words": 336}, {}]
    assert [one.settings for one in instructions_of(prompt, kinds, kwargs, "official")] == kwargs
    assert instructions_of(prompt, kinds, kwargs, "repaired") == [
        Instruction("startend:quotation", {}),
        Instruction("length_constraints:number_words", {"relation": LEAST, "num_words": 400}),
        Instruction("change_case:english_lowercase", {}),
    ]
