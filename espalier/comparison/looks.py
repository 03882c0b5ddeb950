"""What a comparison may do on rows that were looked at: sealed ones choose nothing, and others widen it.

To compare two candidates on a test set is to choose by it. On a sealed one that is refused, but for the
comparison that the set is kept for, which is counted, and each more of these widens all. On development rows
it is free, and every look that anyone had at them widens what is stated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Literal, TypeAlias

from espalier.comparison.entries import looked_at
from espalier.core.errors import DataError
from espalier.core.files import content_hash
from espalier.core.text import counted
from espalier.data.looks import COMPARISON, Look, exposure, keep, keys_of, looks_at, looks_in, now, record

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.comparison.entries import Entry
    from espalier.evaluate.score_records import Exposure

Looks: TypeAlias = int | Literal["all"]
Split: TypeAlias = Literal["test", "dev"]
RUNS = Path("runs")  # whose ledger is asked where only files are compared


@dataclass(frozen=True)
class Looked:
    """How often the compared rows were looked at, and for how many looks together the numbers have to hold.

    Attributes:
        rows: what is known of them.
        beside: looks by all that is known, the runs that lie beside included.
        comparisons: of candidates on sealed rows, this one included.
        together: for how many looks it holds.
    """

    rows: Exposure
    beside: int
    comparisons: int
    together: int

    def told(self, compared: int) -> Iterator[str]:
        """Yield what a reader has to know of it, where so many trainings are `compared`."""
        if self.together > 1:
            yield (
                f"Intervals and p hold for {self.together} looks at these rows together (Bonferroni): each "
                f"holds by itself at {100 - 5 / self.together:.4g} %."
            )
        elif self.beside > compared and not self.rows.owner:
            yield (
                f"The test rows were looked at {self.beside} times, by the runs beside these. If what is "
                "compared was chosen by that, the numbers flatter it; --looks all widens the intervals."
            )
        if self.rows.owner and self.rows.split == "test":
            often = counted(self.comparisons, "comparison")
            yield f"{self.rows.told} So far they have decided {often} of candidates."


def looked(groups: Sequence[Sequence[Entry]], looks: Looks, split: Split, *, confirm: bool) -> Looked:
    """Return how often the rows were looked at; a comparison of candidates on sealed ones is counted.

    Args:
        groups: what is compared.
        looks: for how many looks it is to hold at least; "all" for all that are known.
        split: what the rows are.
        confirm: whether this is a comparison that the sealed rows are kept for.

    Raises:
        DataError: candidates are compared on sealed rows, and not to confirm; or `looks` is no such number.
        RunError: the comparison cannot be counted.
    """
    entries = [entry for group in groups for entry in group]
    folders = {entry.path.resolve().parent if entry.recipe is not None else RUNS for entry in entries}
    rows = keys_of(entries[0].examples.values())
    known = [look for folder in sorted(folders) for look in looks_in(folder)]
    sight = exposure(rows, known, split)
    owner = sight.owner or next((entry.name for entry in entries if entry.sealed), "")
    candidates = [group[0].name for group in groups if group[0].candidate]
    if owner and split == "test" and len(candidates) > 1:
        if not confirm:
            raise DataError(
                f"The test rows are sealed by {owner}: to compare {' and '.join(candidates)} on them is to "
                "choose by them.",
                hint="Choose on the rows that were held out, with --split dev. For the one comparison that "
                "the test set is kept for, give --confirm: it is counted.",
            )
        name = content_hash(sorted(content_hash(sorted(e.texts.items()) or e.name) for e in entries))
        for folder in folders:
            look = Look(rows, (name,), 0, COMPARISON, " and ".join(candidates), split, False, now())
            record(folder, look)
        for entry in entries:
            if entry.recipe is not None:
                keep(entry.path, rows)
        known = [look for folder in sorted(folders) for look in looks_in(folder)]
        sight = exposure(rows, known, split)
    made = {look.models for look in looks_at(rows, known) if look.purpose == COMPARISON}
    beside = max(sight.count, looked_at(entries))
    least = max(beside, 1) if looks == "all" else looks
    if least < 1:
        raise DataError(f"The rows cannot have been looked at {least} times.", hint="Give 1 or more, or all.")
    return Looked(sight, beside, len(made), max(least, sight.looks, len(made)))
