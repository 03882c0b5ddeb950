"""What comes of asking which training rows taught a run what: for each query the rows that helped and hurt.

`Influence` prints as tables; `plain()` is the same as JSON. A score stands beside those of the floors that
know no model, so that a reader sees what it adds to words in common.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from espalier.attribution.influence.queries import own
from espalier.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from espalier.core.records import Example

    Floats = NDArray[np.float64]

SHOWN = 90  # characters of a text in a table
LIST = 20  # rows that the floors' best are compared with
TITLES = {
    "tracin": "nats",
    "cosine": "cosine",
    "bm25": "BM25",
    "overlap": "overlap",
    "longest": "tokens",
    "random": "random",
}
ITSELF = "itself"  # what a row taught of its own answer, which is no score of queries
HEADS = {**TITLES, ITSELF: "× mean"}


@dataclass(frozen=True, slots=True)
class Row:
    """A training row as it is listed.

    Attributes:
        place: among the rows that were trained on, from 0.
        id: of the example.
        text, answer: what it says itself, and its answer.
        file, line: where it lies; '' where that is not known.
        scores: by the name of what scores it.
    """

    place: int
    id: str
    text: str
    answer: str
    file: str
    line: str
    scores: Mapping[str, float]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "id": self.id,
            "text": self.text,
            "answer": self.answer,
            "file": self.file,
            "line": self.line,
            "scores": dict(self.scores),
        }

    @property
    def where(self) -> str:
        """Its file and line."""
        return f"{self.file.rpartition('/')[2]}:{self.line}" if self.file else self.id


@dataclass(frozen=True, slots=True)
class Query:
    """A query with the rows that helped it most and that hurt it most.

    Attributes:
        text, answer: what was asked, and the answer that is asked about.
        where: its file and line.
        helped, hurt: the rows of the highest scores and of scores below zero, the farthest first.
        alike: how many of the `LIST` best rows are also among a floor's best, by the floor's name.
    """

    text: str
    answer: str
    where: str
    helped: tuple[Row, ...]
    hurt: tuple[Row, ...]
    alike: Mapping[str, int]


@dataclass(frozen=True, kw_only=True, repr=False)
class Influence:
    """Which rows taught a run what.

    Attributes:
        name: of the run.
        by: the score that rows are listed by.
        queries: each with its rows.
        itself: the rows that taught the model their own answers most: mislabelled and odd ones among them;
            none where the lengths of gradients were not asked for.
        rows: that were trained on.
        states: steps that states were kept after.
        dims: numbers that a gradient was sketched in; 0 where it was not.
        computed: gradients that were computed now; 0 where all was known.
        scores: every score of every row for every query, by name [Q, R].
        self_scores: what each row's own answer gained by it, times the mean row's, in the mean over the
            states [R]; None as above.
        examples: the rows.
        page: where the page was written.
        notes: what a reader has to know.
    """

    name: str
    by: str
    queries: tuple[Query, ...]
    itself: tuple[Row, ...]
    rows: int
    states: tuple[int, ...]
    dims: int
    computed: int
    scores: Mapping[str, Floats]
    self_scores: Floats | None
    examples: Sequence[Example]
    page: Path
    notes: tuple[str, ...] = ()

    @property
    def sentence(self) -> str:
        """What was done."""
        dims = f", sketched in {self.dims:,} numbers" if self.dims else ""
        return (
            f"{counted(len(self.queries), 'query', 'queries')} against {counted(self.rows, 'training row')} "
            f"of {self.name}, by {self.by}, at steps {', '.join(map(str, self.states))}{dims}."
        )

    @property
    def footing(self) -> str:
        """What the numbers are."""
        return (
            "nats: what the query's log-probability gained by the row over the training, to first order, in "
            "Adam's metric; cosine: the same without the lengths. --norms computes these, and with them what "
            "rows taught themselves. No score is checked before rows are removed and the model is trained "
            "again: --check."
        )

    def tables(self) -> Iterator[tuple[str, list[list[str]]]]:
        """Yield a title and a table for each query, and one for the rows themselves."""
        for number, query in enumerate(self.queries, start=1):
            floor = ", ".join(f"{count} by {name}" for name, count in query.alike.items())
            title = f"{number}. {short(query.text)} → {short(query.answer)}"
            told = (
                f"{title}\n   Of the {min(LIST, self.rows)} best rows so many are among a floor's: {floor}."
            )
            yield told, _table({"+": query.helped, "−": query.hurt})
        if self.itself:
            title = "Rows that taught their own answer most: odd ones, and mislabelled."
            yield title, _table({" ": self.itself})

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "name": self.name,
            "by": self.by,
            "rows": self.rows,
            "states": list(self.states),
            "dims": self.dims,
            "computed": self.computed,
            "queries": [
                {
                    "text": query.text,
                    "answer": query.answer,
                    "where": query.where,
                    "helped": [row.plain() for row in query.helped],
                    "hurt": [row.plain() for row in query.hurt],
                    "alike": dict(query.alike),
                }
                for query in self.queries
            ],
            "itself": [row.plain() for row in self.itself],
            "notes": list(self.notes),
        }

    def __repr__(self) -> str:
        """Return what was done."""
        return self.sentence


def short(text: str) -> str:
    """Return a text in one line that is not long."""
    line = " ".join(text.split())
    return line if len(line) <= SHOWN else f"{line[: SHOWN - 1]}…"


def listed(
    queries: Sequence[Example],
    examples: Sequence[Example],
    scores: Mapping[str, Floats],
    by: str,
    top: int,
) -> tuple[Query, ...]:
    """Return each query with the rows that helped and hurt it most by a score."""
    found: list[Query] = []
    for number, query in enumerate(queries):
        column = scores[by][number]
        order = np.argsort(-column, kind="stable")
        worst = [place for place in order[::-1][:top].tolist() if column[place] < 0]
        best = set(order[:LIST].tolist())
        alike = {
            name: len(best & set(np.argsort(-scores[name][number], kind="stable")[:LIST].tolist()))
            for name in ("bm25", "overlap", "longest")
            if name != by
        }

        def row(place: int, number: int = number) -> Row:
            return row_of(
                examples[place], place, {name: float(s[number, place]) for name, s in scores.items()}
            )

        found.append(
            Query(
                own(query),
                query.answer,
                row_of(query, number, {}).where,
                tuple(map(row, order[:top].tolist())),
                tuple(map(row, worst)),
                alike,
            )
        )
    return tuple(found)


def row_of(example: Example, place: int, scores: Mapping[str, float]) -> Row:
    """Return an example as it is listed."""
    file, line = (str(example.origin.get(key, "")) for key in ("file", "row"))
    return Row(place, example.id, own(example), example.answer, file, line, scores)


def _table(groups: Mapping[str, Sequence[Row]]) -> list[list[str]]:
    """Return the columns' names, then each row: its text over its place, then its scores."""
    first = next(iter(groups.values()))
    names = [name for name in HEADS if first and name in first[0].scores and name != "random"]
    return [
        ["row", *(HEADS[name] for name in names)],
        *(
            [f"{mark} {short(row.text)} → {short(row.answer)}\n  {row.where}", *_numbers(row, names)]
            for mark, rows in groups.items()
            for row in rows
        ),
    ]


def _numbers(row: Row, names: Sequence[str]) -> list[str]:
    return [number(name, row.scores[name]) for name in names]


def number(name: str, value: float) -> str:
    """Return a score as a person reads it."""
    text = f"{value:.0f}" if name == "longest" else f"{value:.2g}" if name == "tracin" else f"{value:.2f}"
    return text.replace("-", "−")
