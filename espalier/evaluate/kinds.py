"""What kind of question each row asks about its picture or sound, so that a mean over kinds hides none.

Questions that are answered by looking stand among others that their text answers: a model can be far above
its blind floor because of the one, and blind to the other. Kinds are the rows' own, where a tag or the fact
"category" names them; else they are told by the form of the question, as the evaluation of VQA tells them
(Antol et al. 2015, arXiv 1505.00468): yes or no, plain or negated, and the first words of all others.
"""

from __future__ import annotations

import re
from collections import Counter, defaultdict
from typing import TYPE_CHECKING

from espalier.core.records import media_in
from espalier.core.text import unpunctuated

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Example

MOST = 8  # kinds of their own; what is rarer is one together
FEWEST = 5  # rows of a kind of its own
NAMED = ("question_type", "answer_type", "category", "type", "kind")  # tags that say it by their names
OTHER, UNASKED, WITHOUT = "other", "nothing asked", "without media"
YES_NO, NEGATED = "yes/no", "yes/no, negated"
_WORD = re.compile(r"\w+(?:['’]\w+)?")
_ANSWERS = {"yes", "no", "true", "false"}
_NOT = {"no", "not", "never", "without", "none"}
_HELPING = {
    *("am", "is", "are", "was", "were", "do", "does", "did", "has", "have", "had", "can", "could"),
    *("will", "would", "should", "shall", "may", "might", "must"),
}
_BEGUN = {"what", "which", "how", "whose"}  # the next word tells what is asked for: what colour, how many
_ARTICLES = {"a", "an", "the"}


def question_kinds(examples: Sequence[Example]) -> tuple[str, ...]:
    """Return the kind of each row; () where no row has media, or all are of one kind."""
    if not any(media_in(row.prompt) for row in examples):
        return ()
    tag = _tag(examples)
    found = [_tags(row).get(tag, OTHER) if tag else _by_words(row) for row in examples]
    found = [kind if media_in(row.prompt) else WITHOUT for kind, row in zip(found, examples, strict=True)]
    common = {kind for kind, count in Counter(found).most_common(MOST) if count >= FEWEST}
    kinds = tuple(kind if kind in common or kind == WITHOUT else OTHER for kind in found)
    return kinds if len({*kinds}) > 1 else ()


def _tags(row: Example) -> dict[str, str]:
    """Return what a row says of itself besides its texts."""
    own = {"category": str(row.facts["category"])} if row.facts.get("category") else {}
    return {**row.origin.get("tags", {}), **own}


def _tag(rows: Sequence[Example]) -> str:
    """Return the tag that tells kinds of questions: of those that are fit, one that says so, or the coarsest.

    Fit is one that nearly all rows have, with few values, most of which are of several pictures or sounds:
    one of a single picture is its name.
    """
    names = dict.fromkeys(name for row in rows for name in _tags(row))
    values: dict[str, Counter[str]] = {}
    for name in names:
        sources: defaultdict[str, set[str]] = defaultdict(set)
        counts = Counter(value for row in rows if (value := _tags(row).get(name)))
        for row in rows:
            sources[_tags(row).get(name, "")].add(row.source)
        shared = sum(count for value, count in counts.items() if len(sources[value]) > 1)
        if 1 < len(counts) <= 2 * MOST and counts.total() >= 0.9 * len(rows) and shared > len(rows) / 2:
            values[name] = counts
    return min(values, key=lambda name: (name.lower() not in NAMED, len(values[name])), default="")


def _by_words(row: Example) -> str:
    turns = [turn.text for turn in row.prompt if turn.role == "user"]
    first, *rest = [
        *_WORD.findall((row.input or (turns[-1] if turns else "")).lower().replace("’", "'")),
        "",
        "",
    ]
    references = {unpunctuated(text) for text in row.references}
    if (references and references <= _ANSWERS) or (not references and first in _HELPING):
        return NEGATED if any(word in _NOT or word.endswith("n't") for word in (first, *rest)) else YES_NO
    if first in _BEGUN and rest[0] and rest[0] not in _HELPING | _ARTICLES:
        return f"{first} {rest[0]}"
    return first or UNASKED
