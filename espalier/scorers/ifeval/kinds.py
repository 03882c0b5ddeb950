"""IFEval's 25 kinds of instruction and what each has to be told (Zhou et al. 2023, arXiv 2311.07911).

A missing value is refused here; the public checker would draw one at random, and judge by that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, cast

from espalier.core.errors import nearest
from espalier.core.text import counted

Settings: TypeAlias = Mapping[str, Any]
# From a reply and an instruction's settings to why it is not followed, in words; '' where it is.
Check: TypeAlias = Callable[[str, Settings], str]

LESS, LEAST = "less than", "at least"
# Each kind's settings, each with what it has to be.
KINDS: dict[str, dict[str, str]] = {
    "keywords:existence": {"keywords": "texts"},
    "keywords:frequency": {"keyword": "text", "frequency": "count", "relation": "relation"},
    "keywords:forbidden_words": {"forbidden_words": "texts"},
    "keywords:letter_frequency": {"letter": "letter", "let_frequency": "count", "let_relation": "relation"},
    "language:response_language": {"language": "text"},
    "length_constraints:number_sentences": {"num_sentences": "count", "relation": "relation"},
    "length_constraints:number_paragraphs": {"num_paragraphs": "count"},
    "length_constraints:number_words": {"num_words": "count", "relation": "relation"},
    "length_constraints:nth_paragraph_first_word": {
        "num_paragraphs": "count",
        "nth_paragraph": "count",
        "first_word": "text",
    },
    "detectable_content:number_placeholders": {"num_placeholders": "count"},
    "detectable_content:postscript": {"postscript_marker": "text"},
    "detectable_format:number_bullet_lists": {"num_bullets": "count"},
    "detectable_format:constrained_response": {},
    "detectable_format:number_highlighted_sections": {"num_highlights": "count"},
    "detectable_format:multiple_sections": {"section_spliter": "text", "num_sections": "count"},
    "detectable_format:json_format": {},
    "detectable_format:title": {},
    "combination:two_responses": {},
    "combination:repeat_prompt": {"prompt_to_repeat": "text"},
    "startend:end_checker": {"end_phrase": "text"},
    "startend:quotation": {},
    "change_case:capital_word_frequency": {"capital_frequency": "count", "capital_relation": "relation"},
    "change_case:english_capital": {},
    "change_case:english_lowercase": {},
    "punctuation:no_comma": {},
}
ANSWERS = ("My answer is yes.", "My answer is no.", "My answer is maybe.")
_FITS: dict[str, tuple[str, Callable[[Any], bool]]] = {
    "text": ("a text that is not empty", lambda v: isinstance(v, str) and bool(v.strip())),
    "letter": ("one character", lambda v: isinstance(v, str) and len(v.strip()) == 1 == len(v)),
    "relation": (f"'{LESS}' or '{LEAST}'", lambda v: v in (LESS, LEAST)),
    "count": (
        "a whole number from 0 on",
        lambda v: isinstance(v, int) and not isinstance(v, bool) and v >= 0,
    ),
    "texts": (
        "a list of texts",
        lambda v: isinstance(v, list) and v != [] and all(map(_FITS["text"][1], cast("list[object]", v))),
    ),
}


class UnusableInstruction(Exception):
    """An instruction that no reply can be held to; the message says why."""


def settings_of(kind: str, kwargs: object) -> dict[str, Any]:
    """Return what an instruction is told, checked; what is null, or another kind's, is left out.

    Raises:
        UnusableInstruction: there is no such kind, or a value is missing or no such thing.
    """
    if kind not in KINDS:
        raise UnusableInstruction(f"no kind of instruction is named '{kind}'. {nearest(kind, KINDS)}")
    if not isinstance(kwargs, dict | None):
        raise UnusableInstruction(f"the kwargs of {kind} are {type(kwargs).__name__}, not an object {{…}}.")
    given = cast("dict[str, Any]", kwargs or {})
    found: dict[str, Any] = {}
    for name, sort in KINDS[kind].items():
        value = given.get(name)
        if isinstance(value, float) and value.is_integer():
            value = int(value)  # a column with gaps is one of floats to many readers
        wanted, fits = _FITS[sort]
        if value is None:
            raise UnusableInstruction(f"{kind} has no '{name}'; it should be {wanted}.")
        if not fits(value):
            raise UnusableInstruction(f"'{name}' of {kind} is {value!r}; it should be {wanted}.")
        found[name] = value
    nth, count = found.get("nth_paragraph", 1), found.get("num_paragraphs", 1)
    if not 1 <= nth <= count and "nth_paragraph" in found:
        raise UnusableInstruction(f"'nth_paragraph' of {kind} is {nth}, of {counted(count, 'paragraph')}.")
    return found


def compared(count: int, relation: str, wanted: int, noun: str, plural: str = "") -> str:
    """Return why a count is not as asked; '' where it is."""
    followed = count < wanted if relation == LESS else count >= wanted
    return "" if followed else f"it has {counted(count, noun, plural)}, not {relation} {wanted}"


def number_of(count: Callable[[str], int], noun: str) -> Check:
    """Return a check that compares what is counted with the setting that is called so: num_words."""
    name = f"num_{noun}s"
    return lambda reply, given: compared(count(reply), given.get("relation", LEAST), given[name], noun)


def exactly(count: int, wanted: int, noun: str) -> str:
    """Return why a count is not that number; '' where it is."""
    return "" if count == wanted else f"it has {counted(count, noun)}, not {wanted}"
