"""The ledger: a line for each claim, with its verdict, the number behind it, its price, and its rule's hash.

`ledger.json` has a claim's hash before its first run. Where its file says something else afterwards, the rule
was changed after the run, and the verdict is struck out. `Ledger` prints as a table with the reasons.
"""

from __future__ import annotations

import json
import math
from dataclasses import asdict, dataclass, fields
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError
from espalier.core.files import read_json, write_atomic
from espalier.core.text import counted
from espalier.evaluate.sheet import in_columns

if TYPE_CHECKING:
    from pathlib import Path

FILE = "ledger.json"


@dataclass(frozen=True, slots=True)
class Line:
    """A claim in the ledger. Numbers are in points; NaN is not known.

    Attributes:
        name, claim: of its file, and the sentence.
        paper: where it was made, and `found` what was found there.
        small: why a small study may come out otherwise.
        hash: of its rule and study; before the run, once that began.
        began: whether anything was run.
        done: whether it need not be run again.
        verdict: reproduced, not, under-powered or open; "planned" of one that is to be run.
        reason: why, in a sentence.
        what: the number, in words.
        value, low, high: it and its interval.
        published: what it was in the paper, in this unit.
        visible: the smallest true effect that could mostly be seen; before the run, that it promises.
        promised, minutes: what it should take, and took.
        trainings: that it needs.
        page: what shows where the number comes from, from the ledger's folder; '' for nothing.
        struck: whether the verdict does not hold, as the rule was changed after the run.
    """

    name: str
    claim: str
    paper: str
    found: str
    small: str
    hash: str
    began: bool = False
    done: bool = False
    verdict: str = "open"
    reason: str = ""
    what: str = ""
    value: float = math.nan
    low: float = math.nan
    high: float = math.nan
    published: str = ""
    visible: float = math.nan
    promised: float = math.nan
    minutes: float = 0.0
    trainings: int = 0
    page: str = ""
    struck: bool = False

    @property
    def shown(self) -> str:
        """The verdict as it is shown."""
        return f"{self.verdict}, struck out" if self.struck else self.verdict

    @property
    def why(self) -> str:
        """The reason as it is shown."""
        changed = (
            "The rule was changed after the run. To run by the new one, move or remove the claim's folder."
        )
        return f"{changed} By the old one: {self.reason}" if self.struck else self.reason

    @property
    def effect(self) -> str:
        """The number with its interval, as '3.1 (−1.0 to 7.2)'."""
        return f"{_shown(self.value)} ({_shown(self.low)} to {_shown(self.high)})" if self.what else "–"

    @property
    def price(self) -> str:
        """Minutes that were promised, and that were taken: '7.5, took 8.1'."""
        taken = f", took {self.minutes:.1f}" if self.began else ""
        return f"{self.promised:.1f}{taken}" if self.promised == self.promised else "–"

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it; NaN becomes None."""
        return {key: None if value != value else value for key, value in asdict(self).items()}


@dataclass(frozen=True, slots=True, repr=False)
class Ledger:
    """Lines of claims."""

    lines: tuple[Line, ...]

    def __getitem__(self, name: str) -> Line:
        found = next((line for line in self.lines if line.name == name), None)
        if found is None:
            raise KeyError(name)
        return found

    @property
    def sentence(self) -> str:
        """How many verdicts there are of each kind."""
        counts: dict[str, int] = {}
        for line in self.lines:
            counts[line.shown] = counts.get(line.shown, 0) + 1
        told = ", ".join(f"{count} {verdict}" for verdict, count in counts.items())
        minutes = sum(line.promised for line in self.lines if line.verdict == "planned")
        left = f" What is planned should take {minutes:.0f} minutes." if minutes else ""
        return f"{counted(len(self.lines), 'claim')}: {told}.{left}"

    def table(self) -> list[list[str]]:
        """Return the columns' names, then a row for each claim."""
        head = ["", "verdict", "effect", "published", "could see", "minutes"]
        return [
            head,
            *(
                [line.name, line.shown, line.effect, line.published, number(line.visible), line.price]
                for line in self.lines
            ),
        ]

    def notes(self) -> list[str]:
        """Return of each claim what it says, why the verdict is that, and why small may differ."""
        return [f"{one.name}: {one.claim} {one.why} Small may differ: {one.small}" for one in self.lines]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {"sentence": self.sentence, "claims": [line.plain() for line in self.lines]}

    def __str__(self) -> str:
        """Return the sentence, the table and the notes."""
        return "\n".join([self.sentence, "", in_columns(self.table()), "", *self.notes()])

    __repr__ = __str__


def read_ledger(folder: Path) -> dict[str, Line]:
    """Return the lines of a folder's ledger by name. Raises DataError where it cannot be read."""
    file = folder / FILE
    if not file.exists():
        return {}
    try:
        table = cast("dict[str, Any]", read_json(file))
        return {one["name"]: _line(one) for one in table["claims"]}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise DataError(
            "It is no ledger, so it cannot be told which rules were fixed before their runs.",
            where=str(file),
            hint="Move it and the folders beside it, and the claims are run anew.",
        ) from None


def write_ledger(folder: Path, lines: dict[str, Line]) -> None:
    """Write the lines of a folder's ledger."""
    table = Ledger(tuple(lines.values())).plain()
    write_atomic(folder / FILE, json.dumps(table, ensure_ascii=False, indent=1) + "\n")


def _line(table: dict[str, Any]) -> Line:
    known = {one.name for one in fields(Line)}
    found: dict[str, Any] = {k: math.nan if v is None else v for k, v in table.items() if k in known}
    return Line(**found)


def number(value: float) -> str:
    """Return a number as '5.3', or a dash for what is not known."""
    return f"{value:.1f}" if value == value else "–"


def _shown(value: float) -> str:
    return number(value).replace("-", "−")
