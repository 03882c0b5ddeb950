"""The repaired mode: what an instruction means, where the public checker says otherwise and where not."""

from __future__ import annotations

from typing import Any

import pytest

from espalier.scorers.ifeval.judge import Instruction, judged, variants
from espalier.scorers.ifeval.kinds import LEAST, LESS
from espalier.scorers.ifeval.repaired import count_sentences

DAYS = {"section_spliter": "Day", "num_sections": 2}
SO = {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "So"}
# (kind, settings, reply, officially, repaired)
CASES: list[tuple[str, dict[str, Any], str, bool, bool]] = [
    ("keywords:existence", {"keywords": ["art"]}, "It will start.", True, False),
    ("keywords:existence", {"keywords": ["art"]}, "Art, of course.", True, True),
    ("keywords:existence", {"keywords": ["a.t"]}, "It is art.", True, False),
    ("keywords:existence", {"keywords": ["C++"]}, "I write C++, mostly.", True, True),
    ("keywords:existence", {"keywords": ["*"]}, "2 * 3", False, True),
    ("keywords:existence", {"keywords": ["don't know"]}, "I don’t\nknow.", False, True),
    ("keywords:existence", {"keywords": ["猫"]}, "私は猫です", True, True),
    (
        "keywords:frequency",
        {"keyword": "her", "frequency": 2, "relation": LEAST},
        "There is her.",
        True,
        False,
    ),
    (
        "keywords:frequency",
        {"keyword": "her", "frequency": 2, "relation": LESS},
        "There is her.",
        False,
        True,
    ),
    ("keywords:forbidden_words", {"forbidden_words": ["$5"]}, "It cost $5.", True, False),
    ("keywords:forbidden_words", {"forbidden_words": ["a.t"]}, "It is art.", False, True),
    ("keywords:forbidden_words", {"forbidden_words": ["art"]}, "It will start.", True, True),
    (
        "length_constraints:number_words",
        {"num_words": 5, "relation": LEAST},
        "It's a well-known one.",
        True,
        False,
    ),
    ("length_constraints:number_words", {"num_words": 5, "relation": LESS}, "नदी के किनारे घर", False, True),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 3, "relation": LESS},
        "See e.g. this. Or so.",
        False,
        True,
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 2, "relation": LEAST},
        "यह है। वह है।",
        False,
        True,
    ),
    (
        "length_constraints:number_sentences",
        {"num_sentences": 3, "relation": LEAST},
        "1. Apples\n2. Pears",
        True,
        False,
    ),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a *** b", True, False),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\n***bold*** b", False, True),
    ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, '"a\n\n* * *\n\nb"', False, True),
    ("length_constraints:nth_paragraph_first_word", SO, "a\n\n\n\nso it is", False, True),
    ("length_constraints:nth_paragraph_first_word", SO, "a\n \nSo: it is", False, True),
    ("length_constraints:nth_paragraph_first_word", SO, "a\n\n**So** it is", False, True),
    ("length_constraints:nth_paragraph_first_word", SO, "a\n\nSome", False, False),
    (
        "detectable_content:number_placeholders",
        {"num_placeholders": 1},
        "[] and [1] and [see](there)",
        True,
        False,
    ),
    (
        "detectable_content:number_placeholders",
        {"num_placeholders": 1},
        "- [x] done\n- [ ] open",
        True,
        False,
    ),
    ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[name]: [a\nb] [date]", True, True),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "He slip.s. on", True, False),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "It ends.\nPS: one more", False, False),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.S."},
        "It ends.\nP.P.S. one more",
        True,
        False,
    ),
    (
        "detectable_content:postscript",
        {"postscript_marker": "P.P.S"},
        "It ends. P. P. S. one more",
        True,
        True,
    ),
    ("detectable_content:postscript", {"postscript_marker": "P.S."}, "It ends.\n\nP.S.", True, False),
    ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "*Verse one:*\n* point\n---", False, True),
    ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "-5 degrees\n*loud*", True, False),
    ("detectable_format:number_bullet_lists", {"num_bullets": 3}, "* a\n  - b\n+ c\n* * *", True, True),
    ("detectable_format:constrained_response", {}, "My answer is yes. My answer is no.", True, False),
    ("detectable_format:constrained_response", {}, "Well. My answer is no.", True, True),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "2 * 3 * 4", True, False),
    ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "* a * b", True, False),
    (
        "detectable_format:number_highlighted_sections",
        {"num_highlights": 2},
        "**one** and *the other*.",
        True,
        True,
    ),
    ("detectable_format:multiple_sections", DAYS, "Day 1 is like Day 2", True, False),
    ("detectable_format:multiple_sections", DAYS, "Day 1\na\nDay 1\nb", True, False),
    ("detectable_format:multiple_sections", DAYS, "**Day I**\na\n## DAY II: b", False, True),
    (
        "detectable_format:multiple_sections",
        {"section_spliter": "(Part", "num_sections": 1},
        "(Part 1)\na",
        False,
        True,
    ),
    ("detectable_format:json_format", {}, "NaN", True, False),
    ("detectable_format:json_format", {}, '"a"', True, False),
    ("detectable_format:json_format", {}, '{"a": 1, "a": 2}', True, False),
    ("detectable_format:json_format", {}, '```javascript\n{"a": 1}\n```', False, True),
    ("detectable_format:title", {}, "1 <<2 and >> 3", True, True),
    ("detectable_format:title", {}, "<<<<>>>> x <<?>>", True, False),
    ("combination:two_responses", {}, "a\n*******\nb", True, False),
    ("combination:two_responses", {}, "Yes, so\n******\nyes,\nso", True, False),
    ("combination:two_responses", {}, "a\n******\n\n******\nb", False, True),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, "Say it.", True, False),
    ("combination:repeat_prompt", {"prompt_to_repeat": "Say it\nnow."}, "Say it now. So be it", False, True),
    ("startend:end_checker", {"end_phrase": "ham"}, "In Gotham", True, False),
    ("startend:end_checker", {"end_phrase": "That is all."}, "And so on. **That is all.**", False, True),
    ("startend:end_checker", {"end_phrase": "That is all."}, "That is all. Or not?", False, False),
    ("startend:quotation", {}, '"a" and "b"', True, False),
    ("startend:quotation", {}, "“All of it.”", False, True),
    ("startend:quotation", {}, '"He said "so" and left."', True, True),
    ("startend:quotation", {}, '"', False, False),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": LEAST},
        "I AM",
        True,
        False,
    ),
    (
        "change_case:capital_word_frequency",
        {"capital_frequency": 2, "capital_relation": LESS},
        "I CAN'T",
        False,
        True,
    ),
    ("change_case:english_lowercase", {}, "das ist ein satz, und der ist nicht englisch.", False, False),
    ("punctuation:no_comma", {}, "一，二、三", True, False),
]


@pytest.mark.parametrize(("kind", "settings", "reply", "official", "repaired"), CASES)
def test_both_modes(kind: str, settings: dict[str, Any], reply: str, official: bool, repaired: bool) -> None:
    one = Instruction(kind, settings)
    found = judged(one, reply, "official"), judged(one, reply, "repaired")
    assert tuple(verdict.strict for verdict in found) == (official, repaired), found


def test_a_short_text_in_capitals_need_not_be_told() -> None:
    assert judged(Instruction("change_case:english_capital", {}), "ACME ROCKETS", "repaired").strict


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("No full stop", 1),
        ("A heading\n\nIt has a sentence. And another!", 2),
        ("# Title\n\n- one\n- two", 3),
        ("Mr. Wren met J. Finch at 5 p.m. on Monday.", 1),
        ("It cost 3.50. Really?! “Yes.” (No.)", 4),
        ("Who said I. I did.", 2),
        ("これは文です。これも。", 2),
        ("Wait… what? Etc.", 3),
        ("...", 0),
    ],
)
def test_sentences_as_a_person_counts_them(text: str, count: int) -> None:
    assert count_sentences(text) == count


def test_variants_are_eight_with_the_reply_itself() -> None:
    assert variants("a\n*b*\nc") == ["*b*\nc", "a\n*b*", "*b*", "a\nb\nc", "b\nc", "a\nb", "b"]
    assert variants("*a*") == ["", "", "", "a", "", "", ""]
