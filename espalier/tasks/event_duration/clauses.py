"""Which event a question asks about, and whether a sentence states how long that event lasts.

Each duration of the sentence (`durations.py`) belongs to an event: to the noun it is joined to ("a two-hour
nap"), or to its clause, whose borders are punctuation and conjunctions. It is the answer if the asked verb or
noun is there. There is no parser: synonyms and garden paths are missed, see docs/event-duration.md for how
often.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from itertools import takewhile

from espalier.tasks.event_duration.durations import Duration, find_durations
from espalier.tasks.event_duration.words import (
    AUXILIARIES,
    DETERMINERS,
    FUNCTION_WORDS,
    PRONOUNS,
    content_roots,
    is_verb_form,
    lowered,
    root,
    same_event,
    words,
)

_BORDER = re.compile(
    r"(?<!\bmr)(?<!\bmrs)(?<!\bdr)(?<!\bst)(?<!\b[a-z])[.!?](?=\s|$)|[;:()\"“”—]|\s[-–]+\s|,(?!\d)|"
    r"\b(?:but|while|when|whenever|before|after|because|so|although|though|then|until|till|if|unless|once|whereas|"
    r"who|which|that|where|whose|since|and|or)\b|\bas\s+(?=(?:he|she|it|they|we|i|you|the)\b)|"
    r"\b(?:for|by|without)\s+(?=[a-z]+ing\b)|\bto\s+(?=[a-z]+\b)"
)
_RELATIVES = ("who", "which", "that", "where", "whose")
_QUESTION = re.compile(
    r"^(?:(?:for|about|approximately|roughly|exactly|just|and|so)\s+)*"
    r"(?:how\s+(?:long|(?:many|much)\s+[a-z]+)|what\s+(?:is|was)\s+the\s+(?:duration|length)\s+of)\s*",
    re.IGNORECASE,
)
_ASIDE = re.compile(r"\b(?:before|after|while|when|until|since|prior)\b.*", re.IGNORECASE)
_TAKE = ("take", "takes", "took", "taken", "taking", "need", "needs", "needed")
_LAST = frozenset(
    (*_TAKE, "last", "lasts", "lasted", "lasting", "continue", "continued", "go", "run", "endure")
)
# "For two hours, …": what may stand before a duration that opens a sentence and belongs to the clause after
# the comma.
_OPENING = re.compile(
    r"\W*(?:(?:for|during|over|in|through|about|nearly|almost|more|less|than|at|least|the|past|last)\s+)*",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Asked:
    """What a question asks the duration of.

    Attributes:
        head: root of the asked verb or noun; '' if the question has only pronouns ("How long did it last?").
        others: roots of the other content words.
        completes: asks how long it takes to get something done.
        nominal: the head is a noun ("How long was the drive?").
        past: it asks what was, or has been until now.
    """

    head: str
    others: tuple[str, ...]
    completes: bool
    nominal: bool
    past: bool = False


@dataclass(frozen=True, slots=True)
class Clause:
    """A stretch of the sentence, the word or mark that opens it, and the roots of its content words."""

    start: int
    end: int
    opener: str
    text: str
    roots: tuple[str, ...]


def stated_duration(sentence: str, question: str) -> Duration | None:
    """Return the duration that the sentence states for the event that the question asks about, or None."""
    durations = find_durations(sentence)
    if not durations:
        return None
    asked = asked_event(question, sentence)
    clauses = split_clauses(sentence, durations)
    return next((d for d in durations if _belongs(d, asked, clauses, sentence)), None)


def asked_event(question: str, sentence: str) -> Asked:
    """Return what the question asks about; the sentence's inflected forms tell its verb from its subject."""
    rest = words(_ASIDE.sub("", _QUESTION.sub("", question.strip().rstrip("?").strip())))
    lower = [word.lower() for word in rest]
    completes = any(word in _TAKE for word in lower)
    past = any(word in ("did", "was", "were", "has", "have", "had") for word in lower[:1])
    position, nominal = _head(rest, lower, {root(w) for w in words(sentence) if is_verb_form(w)})
    if position is None:
        return Asked("", (), completes, True, past)
    others = [root(w) for i, w in enumerate(rest) if i != position and _is_content(w)]
    return Asked(root(rest[position]), tuple(others), completes, nominal, past)


def split_clauses(sentence: str, durations: list[Duration]) -> list[Clause]:
    """Return the clauses of a sentence in order; durations are not cut, and their words are in none."""
    masked = lowered(sentence)
    for d in durations:
        masked = masked[: d.start] + "0" * (d.end - d.start) + masked[d.end :]
    borders = [m for m in _BORDER.finditer(masked) if not _joins_verbs(masked, m)]
    starts = [(0, 0, "")] + [(m.start(), m.end(), m.group().strip()) for m in borders]
    ends = [m.start() for m in borders] + [len(masked)]
    clauses: list[Clause] = []
    for (start, inner, opener), end in zip(starts, ends, strict=True):
        text = masked[inner:end]
        clauses.append(
            Clause(start, end, opener, text, tuple(r for r in content_roots(text) if r.strip("0")))
        )
    return clauses


def _is_content(word: str) -> bool:
    return word.lower() not in FUNCTION_WORDS and len(word) > 1


def _joins_verbs(text: str, border: re.Match[str]) -> bool:
    """Tell whether a border is the "and" of "danced and sang": what follows then belongs to both."""
    if border.group() not in ("and", "or"):
        return False
    before, after = words(text[: border.start()])[-1:], words(text[border.end() :])[:1]
    return all(is_verb_form(word) for word in (*before, *after))


def _head(tokens: list[str], lower: list[str], verbs: set[str]) -> tuple[int | None, bool]:
    """Return the index of the asked verb or noun in the words after "How long", and whether it is a noun."""
    content = [i for i, word in enumerate(tokens) if _is_content(word)]
    if not content:
        return None, True
    take = next((i for i, word in enumerate(lower) if word in _TAKE), None)
    if take is not None:
        to = next((i for i in range(take + 1, len(lower)) if lower[i] == "to"), None)
        done = [i for i in content if to is not None and i > to]
        return (done[0], False) if done else (_noun_head(content, take), True)
    if lower[-1] in _LAST or any(word in ("last", "lasted", "lasts") for word in lower):
        return _noun_head(content, len(tokens)), True
    subject = _after_subject(tokens, lower)
    later = [i for i in content if i >= subject]
    has_name = len(tokens) > 1 and (tokens[1][0].isupper() or lower[1] in PRONOUNS)
    inflected = [i for i in later if root(tokens[i]) in verbs or is_verb_form(tokens[i])]
    if inflected:
        return inflected[0], False
    if lower[0] in ("is", "are", "was", "were") or "been" in lower or "be" in lower:
        # A person's state is what follows ("was Ann in hospital"); a thing's is the thing ("was the drive to
        # Rome").
        return _noun_head((has_name and later) or content, len(tokens)), True
    run = _run(later or content)
    return run[0 if has_name or len(run) == 1 else 1], False


def _after_subject(tokens: list[str], lower: list[str]) -> int:
    """Return where the verb can begin: after the auxiliary, a pronoun, or names."""
    i = 1 if lower and lower[0] in AUXILIARIES else 0
    if (
        i < len(tokens)
        and lower[i] in PRONOUNS
        and not (lower[i] in DETERMINERS and i + 1 < len(tokens) and _is_content(tokens[i + 1]))
    ):
        return i + 1
    while i < len(tokens) and (
        tokens[i][0].isupper() or (i > 1 and lower[i] in ("and", "of") and tokens[i - 1][0].isupper())
    ):
        i += 1
    return i if i > 1 else min(i + 2, len(tokens)) if i < len(tokens) and lower[i] in DETERMINERS else i


def _run(content: list[int]) -> list[int]:
    """Return the first of the indices that follow each other without a gap."""
    end = next((k for k in range(1, len(content)) if content[k] != content[k - 1] + 1), len(content))
    return content[:end]


def _noun_head(content: list[int], before: int) -> int:
    """Return the last word of the first noun phrase."""
    inside = [i for i in content if i < before] or content
    return _run(inside)[-1]


def _has(roots: tuple[str, ...], wanted: str) -> bool:
    return any(same_event(one, wanted) for one in roots)


def _hits(roots: tuple[str, ...], wanted: tuple[str, ...]) -> int:
    return sum(_has(roots, one) for one in wanted)


def _belongs(duration: Duration, asked: Asked, clauses: list[Clause], sentence: str) -> bool:
    """Tell whether a duration is that of the asked event."""
    index = max(i for i, clause in enumerate(clauses) if clause.start <= duration.start)
    if duration.joined == "noun":
        return _belongs_to_noun(duration, asked, clauses[index])
    members = _members(duration, index, clauses, sentence)
    region = tuple(r for i in members for r in clauses[i].roots) + _borrowed(index, clauses)
    rest = [clause for i, clause in enumerate(clauses) if i not in members]
    if (duration.joined == "deadline" and not asked.completes) or (
        asked.past and " will " in clauses[index].text
    ):
        return False
    if not asked.head:
        return index == 0 or 0 in members
    if _has(region, asked.head):
        hits = _hits(region, asked.others)
        return all(not _has(c.roots, asked.head) or _hits(c.roots, asked.others) <= hits for c in rest)
    if any(_has(clause.roots, asked.head) for clause in rest):
        return False
    hits, elsewhere = (
        _hits(region, asked.others),
        max((_hits(c.roots, asked.others) for c in rest), default=0),
    )
    if hits:  # the head is another word for the event: its subject, which comes first, decides
        return hits > elsewhere - _has(region, asked.others[0]) and 2 * hits >= len(asked.others)
    return asked.nominal and not asked.completes and len([c for c in clauses if c.roots]) == 1


def _belongs_to_noun(duration: Duration, asked: Asked, clause: Clause) -> bool:
    noun = tuple(content_roots(duration.noun))
    if not asked.head:
        return False
    if _has(noun, asked.head):
        return True
    # "They watched a two-hour film": to watch it is as long as it is; but to make it is not.
    return not asked.completes and _hits(noun, asked.others) > 0 and _has(clause.roots, asked.head)


def _members(duration: Duration, index: int, clauses: list[Clause], sentence: str) -> set[int]:
    """Return the clauses that a duration belongs to: its own, and its neighbours that share its event."""
    members = {index}
    while index and clauses[index].opener == "to":  # "stopped to rest for an hour"
        index -= 1
        members.add(index)
    own = max(members)
    if own + 1 < len(clauses) and _leans(duration, clauses[own], clauses[own + 1], sentence):
        members.add(own + 1)
    if not any(clauses[i].roots for i in members) and min(members) > 0:
        members.add(min(members) - 1)
    return members


def _leans(duration: Duration, own: Clause, following: Clause, sentence: str) -> bool:
    """Tell whether the event is in the clause after the duration's own."""
    gap = sentence[duration.end : following.start].strip()
    if following.opener == "to":  # "took two hours (for them) to paint it"
        return duration.joined == "complement" and re.fullmatch(r"(?:for\s[^,;]+)?", gap) is not None
    if following.opener == ",":  # "For two hours, they …"
        return _OPENING.fullmatch(sentence[: duration.start]) is not None
    # "Two years passed before …"
    return following.opener in ("before", "until", "till") and set(own.roots) <= {"pass", "elaps"}


def _borrowed(index: int, clauses: list[Clause]) -> tuple[str, ...]:
    """Return what a clause takes from another as its subject: "the castle, which", "The strike, …, has"."""
    clause = clauses[index]
    if clause.opener in _RELATIVES:
        before = next((c for c in reversed(clauses[:index]) if c.roots), clauses[0])
        return tuple(root(word) for word in takewhile(_is_content, reversed(words(before.text))))
    first = words(clause.text)[:1]
    headless = clause.opener == "," and first and (first[0] in AUXILIARIES or is_verb_form(first[0]))
    if headless and not any(is_verb_form(word) for word in words(clauses[0].text)):
        return clauses[0].roots
    return ()
