"""Answers that refuse, and answers that speak of the model that wrote them.

Both are learned fast: a few hundred rows of another assistant's refusals and a tuned model says whose it is.
A refusal is an apology, or a word on what one is, together with what its writer cannot do: "I'm sorry to hear
that" and "Unfortunately, it rains" answer. Each answer that is trained counts, not only the last.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.core.text import folded
from espalier.data.judgement import PASSES, Judgement, answered, each, filters
from espalier.filters.patterns import pattern, refusals

if TYPE_CHECKING:
    from espalier.core.records import Example
    from espalier.data.judgement import Filter

HEAD = 260  # characters of an answer in which it refuses, if it does
# Of each language how a refusal begins, and what then says that its writer cannot.
_REFUSES = refusals()
# No apology is needed, and nobody asks for such a text.
_SURELY = pattern("surely")
# What asks for a text that may itself apologise.
_ASKS_FOR_ONE = pattern("asks_for_one")
_WRITER = pattern("writer")
_A_MODEL = pattern("a_model")
# The row is about models, or asks who answers: then an answer may say what it is, but not whose.
_ABOUT_AI = pattern("about_ai")


@filters.register("refusal")
def refusal() -> Filter:
    """Answers that begin with a refusal, in thirteen languages."""

    def judge(example: Example) -> Judgement:
        for number, asked, answer in answered(example):
            head = folded(answer[: 2 * HEAD])[:HEAD]
            if _refuses(head, asked):
                why = f"The answer refuses: “{head[:60].strip()}”."
                return Judgement(False, why, spans=((number, 0, min(60, len(answer))),))
        return PASSES

    return each(judge)


@filters.register("self_identification")
def self_identification() -> Filter:
    """Answers that name the assistant which wrote them, or say that they are one where nobody asks."""

    def judge(example: Example) -> Judgement:
        for _, asked, answer in answered(example):
            plain = folded(answer)
            found = _WRITER.search(plain) or _A_MODEL.search(plain)
            if found and (found.re is _WRITER or not _ABOUT_AI.search(folded(asked))):
                around = plain[found.start() : found.end() + 40].strip()
                return Judgement(False, f"The answer speaks of its writer: “{around}”.")
        return PASSES

    return each(judge)


def _refuses(head: str, asked: str) -> bool:
    if _SURELY.match(head):
        return True
    for begins, unable in _REFUSES:
        if (found := begins.match(head)) and unable.search(head, found.end()):
            return not _ASKS_FOR_ONE.search(folded(asked))
    return False
