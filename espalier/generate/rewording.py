"""A task's definition put into other words by a model: what it is asked, and what of its answers can be used.

What changes more than the wording is left out, with the reason: a label or a form that is gone, an answer to
the task, a text of another length.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.text import folded, unpunctuated, word_count, words
from espalier.generate.parsing import after_label

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.generate.author import Answer

# It begins with what all manners share, so that a model of this machine computes that once.
ASKED = """
Below is the description of a task that somebody else will do. Say the same in other words. Do not do the \
task. Keep every rule, every label and the form that an answer must have, and add nothing.

Description: {definition}

Write only the new description, {manner}."""
MANNERS = (
    "in plain words",
    "as briefly as nothing is lost",
    "formally",
    "as to a friend",
    "as an order",
    "as a question",
    "with its sentences in another order",
    "in short sentences",
    "as one sentence",
    "politely",
)
LABELS = ("new description", "new task description", "description", "rewritten description", "task")
SHARED = 0.25  # of the definition's longer words, the least that a paraphrase has
LONG = 5  # letters from which on a word is one of these; so many are compared, for its endings
_QUOTED = re.compile(r"\"([^\"\n]{1,40})\"|“([^”\n]{1,40})”|(?<!\w)'([^'\n]{1,40})'(?!\w)|`([^`\n]{1,40})`")
_FORM = re.compile(r"\b(?:json|xml|ya?ml|csv|html|markdown|latex|sql|\d+)\b", re.IGNORECASE)
# What a model writes that makes up a row: a heading with its text, a sentence in quotes, a number.
_ROW = re.compile(
    r"\b(?:sentence|question|input|output|answer|example|text|passage)s?\s*:|(?<![\w\"“])[\"“](?=\S)[^\"“”\n]*\s[^\"“”\n]*[\"”]|\d+",
    re.IGNORECASE,
)
_CHAT = re.compile(
    r"\b(?:as an? (?:ai|language model)|i(?:'m| am)|i (?:can(?:no|')t|am unable)"
    r"|(?:new|the) description|other words)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Paraphrase:
    """What was written: of which task, in which manner, by which request, and why it is left out, or ''."""

    task: str
    manner: str
    text: str
    request: str
    finish: str
    why: str = ""


@dataclass(frozen=True, slots=True)
class Writing:
    """All that a writer wrote.

    Attributes:
        writer: its name for a person, with its weights or its address.
        prompt: how it is asked.
        key: the hash of writer, prompts and settings.
        texts: all of them, task by task.
    """

    writer: str
    prompt: str
    key: str
    texts: tuple[Paraphrase, ...]

    @property
    def name(self) -> str:
        """The writer without its weights or address."""
        return re.split(r" \(weights | at http", self.writer)[0]

    @property
    def kept(self) -> dict[str, list[str]]:
        """The definitions that can be used, by task."""
        found: defaultdict[str, list[str]] = defaultdict(list)
        for one in self.texts:
            found[one.task] += [] if one.why else [one.text]
        return dict(found)

    @property
    def left(self) -> dict[str, int]:
        """Why others cannot be used, and how often."""
        return dict(Counter(one.why for one in self.texts if one.why).most_common())


@dataclass(frozen=True, slots=True)
class Told:
    """What a definition's paraphrases have to keep, and what would answer its rows, without punctuation."""

    definition: str
    labels: Sequence[str]
    answers: frozenset[str]


def judged(task: str, told: Told, answers: Sequence[tuple[str, Answer]]) -> list[Paraphrase]:
    """Return each answer, by its manner, as a paraphrase with what speaks against it."""
    seen = {folded(told.definition)}
    made: list[Paraphrase] = []
    for manner, said in answers:
        text = after_label(said.text, *LABELS)
        why = said.fault or fault(text, told, seen)
        if not said.fault:
            seen.add(folded(text))
        made.append(Paraphrase(task, manner, text, said.request, said.finish, why))
    return made


def fault(text: str, told: Told, seen: set[str]) -> str:
    """Return why a text is no paraphrase of a definition, the same words for all of a kind; '' where it is.

    Args:
        text: that was written.
        told: of the task.
        seen: the definition and what was written before, folded.
    """
    own, said = told.definition, folded(text)
    if not said:
        return "It is empty."
    if said in seen:
        return "It is a copy of the definition, or of another paraphrase."
    if unpunctuated(text) in told.answers:
        return "It is an answer to the task."
    if _CHAT.search(text) and not _CHAT.search(own):
        return "It speaks of itself, or of how it was asked."
    if any(not _has(folded(own), folded(found)) for found in _ROW.findall(text)):
        return "It makes up an example, or a number."
    if gone := _gone(text, told):
        return f"A {gone} that the definition names is gone."
    count = word_count(own)
    if not count / 3 <= word_count(text) <= 2 * count + 20:
        return "It is far shorter or longer than the definition."
    kept = _stems(own)
    if kept and len(kept & _stems(text)) < max(1, SHARED * len(kept)):
        return "It shares hardly a word with the definition, as an answer to it would."
    return ""


def _gone(text: str, told: Told) -> str:
    """Return which kind of word the definition has and a text lacks: "label" or "form"; '' where none."""
    own, found = folded(told.definition), folded(text)
    labels = {folded(label) for label in told.labels} - {""}
    if any(_has(own, label) and not _has(found, label) for label in labels):
        return "label"
    quoted = [folded(next(filter(None, groups))) for groups in _QUOTED.findall(told.definition)]
    forms = [folded(one) for one in _FORM.findall(told.definition)]
    return "form" if any(not _has(found, one) for one in [*quoted, *forms] if one) else ""


def _has(text: str, part: str) -> bool:
    before, after = ("(?<!\\w)" * part[:1].isalnum(), "(?!\\w)" * part[-1:].isalnum())
    return re.search(f"{before}{re.escape(part)}{after}", text) is not None


def _stems(text: str) -> set[str]:
    return {word[:LONG] for word in words(folded(text)) if len(word) >= LONG}
