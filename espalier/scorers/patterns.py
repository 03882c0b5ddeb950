"""Answers that a regular expression accepts: one of the recipe's, or one of the row's own facts."""

from __future__ import annotations

import re
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.sandbox.patterns import SECONDS, Ask, Found, matched

if TYPE_CHECKING:
    from collections.abc import Sequence

REGEX = Metric("Matches the pattern", phrase="the share of answers that match the pattern", unit="%")
NO_CHECK = "it matches the empty text, so that no answer would fail it"
LATE = f"the pattern takes over {SECONDS:g} s on answers such as this"


class Regex:
    """Answers against a pattern, all at once: see `sandbox.patterns`."""

    metric = REGEX

    def __init__(self, pattern: str, how: Literal["search", "full"], flags: re.RegexFlag) -> None:
        self._pattern, self._flags = pattern, flags
        self._how: Literal["search", "full"] = how

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return 1 or 0 for each; not scored where there is no pattern, or it takes too long."""
        patterns = [self._pattern or example.facts.get("pattern") for example in examples]
        problems = ["" if self._pattern else self._problem(pattern) for pattern in patterns]
        texts = [completion.text.strip() for completion in completions]
        asks = [
            Ask(str(pattern), text, self._flags, self._how)
            for pattern, text, problem in zip(patterns, texts, problems, strict=True)
            if not problem
        ]
        found = iter(matched(asks))
        return [
            Score(None, problem) if problem else _score(next(found), text)
            for problem, text in zip(problems, texts, strict=True)
        ]

    def _problem(self, pattern: object) -> str:
        if not isinstance(pattern, str) or not pattern:
            return "the row has no pattern"
        problem = _problem(pattern, self._flags)
        return f"the pattern cannot be used: {problem}" if problem else ""


def build_regex(
    *, pattern: str = "", match: Literal["search", "full"] = "search", ignore_case: bool = False
) -> Scorer:
    """1 where `pattern`, or the row's fact "pattern", is found in the answer; "full": is all of it."""
    flags = re.IGNORECASE if ignore_case else re.NOFLAG
    if problem := _problem(pattern, flags) if pattern else "":
        raise RecipeError(f"The pattern cannot be used: {problem}.", where="regex.pattern")
    return Regex(pattern, match, flags)


def _score(found: Found, text: str) -> Score:
    if found.late:
        return Score(None, LATE)
    return Score(
        float(found.times > 0), "" if found.times else "it does not match", text[found.start : found.end]
    )


@lru_cache(1024)
def _problem(pattern: str, flags: re.RegexFlag) -> str:
    try:
        re.compile(pattern, flags)
    except (re.error, OverflowError, RecursionError) as error:
        return str(error)
    (found,) = matched([Ask(pattern, "", flags)])
    return LATE if found.late else NO_CHECK if found.times else ""
