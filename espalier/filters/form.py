"""Filters of a row's form: how long it is, what is missing or broken in it, and what no text can do.

The rules of Self-Instruct (Wang et al. 2022, appendix A) and what users of Alpaca's data found in it: empty
answers, "N/A" for an input, answers that only repeat the question, or that never end.
"""

from __future__ import annotations

import re
from collections import Counter
from typing import TYPE_CHECKING

from espalier.core.errors import RecipeError
from espalier.core.text import folded, unpunctuated, word_count, words
from espalier.data.judgement import PASSES, Judgement, each, filters

if TYPE_CHECKING:
    from collections.abc import Iterator

    from espalier.core.records import Example
    from espalier.data.judgement import Filter

LOOP = 12  # words: a run of so many that comes three times is no style
MISSING = frozenset({"n/a", "na", "none", "null", "nil", "nan", "-", "–", "noinput", "no input", "<noinput>"})
_HOLE = re.compile(
    r"\{\{\s*\w+\s*\}\}|\[(?:insert|your|name of|enter)\b[^\]]{0,40}\]|<(?:insert|your)\b[^>]{0,40}>"
    r"|\blorem ipsum\b|\bTODO\b|\bTBD\b",
    re.IGNORECASE,
)
# What asks for a picture, a file or the web, and not for a text about one.
_BEYOND = re.compile(
    r"(?:(?:^|[.:!?\n]\s+)(?:please\s+|now\s+)?"
    r"(?:draw|sketch|paint|photograph|scan|upload|attach|download|record|play)\s+(?:me\s+)?(?:an?|the|this|some)\b"
    r"|\b(?:attached|following|given|above|below|this)\s+(?:image|picture|photo|graph|chart|figure|map|video|audio|file)"
    r"|\b(?:create|make|generate|design|show)\s+(?:me\s+)?(?:an?|the|some)\s+(?:\w+\s+)?"
    r"(?:image|picture|photo|graph|chart|diagram|logo|map|video|infographic)s?\b"
    r"|\bgo\s+to\s+(?:the\s+)?(?:\w+\s+)?(?:web\s?site|page|link|url)|\bbrowse\s+the\s+(?:web|internet)"
    r"|\bsearch\s+(?:the\s+)?(?:web|internet|google|online)|click\s+(?:on\s+)?the\s+link)",
    re.IGNORECASE,
)


@filters.register("length")
def length(*, least: int = 1, most: int = 2000, prompt_least: int = 1, prompt_most: int = 4000) -> Filter:
    """Words of the answer and of the prompt: at least, and at most."""
    if not (0 <= least <= most and 0 <= prompt_least <= prompt_most):
        raise RecipeError("The least number of words must not be over the most.", where="filter.length")

    def judge(example: Example) -> Judgement:
        prompt = sum(word_count(turn.text) for turn in example.prompt)
        for part, count, low, high in (
            ("answer", word_count(example.answer), least, most),
            ("prompt", prompt, prompt_least, prompt_most),
        ):
            if not low <= count <= high:
                bound = f"at least {low}" if count < low else f"at most {high}"
                return Judgement(False, f"The {part} has {count} words; {bound} are wanted.", float(count))
        return PASSES

    return each(judge)


@filters.register("form")
def form() -> Filter:
    """What is missing or broken: no answer, the question again, a loop, a template's hole, open code."""

    def judge(example: Example) -> Judgement:
        return next(_broken(example), PASSES)

    return each(judge)


@filters.register("beyond_text")
def beyond_text() -> Filter:
    """Instructions that want a picture, a file or the web, which a model of texts has not."""

    def judge(example: Example) -> Judgement:
        turns = [(number, turn.text) for number, turn in enumerate(example.prompt) if turn.role == "user"]
        for number, text in turns:
            if found := _BEYOND.search(text):
                why = f"The instruction asks for more than text: “{found.group()}”."
                return Judgement(False, why, spans=((number, *found.span()),))
        return PASSES

    return each(judge)


def _broken(example: Example) -> Iterator[Judgement]:
    asked = example.prompt[-1].text if example.prompt else ""
    answer = example.answer
    if not answer.strip():
        yield Judgement(False, "The answer is empty.")
    elif folded(answer) in MISSING:
        yield Judgement(False, f"The answer is “{answer.strip()}”.")
    if not asked.strip():
        yield Judgement(False, "The prompt is empty.")
    if folded(example.input) in MISSING:
        yield Judgement(False, f"The input is “{example.input.strip()}”, which says that there is none.")
    if len(words(answer)) > 1 and unpunctuated(answer) == unpunctuated(asked):
        yield Judgement(False, "The answer repeats the prompt.")
    for number, text in ((-1, answer), *((n, turn.text) for n, turn in enumerate(example.prompt))):
        if found := _HOLE.search(text):
            place = len(example.prompt) if number < 0 else number
            yield Judgement(
                False, f"A hole was not filled: “{found.group()}”.", spans=((place, *found.span()),)
            )
    if answer.count("```") % 2:
        yield Judgement(False, "A block of code is opened and not closed.")
    if again := _loop(answer):
        yield Judgement(False, f"The answer says {again} times: “{_loop_text(answer)}”.", float(again))


def _runs(text: str) -> Counter[tuple[str, ...]]:
    found = words(text)
    return Counter(zip(*(found[start:] for start in range(LOOP)), strict=False))


def _loop(text: str) -> int:
    """Return how often the most frequent run of words comes, where that is three times or more."""
    most = max(_runs(text).values(), default=0)
    return most if most >= 3 else 0


def _loop_text(text: str) -> str:
    return " ".join(_runs(text).most_common(1)[0][0])
