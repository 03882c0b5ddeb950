"""What people decide about rows: kept, edited, rejected, labelled, each decision a record that is only added.

A decision names the row by its id and the row's content by a hash, so that a row that changed since is asked
again. An undo is a decision, too: it says which one no longer counts. Of a reviewer's decisions on a row the
last one counts, and labels gather. Where reviewers differ the row does not pass until one of them changes his
mind: that is for people to settle.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import asdict, dataclass, replace
from itertools import combinations
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from espalier.core.errors import DataError
from espalier.core.records import Text, example_id
from espalier.data.judgement import Judgement
from espalier.evaluate.agreement import alpha
from espalier.evaluate.statistics import wilson

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from espalier.core.journal import Journal
    from espalier.core.records import Estimate, Example
    from espalier.data.pairs import Pairs

Action: TypeAlias = Literal["keep", "edit", "reject", "label", "undo"]
BEGIN = "review:"  # of an entry's key in a journal
NAME = "review.sqlite"  # the journal of a build, in its folder
DECIDING: tuple[Action, ...] = ("keep", "edit", "reject")
_SECTION = re.compile(r"^=== (\d+) [a-z]+ ===\n", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Decision:
    """What a reviewer decided about a row.

    Attributes:
        id: its own; an undo names it.
        row: id of the row.
        content: hash of the row as the reviewer saw it, see `content_of`.
        reviewer: who.
        action: what.
        time: nanoseconds since 1970.
        texts: of an edit, the text of each message.
        label: of a label.
        undoes: of an undo, the id of the decision that no longer counts.
    """

    id: str
    row: str
    content: str
    reviewer: str
    action: Action
    time: int
    texts: tuple[str, ...] = ()
    label: str = ""
    undoes: str = ""

    def as_json(self) -> dict[str, Any]:
        """Return the decision as the journal holds it."""
        return asdict(self)


def from_json(value: Mapping[str, Any]) -> Decision:
    """Return a decision that `as_json` wrote."""
    given: dict[str, Any] = {**value, "texts": tuple(value["texts"])}
    return Decision(**given)


def decisions_of(journal: Journal) -> list[Decision]:
    """Return the decisions that a journal holds, from the first on."""
    found = [from_json(value) for value in journal.under(BEGIN).values()]
    return sorted(found, key=lambda one: (one.time, one.id))


def content_of(example: Example) -> str:
    """Return a hash of what a reviewer sees of a row: its messages and its rejected answers."""
    turns = (*example.messages, *example.rejected)
    return example_id(*[(turn.role, repr(turn.parts)) for turn in turns])


@dataclass(frozen=True, slots=True)
class Opinion:
    """What one reviewer holds of one row now: the decision that counts, if any, and the labels."""

    decision: Decision | None
    labels: tuple[str, ...]


def standing(decisions: Iterable[Decision]) -> dict[tuple[str, str], Opinion]:
    """Return what each reviewer holds now, by (row, content) and reviewer joined: see `opinion_key`."""
    ordered = sorted(decisions, key=lambda one: (one.time, one.id))
    undone = {one.undoes for one in ordered if one.action == "undo"}
    last: dict[tuple[str, str], Decision] = {}
    labels: defaultdict[tuple[str, str], dict[str, None]] = defaultdict(dict)
    for one in ordered:
        key = (opinion_key(one.row, one.content), one.reviewer)
        if one.id in undone or one.action == "undo":
            continue
        if one.action == "label":
            labels[key][one.label] = None
        else:
            last[key] = one
    return {key: Opinion(last.get(key), tuple(labels.get(key, ()))) for key in {**last, **labels}}


def opinion_key(row: str, content: str) -> str:
    """Return what stands for a row with its content."""
    return f"{row}\x1f{content}"


class Decided:
    """All decisions, ready to be asked about rows."""

    def __init__(self, decisions: Iterable[Decision]) -> None:
        self._opinions: defaultdict[str, dict[str, Opinion]] = defaultdict(dict)
        for (key, reviewer), opinion in standing(decisions).items():
            self._opinions[key][reviewer] = opinion

    def of(self, example: Example) -> dict[str, Opinion]:
        """Return what each reviewer holds of a row as it is now."""
        if not self._opinions:
            return {}
        return self._opinions.get(opinion_key(example.id, content_of(example)), {})

    def waits(self, example: Example, reviewer: str) -> bool:
        """Tell whether a reviewer has still to decide about a row as it is now."""
        opinion = self.of(example).get(reviewer)
        return opinion is None or opinion.decision is None

    def merged(self, example: Example) -> tuple[Example, Judgement]:
        """Return a row as it was edited last, and what people hold of it; None where nobody decided."""
        opinions = {who: one for who, one in sorted(self.of(example).items())}
        found = {who: one.decision for who, one in opinions.items() if one.decision is not None}
        labels = [label for one in opinions.values() for label in one.labels]
        told = f" Labelled: {', '.join(dict.fromkeys(labels))}." if labels else ""
        against = [who for who, one in found.items() if one.action == "reject"]
        edits = [one for one in found.values() if one.action == "edit"]
        latest = max(edits, key=lambda one: (one.time, one.id), default=None)
        edited = _edited(example, latest) if latest else example
        if not found:
            return edited, Judgement(None, f"Nobody has decided.{told}")
        if not against:
            by = f"Edited by {latest.reviewer}." if latest else ""
            return edited, Judgement(True, f"{by}{told}".strip())
        if len(against) == len(found):
            return edited, Judgement(False, f"Rejected by {' and '.join(against)}.{told}")
        kept = [who for who in found if who not in against]
        return edited, Judgement(
            False,
            f"Reviewers differ: {' and '.join(against)} rejects it, {' and '.join(kept)} keeps it.{told}",
        )


@dataclass(frozen=True, slots=True)
class Settled:
    """What people settled about rows that filters had judged.

    Attributes:
        reviewers: who decided about a row as it is now.
        back: rows that go out though a filter takes them out.
        out: rows that no filter takes out, and that do not go out.
        edited: rows that go out as somebody edited them.
    """

    reviewers: tuple[str, ...]
    back: int
    out: int
    edited: int


def settled(pairs: Pairs, dropping: Iterable[str], decisions: Sequence[Decision]) -> Settled:
    """Return what decisions change of what the filters let out; only rows decided about are read."""
    decided, names = Decided(decisions), tuple(dropping)
    who: set[str] = set()
    back = out = edited = 0
    for row, verdicts in pairs.at(pairs.places({one.row for one in decisions})):
        merged, held = decided.merged(row)
        if held.ok is not None:
            stays = all(verdicts[name].ok is not False for name in names)
            who |= {name for name, one in decided.of(row).items() if one.decision is not None}
            back += held.ok and not stays
            out += stays and not held.ok
            edited += held.ok and merged.messages != row.messages
    return Settled(tuple(sorted(who)), back, out, edited)


def reviewed(rows: Iterable[Example], decisions: Iterable[Decision]) -> Iterator[tuple[Example, Judgement]]:
    """Yield each row as it was edited, and what people hold of it: a verdict as any filter's."""
    decided = Decided(decisions)
    return map(decided.merged, rows)


def _edited(example: Example, decision: Decision) -> Example:
    if len(decision.texts) != len(example.messages):
        raise DataError(
            f"An edit has {len(decision.texts)} texts; the row has {len(example.messages)}.",
            where=f"row {example.id}",
        )
    turns = tuple(
        turn if turn.text == text else replace(turn, parts=(Text(text),))
        for turn, text in zip(example.messages, decision.texts, strict=True)
    )
    changed = replace(
        example,
        messages=turns,
        origin={**example.origin, "edited_by": decision.reviewer, "edited": decision.id},
    )
    old, new = example.answer, changed.answer
    references = tuple(new if text == old else text for text in example.references)
    changes = zip(example.prompt, changed.prompt, strict=True)
    inputs = {before.text: after.text for before, after in changes}
    return replace(changed, references=references, input=inputs.get(example.input, example.input))


def document(example: Example) -> str:
    """Return a row as a text to edit: each message under a line that names it."""
    return "".join(
        f"=== {number} {turn.role} ===\n{turn.text}\n" for number, turn in enumerate(example.messages, 1)
    )


def texts_of(changed: str, example: Example) -> tuple[str, ...]:
    """Return the text of each message of an edited `document`.

    Raises:
        DataError: a line that names a message is missing or not in its place, or a message cannot be edited
            as text.
    """
    parts = _SECTION.split(changed.replace("\r\n", "\n"))
    numbers, texts = [int(part) for part in parts[1::2]], [part.removesuffix("\n") for part in parts[2::2]]
    if parts[0].strip() or numbers != [*range(1, len(example.messages) + 1)]:
        raise DataError(
            f"The text has the messages {numbers or 'none'}; the row has 1 to {len(example.messages)}.",
            hint="Leave the lines between === as they are.",
        )
    for number, (turn, text) in enumerate(zip(example.messages, texts, strict=True), 1):
        if text != turn.text and not all(isinstance(part, Text) for part in turn.parts):
            raise DataError(f"Message {number} is not text alone, so that it cannot be edited here.")
    return tuple(texts)


def with_answer(example: Example, answer: str) -> tuple[str, ...]:
    """Return the texts of a row's messages with another answer. Raises DataError where it has none."""
    places = [place for place, turn in enumerate(example.messages) if turn.trained]
    if not places:
        raise DataError("The row has no answer to edit.", where=f"row {example.id}")
    return tuple(answer if place == places[-1] else turn.text for place, turn in enumerate(example.messages))


@dataclass(frozen=True, slots=True)
class Agreement:
    """How far two reviewers agree on the rows that both decided: kept (edited or not), or rejected.

    Attributes:
        reviewers: their names.
        same: share of the rows on which they agree.
        kappa: Cohen's kappa (1960), agreement beyond chance; None where one of them always says the same.
        differing: ids of the rows on which they do not agree.
    """

    reviewers: tuple[str, str]
    same: Estimate
    kappa: float | None
    differing: tuple[str, ...]


def alpha_of(rows: Iterable[Example], decisions: Iterable[Decision]) -> Estimate:
    """Return Krippendorff's alpha of all reviewers: whether they keep (edited or not) or reject a row.

    Labels count as names; rows that one reviewer decided about count nothing. NaN where all agree on one.
    """
    decided = Decided(decisions)
    return alpha([[*_votes(decided, example).values()] for example in rows])


def _votes(decided: Decided, example: Example) -> dict[str, bool]:
    """Return by reviewer whether he lets a row pass."""
    opinions = decided.of(example).items()
    return {who: one.decision.action != "reject" for who, one in opinions if one.decision is not None}


def agreements(rows: Iterable[Example], decisions: Iterable[Decision]) -> list[Agreement]:
    """Return the agreement of each two reviewers who both decided about a row."""
    decided = Decided(decisions)
    votes: defaultdict[tuple[str, str], list[tuple[str, bool, bool]]] = defaultdict(list)
    for example in rows:
        found = _votes(decided, example)
        for one, other in combinations(sorted(found), 2):
            votes[one, other].append((example.id, found[one], found[other]))
    return [_agreement(pair, found) for pair, found in sorted(votes.items())]


def _agreement(pair: tuple[str, str], votes: Sequence[tuple[str, bool, bool]]) -> Agreement:
    count = len(votes)
    same = sum(a == b for _, a, b in votes)
    first, second = sum(a for _, a, _ in votes) / count, sum(b for _, _, b in votes) / count
    chance = first * second + (1 - first) * (1 - second)
    kappa = (same / count - chance) / (1 - chance) if 0 < first < 1 and 0 < second < 1 else None
    return Agreement(pair, wilson(same, count), kappa, tuple(row for row, a, b in votes if a != b))
