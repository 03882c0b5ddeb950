"""What prompts' parts add to answers, as data: scores with intervals, curves, and rows. All is in nats.

`Attribution` prints as its tables and sentences; `plain()` is the same as JSON can hold it.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from espalier.evaluate.score_records import json_line
from espalier.explain.record import laid_out, plain_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from espalier.core.records import Estimate

SAYS = {
    "leave_out": "left out",
    "neutral": "full stops of as many tokens in its place",
    "swap": "another task's in its place",
    "gradient": "gradient × input",
}


@dataclass(frozen=True, slots=True)
class Line:
    """What a part adds to the log-probability of the answer, the mean over the rows that have it.

    Attributes:
        method: how that was told.
        part: its name.
        tuned, base: by each model.
        moved: the tuned model's less the base's, row by row.
    """

    method: str
    part: str
    tuned: Estimate
    base: Estimate
    moved: Estimate


@dataclass(frozen=True, slots=True, kw_only=True)
class Faith:
    """Whether a method's order is better than random orders, on the tuned model.

    Attributes:
        method: how pieces were scored.
        deletion: area between the deletion curve of random orders and its own; above 0 is better.
        insertion: area between its own insertion curve and that of random orders.
        control_deletion, control_insertion: the same for its order under random weights.
        curves: mean log-probability less that of the whole prompt, at even steps of deletion: of the method
            ("method"), of random orders ("random"), of the order under random weights ("control").
    """

    method: str
    deletion: Estimate
    insertion: Estimate
    control_deletion: Estimate
    control_insertion: Estimate
    curves: Mapping[str, tuple[float, ...]]

    @property
    def beats(self) -> bool:
        """Whether its deletion curve lies below that of random orders."""
        return _above(self.deletion)

    @property
    def by_text(self) -> bool:
        """Whether its order under random weights beats random orders, too."""
        return _above(self.control_deletion)

    @property
    def verdict(self) -> str:
        """Return what may be said of it."""
        if not self.beats:
            return "Is not seen to beat random order: its scores are not to be relied on."
        if self.by_text:
            return (
                "Beats random order, and so it does with random weights: the text alone may tell the order."
            )
        return "Beats random order; with random weights it is not seen to."


@dataclass(frozen=True, slots=True)
class Told:
    """A row: its answer, and its parts with their texts and scores of each method under the tuned model."""

    id: str
    task: str
    source: str
    answer: str
    parts: tuple[tuple[str, str], ...]
    scores: Mapping[str, tuple[float | None, ...]]


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Attribution:
    """What the parts of prompts add to a run's answers.

    Attributes:
        name: of the run.
        answer: whose answers are weighed: "own", greedy, of the tuned model, or "reference".
        unit: what the curves take away: "part", "sentence" or "word".
        rows, sources: that were weighed.
        networks: of random weights, among which the sources are dealt.
        lines: of each method and part.
        faith: of each method.
        told: the rows.
        left: what could not be weighed: the reason, and how often.
        made: answers that were weighed now, and not taken from the store.
    """

    name: str
    answer: str
    unit: str
    rows: int
    sources: int
    networks: int
    lines: tuple[Line, ...]
    faith: tuple[Faith, ...]
    told: tuple[Told, ...] = ()
    left: Mapping[str, int] = field(default_factory=dict[str, int])
    notes: tuple[str, ...] = ()
    made: int = 0

    def faith_of(self, method: str) -> Faith:
        """Return what is known of a method."""
        return next(one for one in self.faith if one.method == method)

    def of(self, method: str) -> list[Line]:
        """Return a method's lines."""
        return [line for line in self.lines if line.method == method]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        found = plain_of(self)
        for one, faith in zip(found["faith"], self.faith, strict=True):
            one |= {"beats": faith.beats, "by_text": faith.by_text, "verdict": faith.verdict}
        return found

    to_json = json_line

    def tables(self) -> Iterator[list[list[str]]]:
        """Yield its tables: of each the columns' names, then the rows. A method in doubt is struck out."""
        for one in self.faith:
            name = one.method if one.beats else struck(one.method)
            body = [
                [
                    line.part if one.beats else struck(line.part),
                    *map(nats, (line.tuned, line.base, line.moved)),
                ]
                for line in self.of(one.method)
            ]
            yield [[name, "tuned", "base", "tuned less base"], *body]
        head = ["against random order", "deletion", "insertion", "deletion, random weights"]
        yield [
            head,
            *(
                [one.method, *map(nats, (one.deletion, one.insertion, one.control_deletion))]
                for one in self.faith
            ),
        ]

    @property
    def sentences(self) -> tuple[str, ...]:
        """What may be said of each method."""
        return tuple(f"{one.method} ({SAYS[one.method]}): {one.verdict}" for one in self.faith)

    @property
    def footing(self) -> str:
        """What the numbers are."""
        whose = "the tuned model's greedy answer" if self.answer == "own" else "the first reference"
        return (
            f"Nats of the log-probability of {whose}: the prompt as it is less that with the part changed. "
            "Intervals at 95 %, by source."
        )

    @property
    def remarks(self) -> list[str]:
        """Return the notes, and what was left out how often."""
        return [*self.notes, *(f"{why} ({count}×)" for why, count in self.left.items())]

    def __str__(self) -> str:
        """Return the tables and the sentences."""
        return laid_out(self.tables(), [self.footing, *self.remarks], self.sentences)

    __repr__ = __str__


def nats(one: Estimate) -> str:
    """Return a number of nats as '+1.203 (+0.801 to +1.610)'."""
    if not one.known:
        return "– (–)"
    value, low, high = (f"{end + 0.0:+.3f}".replace("-", "−") for end in (one.value, one.low, one.high))
    return f"{value} ({low} to {high})" if one.bounded else f"{value} (–)"


def struck(text: str) -> str:
    """Return a text struck out, as a terminal and a text file show it."""
    return "".join(f"{character}\u0336" for character in text)


def _above(one: Estimate) -> bool:
    return one.bounded and one.low > 0
