"""The verdicts of IFEval's public checker, its mistakes with it, so that published numbers can be compared.

What each mistake is, and what is asked instead, stands in docs/ifeval.md. Where the public checker would
crash, on a keyword that is no regular expression, an instruction counts as not followed.
"""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

from espalier.sandbox.patterns import Ask, matched
from espalier.scorers.ifeval.kinds import ANSWERS, LEAST, compared, exactly, number_of
from espalier.scorers.ifeval.language import detected
from espalier.scorers.ifeval.sentences import sentences, tokens

if TYPE_CHECKING:
    from collections.abc import Callable

    from espalier.scorers.ifeval.kinds import Check, Settings

ENGLISH = {"language": "en"}
CAPITALS = "word in capitals", "words in capitals"


def counting(pattern: str) -> Callable[[str], int]:
    """Return what counts the matches of a pattern."""
    return lambda reply: len(re.findall(pattern, reply, re.MULTILINE))


def _times(pattern: str, reply: str) -> int:
    """Count the matches of what a file gives as a word. Raises re.error also where that takes too long."""
    (found,) = matched([Ask(pattern, reply, re.IGNORECASE, "all")])
    if found.late:
        raise re.error("matching it takes too long", pattern)
    return found.times


def _keywords(reply: str, given: Settings) -> str:
    """Look for each keyword as a regular expression, inside words too."""
    missing = [word for word in given["keywords"] if not _times(word, reply)]
    return f"it has no '{missing[0]}'" if missing else ""


def _frequency(reply: str, given: Settings) -> str:
    word = given["keyword"].strip()
    return compared(
        _times(word, reply), given["relation"], given["frequency"], f"'{word}'", f"times '{word}'"
    )


def _forbidden(reply: str, given: Settings) -> str:
    words = given["forbidden_words"]
    found = [word for word in words if _times(rf"\b{word}\b", reply)]
    return f"it has '{found[0]}'" if found else ""


def _letters(reply: str, given: Settings) -> str:
    letter = given["letter"].lower()
    count, noun = reply.lower().count(letter), f"'{letter}'"
    return compared(count, given["let_relation"], given["let_frequency"], noun, f"times {noun}")


def _language(reply: str, given: Settings) -> str:
    """Ask for the language of most of it; a text without letters is of any."""
    code = detected(reply, given["language"])
    return "" if code in (None, given["language"]) else f"its language is {code}, not {given['language']}"


def _paragraphs(reply: str, given: Settings) -> str:
    """Count what stands between three asterisks, on lines of their own or not."""
    parts = [part.strip() for part in re.split(r"\s?\*\*\*\s?", reply)]
    if not all(parts[1:-1]):
        return "two dividers have nothing in between"
    count = len(parts) - (not parts[0]) - (len(parts) > 1 and not parts[-1])
    return exactly(count, given["num_paragraphs"], "paragraph")


def _first_word(reply: str, given: Settings) -> str:
    """Count paragraphs that are not blank, but look for the nth among all."""
    parts = reply.split("\n\n")
    count = sum(bool(part.strip()) for part in parts)
    nth: int = given["nth_paragraph"]
    if nth > count or not parts[nth - 1].strip():
        return f"there is no paragraph {nth}"
    word = re.split("[.,?!'\"]", parts[nth - 1].split()[0].lstrip("'").lstrip('"'))[0].lower()
    if word != given["first_word"].lower():
        return f"paragraph {nth} begins with '{word}'"
    return exactly(count, given["num_paragraphs"], "paragraph")


def _postscript(reply: str, given: Settings) -> str:
    """Look for the marker anywhere, in the middle of a word too."""
    marker: str = given["postscript_marker"].strip()
    known = {"P.P.S": r"p\.\s?p\.\s?s", "P.S.": r"p\.\s?s\."}
    return "" if _times(known.get(marker, marker.lower()), reply.lower()) else f"it has no '{marker}'"


def _bullets(reply: str, given: Settings) -> str:
    """Count lines that begin with an asterisk or a hyphen, "---" and "*important*" among them."""
    count = counting(r"^\s*\*[^\*].*$")(reply) + counting(r"^\s*-.*$")(reply)
    return exactly(count, given["num_bullets"], "bullet point")


def _highlights(reply: str, given: Settings) -> str:
    """Count what stands between asterisks in one line, a product's factors and list items too."""
    single = sum(bool(one.strip("*").strip()) for one in re.findall(r"\*[^\n\*]*\*", reply))
    double = sum(bool(one.strip()) for one in re.findall(r"\*\*([^\n\*]*)\*\*", reply))
    return compared(single + double, LEAST, given["num_highlights"], "highlight")


def _sections(reply: str, given: Settings) -> str:
    """Count the marker with a number wherever it stands."""
    marker = given["section_spliter"].strip()
    count = len(re.split(rf"\s?{marker}\s?\d+\s?", reply)) - 1
    return compared(count, LEAST, given["num_sections"], "section")


def _json(reply: str, _: Settings) -> str:
    """Take any value of JSON, and NaN, within fences of four spellings or without."""
    text = reply.strip()
    for fence in ("```json", "```Json", "```JSON", "```"):
        text = text.removeprefix(fence)
    try:
        json.loads(text.removesuffix("```").strip())
    except (ValueError, RecursionError) as error:
        return f"it is not JSON: {error}"
    return ""


def _title(reply: str, _: Settings) -> str:
    titles = re.findall(r"<<[^\n]+>>", reply)
    return "" if any(title.lstrip("<").rstrip(">").strip() for title in titles) else "it has no <<title>>"


def _two(reply: str, _: Settings) -> str:
    parts = [part.strip() for part in reply.split("******")]
    if not all(parts[1:-1]):
        return "two dividers have nothing in between"
    given = [part for part in parts if part]
    if len(given) != 2:
        return exactly(len(given), 2, "response")
    return "both responses are the same" if given[0] == given[1] else ""


def _repeated(reply: str, given: Settings) -> str:
    begins = reply.strip().lower().startswith(given["prompt_to_repeat"].strip().lower())
    return "" if begins else "it does not begin with the request"


def _end(reply: str, given: Settings) -> str:
    phrase = given["end_phrase"].strip()
    return (
        ""
        if reply.strip().strip('"').lower().endswith(phrase.lower())
        else f"it does not end with '{phrase}'"
    )


def _capitals(reply: str, given: Settings) -> str:
    """Count NLTK's tokens in capitals: "I" and "A" are some, and "CAN'T" is two."""
    count = sum(token.isupper() for token in tokens(reply))
    return compared(count, given["capital_relation"], given["capital_frequency"], *CAPITALS)


def cased(language: Check) -> dict[str, Check]:
    """Return the checks of letters that are all capital, or all small, in English as `language` tells it."""

    def check(kind: str, fits: Callable[[str], bool]) -> Check:
        fault = f"not all letters are {kind}"
        return lambda reply, _: language(reply, ENGLISH) if fits(reply) else fault

    return {
        "change_case:english_capital": check("capital", str.isupper),
        "change_case:english_lowercase": check("small", str.islower),
    }


def _quoted(reply: str, _: Settings) -> str:
    text = reply.strip()
    return "" if len(text) > 1 and text[0] == text[-1] == '"' else "it is not in double quotation marks"


OFFICIAL: dict[str, Check] = {
    "keywords:existence": _keywords,
    "keywords:frequency": _frequency,
    "keywords:forbidden_words": _forbidden,
    "keywords:letter_frequency": _letters,
    "language:response_language": _language,
    "length_constraints:number_sentences": number_of(lambda reply: len(sentences(reply)), "sentence"),
    "length_constraints:number_paragraphs": _paragraphs,
    "length_constraints:number_words": number_of(counting(r"\w+"), "word"),
    "length_constraints:nth_paragraph_first_word": _first_word,
    "detectable_content:number_placeholders": number_of(counting(r"\[.*?\]"), "placeholder"),
    "detectable_content:postscript": _postscript,
    "detectable_format:number_bullet_lists": _bullets,
    "detectable_format:constrained_response": lambda reply, _: (
        "" if any(answer in reply for answer in ANSWERS) else "it has none of the answers"
    ),
    "detectable_format:number_highlighted_sections": _highlights,
    "detectable_format:multiple_sections": _sections,
    "detectable_format:json_format": _json,
    "detectable_format:title": _title,
    "combination:two_responses": _two,
    "combination:repeat_prompt": _repeated,
    "startend:end_checker": _end,
    "startend:quotation": _quoted,
    "change_case:capital_word_frequency": _capitals,
    **cased(_language),
    "punctuation:no_comma": lambda reply, _: "it has a comma" if "," in reply else "",
}
