"""Answers that a regular expression accepts: one of the recipe's, or one of the row's own facts."""

from __future__ import annotations

import re
from typing import Literal

from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.scorers.by_row import ByRow

REGEX = Metric("Matches the pattern", phrase="the share of answers that match the pattern", unit="%")
NO_CHECK = "it matches the empty text, so that no answer would fail it"


def build_regex(
    *, pattern: str = "", match: Literal["search", "full"] = "search", ignore_case: bool = False
) -> Scorer:
    """1 where `pattern`, or the row's fact "pattern", is found in the answer; "full": is all of it."""
    flags = re.IGNORECASE if ignore_case else re.NOFLAG
    if problem := _problem(pattern, flags) if pattern else "":
        raise RecipeError(f"The pattern cannot be used: {problem}.", where="regex.pattern")

    def judge(example: Example, completion: Completion) -> Score:
        given = pattern or example.facts.get("pattern")
        if not isinstance(given, str) or not given:
            return Score(None, "the row has no pattern")
        if problem := "" if pattern else _problem(given, flags):
            return Score(None, f"the pattern cannot be used: {problem}")
        compiled, text = re.compile(given, flags), completion.text.strip()
        found = compiled.fullmatch(text) if match == "full" else compiled.search(text)
        return Score(float(bool(found)), "" if found else "it does not match", found.group() if found else "")

    return ByRow(judge, REGEX)


def _problem(pattern: str, flags: re.RegexFlag) -> str:
    try:
        return NO_CHECK if re.compile(pattern, flags).search("") else ""
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)
