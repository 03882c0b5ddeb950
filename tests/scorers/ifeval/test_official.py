"""The official mode against what the public checker says: by hand, and on the replies of a whole model."""

from __future__ import annotations

import json
from collections import Counter
from typing import TYPE_CHECKING, Any

import pytest

from espalier.scorers.ifeval.judge import Instruction, instructions_of, judged

if TYPE_CHECKING:
    from pathlib import Path

# Of each kind: verdicts, those that the public checker finds strictly followed, and loosely. With langdetect
# 1.0.9 seeded with 0, and NLTK 3.9.1 with its punkt_tab.
PUBLIC = {
    "punctuation:no_comma": (66, 15, 18),
    "detectable_format:number_highlighted_sections": (47, 34, 34),
    "length_constraints:number_words": (52, 25, 33),
    "detectable_content:number_placeholders": (26, 12, 12),
    "combination:repeat_prompt": (41, 31, 31),
    "detectable_format:title": (37, 36, 36),
    "change_case:english_lowercase": (39, 34, 34),
    "detectable_format:number_bullet_lists": (31, 19, 21),
    "change_case:english_capital": (25, 7, 9),
    "detectable_format:multiple_sections": (14, 6, 6),
    "change_case:capital_word_frequency": (25, 18, 18),
    "startend:quotation": (41, 30, 32),
    "keywords:existence": (39, 29, 29),
    "detectable_format:json_format": (17, 15, 16),
    "length_constraints:number_paragraphs": (27, 8, 10),
    "combination:two_responses": (24, 11, 16),
    "language:response_language": (31, 30, 30),
    "keywords:letter_frequency": (33, 16, 17),
    "startend:end_checker": (26, 15, 16),
    "keywords:forbidden_words": (49, 22, 26),
    "keywords:frequency": (42, 24, 25),
    "length_constraints:number_sentences": (52, 35, 37),
    "detectable_content:postscript": (26, 26, 26),
    "length_constraints:nth_paragraph_first_word": (12, 2, 3),
    "detectable_format:constrained_response": (10, 9, 9),
}


def follows(kind: str, reply: str, **settings: Any) -> bool:
    return judged(Instruction(kind, settings), reply, "official").strict


@pytest.mark.parametrize(
    ("kind", "settings", "reply", "followed"),
    [
        ("keywords:existence", {"keywords": ["art"]}, "It will start.", True),
        ("keywords:existence", {"keywords": ["(a"]}, "(a", False),
        ("keywords:forbidden_words", {"forbidden_words": ["art"]}, "It will start.", True),
        ("keywords:forbidden_words", {"forbidden_words": ["art."]}, "Art is", False),
        ("keywords:forbidden_words", {"forbidden_words": ["a.t"]}, "It is art", False),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a *** b", True),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "***\na\n***\nb\n***", True),
        ("length_constraints:number_paragraphs", {"num_paragraphs": 2}, "a\n***\n***\nb", False),
        ("detectable_content:number_placeholders", {"num_placeholders": 2}, "[] [a](b)", True),
        ("detectable_content:postscript", {"postscript_marker": "P.S."}, "He slip.s. on", True),
        ("detectable_content:postscript", {"postscript_marker": "P.P.S"}, "p. p. s", True),
        ("detectable_content:postscript", {"postscript_marker": "P.S."}, "PS: so", False),
        ("detectable_format:number_bullet_lists", {"num_bullets": 2}, "---\n*loud*", True),
        ("detectable_format:number_bullet_lists", {"num_bullets": 1}, "**bold**\n+ plus\n* a", True),
        ("detectable_format:constrained_response", {}, "Not: My answer is yes. My answer is no.", True),
        ("detectable_format:number_highlighted_sections", {"num_highlights": 1}, "2 * 3 * 4", True),
        ("detectable_format:number_highlighted_sections", {"num_highlights": 2}, "**bold** * *", False),
        (
            "detectable_format:multiple_sections",
            {"section_spliter": "Day", "num_sections": 2},
            "Day 1 is like Day 2",
            True,
        ),
        (
            "detectable_format:multiple_sections",
            {"section_spliter": "Day", "num_sections": 1},
            "Day I",
            False,
        ),
        ("detectable_format:json_format", {}, "NaN", True),
        ("detectable_format:json_format", {}, '```JSON\n"a"\n```', True),
        ("detectable_format:json_format", {}, 'Here:\n{"a": 1}', False),
        ("detectable_format:title", {}, "1 << 2 and 3 >> 4", True),
        ("detectable_format:title", {}, "<< >>", False),
        ("combination:two_responses", {}, "******\na\n******\nb", True),
        ("combination:two_responses", {}, "a\n*******\n", True),
        ("combination:repeat_prompt", {"prompt_to_repeat": "Say it."}, " SAY IT.", True),
        ("startend:end_checker", {"end_phrase": "ham"}, 'In Gotham"', True),
        ("startend:end_checker", {"end_phrase": "ham"}, "It is *ham*", False),
        ("startend:quotation", {}, '"a" and "b"', True),
        ("startend:quotation", {}, "“a”", False),
        (
            "change_case:capital_word_frequency",
            {"capital_frequency": 3, "capital_relation": "at least"},
            "I CAN'T.",
            True,
        ),
        ("change_case:english_lowercase", {}, "7", False),
        ("punctuation:no_comma", {}, "一，二、三", True),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 2, "nth_paragraph": 2, "first_word": "So"},
            "a\n\n\n\nso it is",
            False,
        ),
        (
            "length_constraints:nth_paragraph_first_word",
            {"num_paragraphs": 1, "nth_paragraph": 1, "first_word": "so"},
            "so: it is",
            False,
        ),
        (
            "keywords:letter_frequency",
            {"letter": "#", "let_frequency": 1, "let_relation": "at least"},
            "#",
            True,
        ),
    ],
)
def test_the_mistakes_are_the_same(kind: str, settings: dict[str, Any], reply: str, followed: bool) -> None:
    assert follows(kind, reply, **settings) is followed


def test_verdicts_on_a_model_are_those_of_the_public_checker(shared_data: Path) -> None:
    pytest.importorskip("langdetect")
    folder = shared_data / "ifeval"
    lines = (folder / "example_en_responses.jsonl").read_text(encoding="utf-8").splitlines()
    replies = {row["prompt"]: row["response"] for row in map(json.loads, lines)}
    found: dict[str, Counter[str]] = {}
    for line in (folder / "input_data.josejg.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        for one in instructions_of(row["prompt"], row["instruction_id_list"], row["kwargs"], "official"):
            if row["prompt"] in replies:
                verdict = judged(one, replies[row["prompt"]], "official")
                counts = found.setdefault(one.kind, Counter())
                counts.update({"all": 1, "strict": verdict.strict, "loose": verdict.loose})
    assert {kind: (c["all"], c["strict"], c["loose"]) for kind, c in found.items()} == PUBLIC
