"""How an answer is said, whatever it says: traits that a rule can see, and their share as the style score.

Imitating an assistant moves these before it moves what a model knows (Gudibande et al. 2023, arXiv
2305.15717). The score is no judgement: it is the share of the traits that an answer has, so that a model that
was tuned to short labels falls, and one that was tuned to chat rises.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from espalier.core.text import word_count

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

LONG = 12  # words of an answer that is more than a phrase

_LIST = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+\S", re.M)
_MARKDOWN = re.compile(r"\*\*\S|^#{1,6} |`[^`\n]+`|^```|\[[^\]\n]+\]\([^)\n]+\)|^\|.*\|", re.M)
_HEDGES = re.compile(
    r"\b(?:may|might|could|perhaps|probably|possibly|likely|usually|often|generally|typically|seems?|about|"
    r"around|approximately|roughly|it depends|i think|i believe|not sure|in general)\b",
    re.I,
)
_POLITE = re.compile(
    r"\b(?:please|thank(?:s| you)|sorry|i apologi[sz]e|of course|certainly|sure|happy to|glad to|"
    r"hope this helps|let me know|you're welcome|feel free)\b",
    re.I,
)
_ENDS = re.compile(r"[.!?。！？…][\"'”’)\]*]*$")
_SENTENCES = re.compile(r"[^\W\d][\"'”’)\]]*[.!?。！？]+\s+\S")  # a list's "1. " ends none

TRAITS: Mapping[str, Callable[[str], bool]] = {
    "begins with a capital letter": lambda text: text[:1].isupper(),
    "ends as a sentence does": lambda text: _ENDS.search(text) is not None,
    f"has at least {LONG} words": lambda text: word_count(text) >= LONG,
    "has several sentences": lambda text: _SENTENCES.search(text) is not None,
    "has a list": lambda text: _LIST.search(text) is not None,
    "has Markdown": lambda text: _MARKDOWN.search(text) is not None,
    "hedges": lambda text: _HEDGES.search(text) is not None,
    "is polite": lambda text: _POLITE.search(text) is not None,
}


def traits(text: str) -> dict[str, float]:
    """Return of each trait whether an answer has it, 1 or 0; an empty answer has none."""
    text = text.strip()
    return {name: float(bool(text) and has(text)) for name, has in TRAITS.items()}


def style_score(text: str) -> float:
    """Return the share of the traits that an answer has, 0 to 1."""
    found = traits(text)
    return sum(found.values()) / len(found)
