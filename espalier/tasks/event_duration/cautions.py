"""The bundled task "event duration": its cautions as checks of one question, and one check of all questions.

The task: given a sentence, ask how long one of its events lasts, so that common sense answers and the
sentence does not. The checks are rules without a model, a fraction of a millisecond each; how well they agree
with people is in docs/event-duration.md. What they cannot judge is whether common sense really knows the
answer.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from espalier.core.text import counted, unpunctuated
from espalier.tasks.checks import SetCheck, Verdict, check, set_checks
from espalier.tasks.event_duration.clauses import stated_duration
from espalier.tasks.event_duration.words import content_roots, same_root, words

if TYPE_CHECKING:
    from collections.abc import Sequence


_UNITS = r"(?:seconds?|minutes?|hours?|days?|nights?|weeks?|months?|years?|decades?|centuries|time)"
_ASKS = re.compile(
    rf"\bhow\s+long\b|\bhow\s+(?:many|much)\s+(?:more\s+)?{_UNITS}\b|\b(?:duration|length)\s+of\b", re.I
)
_POINT = re.compile(
    rf"\bhow\s+(?:long|(?:many|much)\s+{_UNITS})\s+(?:ago|before|after|until|till|from\s+now)\b", re.I
)
_RATE = re.compile(
    rf"\bhow\s+many\s+{_UNITS}\s+(?:an?|per|each|every)\b|\bper\s+{_UNITS}\b|"
    rf"\bhow\s+many\s+{_UNITS}\b[^?]*\b(?:an?|each|every)\s+(?:day|week|month|year)\b|\bhow\s+many\s+times\b",
    re.I,
)
_AGE = re.compile(rf"\bhow\s+many\s+{_UNITS}\s+(?:old|of\s+age)\b|\bhow\s+old\b", re.I)
_THINGS = (
    "road|street|bridge|river|rope|string|table|wall|fence|tunnel|snake|tail|hair|beard|beach|coast|path|trail|board|"
    "sword|knife|rod|pipe|cable|wire|thread|scarf|dress|sleeve|boat|ship|car|bus|pool|runway|track|route|corridor|book"
)
_METRES = re.compile(
    r"\bhow\s+(?:long|many)\b[^?]*\b(?:in|many)\s+(?:metres|meters|kilometres|kilometers|km|cm|miles|feet|inches|yards)\b|"
    rf"\bhow\s+long\s+(?:is|are|was|were)\s+(?:the|a|an|his|her|its|their|your|my)\s+(?:\w+\s+)?(?:{_THINGS})s?\s*\?",
    re.I,
)
_STARTS = re.compile(
    r"(?:[^,?]{1,60},\s+)?(?:(?:for|about|approximately|roughly|around|in|on|during|at|over|to|by|since|until|of|and|so)\s+(?:about\s+)?)?"
    r"(?:how|what|which|who|whom|whose|when|where|why|is|are|was|were|do|does|did|has|have|had|will|would|can|could|"
    r"should|may|might|must)\b",
    re.I,
)
_TWO_SENTENCES = re.compile(r"[!?;\n]|[a-z]{3}\.\s+[A-Z]")
WORDS = (3, 25)


@check("asks_duration")
def asks_duration(task_input: str, output: str) -> Verdict:
    """Asks how long something lasts; not how long ago, how often, how old or how many metres."""
    if not _ASKS.search(output):
        return Verdict(False, "It does not ask how long something lasts.")
    for pattern, why in (
        (_POINT, "It asks when something happened, not how long it lasts."),
        (_RATE, "It asks how often or at what rate, not how long once."),
        (_AGE, "It asks for an age."),
        (_METRES, "It asks for the length of a thing, not of an event."),
    ):
        if pattern.search(output):
            return Verdict(False, why)
    return Verdict(True, "It asks how long something lasts.")


@check("grounded")
def grounded(task_input: str, output: str) -> Verdict:
    """Speaks of something that the sentence speaks of: at least one content word of the same family."""
    sentence = set(content_roots(task_input))
    asked = content_roots(output)
    shared = [word for word in asked if any(same_root(word, other) for other in sentence)]
    if shared:
        return Verdict(True, f"{len(shared)} of its {len(asked)} content words are in the sentence.")
    what = (
        "None of its content words is in the sentence."
        if asked
        else "It names nothing: it fits any sentence."
    )
    return Verdict(False, what)


@check("answer_not_stated")
def answer_not_stated(task_input: str, output: str) -> Verdict:
    """The sentence does not say how long the asked event lasts; a duration of another event is no harm."""
    stated = stated_duration(task_input, output)
    if stated:
        return Verdict(False, f'The sentence gives the answer: "{stated.text}".')
    return Verdict(True, "The sentence does not say how long the asked event lasts.")


@check("well_formed")
def well_formed(task_input: str, output: str) -> Verdict:
    """One question of 3 to 25 words: starts like one, ends with "?", and is no copy of the input."""
    count = len(words(output))
    copied = unpunctuated(output) == unpunctuated(task_input)
    for wrong, why in (
        (not output.endswith("?"), "It does not end with a question mark."),
        (_TWO_SENTENCES.search(output[:-1]) is not None, "It is more than one sentence."),
        (copied, "It is a copy of the input."),
        (
            not WORDS[0] <= count <= WORDS[1],
            f"It has {counted(count, 'word')}; expected {WORDS[0]} to {WORDS[1]}.",
        ),
        (not _STARTS.match(output), "It does not start like a question."),
    ):
        if wrong:
            return Verdict(False, why)
    return Verdict(True, "It is one well-formed question.")


@set_checks.register("not_constant")
def not_constant(least: float = 0.5) -> SetCheck:
    """Different sentences get different questions: at least this share of the questions is distinct."""

    def judge(inputs: Sequence[str], outputs: Sequence[str | None]) -> Verdict:
        """Compare the questions without regard to case, spaces and punctuation."""
        asked: dict[str, str] = {}
        for task_input, output in zip(inputs, outputs, strict=True):
            asked[unpunctuated(task_input)] = unpunctuated(output or "")
        if len(asked) < 2:
            return Verdict(None, "Fewer than two different inputs: nothing to compare.")
        if not any(asked.values()):
            return Verdict(False, "There is no answer at all.")
        distinct = len(set(asked.values()))
        share = distinct / len(asked)
        return Verdict(
            share >= least,
            f"{counted(distinct, 'different question')} for {len(asked)} inputs ({share:.0%}).",
        )

    return judge
