"""A review: rows that wait for a person, what was decided about them, and the journal that holds it.

Decisions are only added to the journal, one entry each, so that nothing a person did is lost: neither by a
kill, nor by a second reviewer beside the first, nor by an undo, which is an entry itself.
"""

from __future__ import annotations

import time
import uuid
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.building.review import (
    BEGIN,
    DECIDING,
    NAME,
    Decided,
    Decision,
    agreements,
    alpha_of,
    content_of,
    decisions_of,
)
from espalier.building.review_files import REVIEW_FORMATS
from espalier.core.errors import DataError, RecipeError, nearest
from espalier.core.journal import Journal

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from espalier.building.review import Action, Agreement
    from espalier.building.review_files import Answered, ReviewFormat
    from espalier.core.records import Estimate, Example
    from espalier.data.judgement import Judgement


@dataclass(frozen=True)
class Taken:
    """What came back from a file.

    Attributes:
        decisions: how many were new.
        changed: ids of rows whose content is no longer what was decided about: they are asked again.
        unknown: ids that no row has.
        touched: ids of rows whose answer was written over in its place, and not as a new answer: they wait.
    """

    decisions: int
    changed: tuple[str, ...]
    unknown: tuple[str, ...]
    touched: tuple[str, ...] = ()


class Review:
    """The review of some rows by some people.

    Args:
        rows: each with the verdicts of filters, as a person sees them.
        journal: where decisions are kept.
    """

    def __init__(self, rows: Sequence[tuple[Example, Mapping[str, Judgement]]], journal: Journal) -> None:
        self.rows = rows
        self._journal = journal

    def decisions(self) -> list[Decision]:
        """Return all decisions, those undone too, from the first on."""
        return decisions_of(self._journal)

    def waiting(self, reviewer: str) -> Iterator[tuple[Example, Mapping[str, Judgement]]]:
        """Yield the rows that a reviewer has still to decide about, as they stand when it is asked."""
        decided = Decided(self.decisions())
        return ((row, verdicts) for row, verdicts in self.rows if decided.waits(row, reviewer))

    def decide(
        self, row: Example, reviewer: str, action: Action, *, texts: tuple[str, ...] = (), label: str = ""
    ) -> Decision:
        """Write a decision down and return it."""
        return self._add(row.id, content_of(row), reviewer, action, texts=texts, label=label)

    def undo(self, reviewer: str) -> Decision | None:
        """Take back a reviewer's last decision that counts, and return it; None where there is none."""
        mine = [one for one in self.decisions() if one.reviewer == reviewer]
        undone = {one.undoes for one in mine if one.action == "undo"}
        last = next((one for one in reversed(mine) if one.action != "undo" and one.id not in undone), None)
        if last is not None:
            self._add(last.row, last.content, reviewer, "undo", undoes=last.id)
        return last

    def merged(self) -> Iterator[tuple[Example, Judgement]]:
        """Yield each row as it was edited, and what people hold of it."""
        decided = Decided(self.decisions())
        return (decided.merged(row) for row, _ in self.rows)

    def agreements(self) -> list[Agreement]:
        """Return how far each two reviewers agree."""
        return agreements((row for row, _ in self.rows), self.decisions())

    def alpha(self) -> Estimate:
        """Return how far all reviewers agree beyond chance, see `alpha_of`."""
        return alpha_of((row for row, _ in self.rows), self.decisions())

    def labels(self, row: Example, reviewer: str) -> tuple[str, ...]:
        """Return the labels that a reviewer gave a row as it is now."""
        opinion = Decided(self.decisions()).of(row).get(reviewer)
        return opinion.labels if opinion else ()

    def written(self, format: str, reviewer: str) -> str:
        """Return the file of a format with the rows that a reviewer has still to decide about."""
        return _format(format).write([*self.waiting(reviewer)])

    def take(self, text: str, format: str, reviewer: str) -> Taken:
        """Add what a file that came back decided; what is decided so already is not added again.

        Args:
            text: the file's.
            format: its format.
            reviewer: whose it is, where it does not say.

        Raises:
            DataError: the file cannot be read, or says what is no decision; nothing is added then.
        """
        known = {row.id: row for row, _ in self.rows}
        answers = _format(format).read(text, known)
        decided = Decided(self.decisions())
        changed: dict[str, None] = {}
        unknown: dict[str, None] = {}
        touched: dict[str, None] = {}
        count = 0
        for answer in answers:
            if answer.touched:
                touched[answer.row] = None
                continue
            if not (answer.decision or answer.labels):
                continue
            row = known.get(answer.row)
            if row is None:
                unknown[answer.row] = None
            elif answer.content != content_of(row):
                changed[answer.row] = None
            else:
                count += self._take(row, answer, answer.reviewer or reviewer, decided)
        return Taken(count, tuple(changed), tuple(unknown), tuple(touched))

    def _take(self, row: Example, answer: Answered, reviewer: str, decided: Decided) -> int:
        opinion = decided.of(row).get(reviewer)
        last = opinion.decision if opinion else None
        when = answer.time or time.time_ns()
        count = 0
        action: Action | None = next((one for one in DECIDING if one == answer.decision), None)
        if action and (last is None or (last.action, last.texts) != (action, answer.texts)):
            self._add(row.id, answer.content, reviewer, action, texts=answer.texts, when=when)
            count += 1
        for label in answer.labels:
            if label not in (opinion.labels if opinion else ()):
                self._add(row.id, answer.content, reviewer, "label", label=label, when=when)
                count += 1
        return count

    def _add(
        self,
        row: str,
        content: str,
        reviewer: str,
        action: Action,
        *,
        texts: tuple[str, ...] = (),
        label: str = "",
        undoes: str = "",
        when: int = 0,
    ) -> Decision:
        name = f"{BEGIN}{uuid.uuid4().hex}"
        moment = when or time.time_ns()
        decision = Decision(name, row, content, reviewer, action, moment, texts, label, undoes)
        self._journal.add({name: decision.as_json()})
        return decision


def decisions_at(folder: Path) -> list[Decision]:
    """Return what people decided about a build; nothing where nobody was asked."""
    return decisions_of(Journal(folder / NAME))


def journal_at(place: Path) -> Journal:
    """Return the journal of the decisions about a build, in its folder, or about a file, beside it."""
    if place.is_dir():
        return Journal(place / NAME)
    if not place.exists():
        raise DataError("There is no such file or folder.", where=str(place))
    return Journal(place.with_name(f"{place.name}.{NAME}"))


def _format(name: str) -> ReviewFormat:
    if name not in REVIEW_FORMATS:
        raise RecipeError(f"No format of reviews is named '{name}'.", hint=nearest(name, REVIEW_FORMATS))
    return REVIEW_FORMATS[name]
