"""How much an instruction asks for, without a model: its length, its clauses and the constraints it sets.

No more than a plain score: it orders instructions well enough to see whether a set has hard ones, and to
sweep (`tradeoff.py`). Signs that end a clause are those of any script; the words that begin one, and those of
a constraint, are English.
"""

from __future__ import annotations

import math
import re
from typing import TYPE_CHECKING

from espalier.core.text import kinds, word_count
from espalier.data.judgement import Judgement, each, filters

if TYPE_CHECKING:
    from espalier.core.records import Example
    from espalier.data.judgement import Filter

_CLAUSE = re.compile(
    r"\b(?:and then|because|although|though|unless|until|while|whereas|whether|if|when|which|who|whose|where"
    r"|so that|but|then|after|before|since)\b",
    re.IGNORECASE,
)
_SIGNS = frozenset(",;:.!?،؛؟。、，；：！？।॥…")
_BREAK = re.compile(r"\n\s*(?:[-*•]|\d+[.)])\s+")
_CONSTRAINTS = re.compile(
    r"\b(?:must|should|shall|have to|need to|make sure|ensure|exactly|at least|at most|no more than"
    r"|no less than|no fewer than|less than|more than|fewer than|up to|only|without|avoid|except|do not"
    r"|don['’]?t|never|in the (?:style|form|format|voice|tone) of"
    r"|as an? (?:list|table|poem|json|haiku|bullet)"
    r"|in (?:json|yaml|csv|html|markdown|rhyme|bullet points|alphabetical order)|step by step"
    r"|explain why|give reasons?|compare|cite)\b"
    r"|\b(?:\d+|two|three|four|five|six|seven|eight|nine|ten|twelve|twenty|hundred)\s+(?:\w+\s+)?"
    r"(?:words?|sentences?|paragraphs?|lines?|items?|points?|bullets?|examples?|steps?|characters?|letters?|reasons?)\b",
    re.IGNORECASE,
)


@filters.register("complexity")
def build_complexity(*, least: float = 0.0) -> Filter:
    """Length, clauses and constraints of what a row asks: at least so many points."""

    def judge(example: Example) -> Judgement:
        text = "\n".join(turn.text for turn in example.prompt if turn.role == "user")
        value = complexity(text)
        if value < least:
            why = f"It asks for little: {value:.1f} points of complexity; at least {least:g} are wanted."
            return Judgement(False, why, value)
        return Judgement(True, score=value)

    return each(judge)


def complexity(text: str) -> float:
    """Return a point for each doubling of words, for each further clause, and for each constraint.

    Clauses count by their doublings, too, and a constraint that is said twice is one.
    """
    count = word_count(text)
    if not count:
        return 0.0
    clauses = max(0, _ends(text) - 1) + len(_CLAUSE.findall(text)) + len(_BREAK.findall(text))
    constraints = len({found.group().lower() for found in _CONSTRAINTS.finditer(text)})
    return math.log2(1 + count) + math.log2(1 + clauses) + constraints


def _ends(text: str) -> int:
    """Return how often a sign that ends a clause stands before a space, or is not ASCII."""
    found = 0
    signs = kinds(text)
    for place, character in enumerate(text):
        if character in _SIGNS:
            after = signs[place + 1 : place + 2]
            found += after in ("", " ") or not character.isascii()
    return found
