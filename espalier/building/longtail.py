"""The long tail: how much of a data set sits in how few kinds, which are thin, and what would fill them.

A facet puts each row into one kind: its task, its verb, its verb with the noun, how long its answer is and of
what form, its language (its script, where no language can be told), its topic. How uneven the kinds are is
told by Gini's coefficient (0: all as large, near 1: one has all), by what the ten largest hold, and by how
many it takes to hold half.
"""

from __future__ import annotations

import math
import re
from bisect import bisect_left
from collections import defaultdict
from dataclasses import asdict, dataclass
from itertools import accumulate
from typing import TYPE_CHECKING, Any

from espalier.building.topics import topics
from espalier.building.wording import tagger
from espalier.core.errors import DataError, MissingExtra, nearest
from espalier.core.text import word_count
from espalier.filters.languages import Languages, main_script

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from espalier.core.records import Example

    Facets = dict[str, list[str]]

TOP = 10  # largest kinds, whose share is told
THIN = 0.2  # of an even share of the rows, under which a kind is thin
SEEDS = 3  # rows of a kind that are named with it
BOUNDS = (1, 5, 20, 50, 150, 400)
_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+", re.MULTILINE)
_NUMBER = re.compile(r"[-+]?[\d.,\s]*\d\s*%?\.?")


@dataclass(frozen=True, slots=True)
class Kind:
    """One kind of a facet: its name, its rows, their share of all, and the ids of the first few."""

    name: str
    rows: int
    share: float
    seeds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Tail:
    """How the rows are spread over the kinds of a facet.

    Attributes:
        facet: its name.
        kinds: from the largest on.
        gini: 0 where all kinds are as large, near 1 where one has nearly all rows.
        top: share of the rows that are in the `TOP` largest kinds.
        half: how many of the largest kinds hold half of the rows.
        thin: how many of the smallest kinds are thin.
        lorenz: (share of the kinds, share of the rows that they hold), the smallest kinds first, from (0, 0).
    """

    facet: str
    kinds: tuple[Kind, ...]
    gini: float
    top: float
    half: int
    thin: int
    lorenz: tuple[tuple[float, float], ...]


@dataclass(frozen=True, slots=True)
class Wanted:
    """Rows that generation is to add: so many of a kind, with the ids of rows to begin from."""

    facet: str
    kind: str
    rows: int
    seeds: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class LongTail:
    """The long-tail report: all facets of so many rows."""

    rows: int
    tails: tuple[Tail, ...]

    def tail(self, facet: str) -> Tail:
        """Return one facet's. Raises DataError where there is none of that name."""
        for one in self.tails:
            if one.facet == facet:
                return one
        raise DataError(f"No facet is named '{facet}'.", hint=nearest(facet, [t.facet for t in self.tails]))

    def wanted(self, facet: str, least: int = 0) -> list[Wanted]:
        """Return what would fill the thin kinds of a facet, the thinnest first.

        Args:
            facet: its name.
            least: rows that each kind is to have; 0 is the bound under which a kind is thin.

        Raises:
            DataError: no such facet.
        """
        tail = self.tail(facet)
        least = least or _bound(self.rows, len(tail.kinds))
        thin = [kind for kind in reversed(tail.kinds) if kind.rows < least]
        return [Wanted(facet, kind.name, least - kind.rows, kind.seeds) for kind in thin]

    def as_json(self) -> dict[str, Any]:
        """Return the report as JSON holds it."""
        return asdict(self)


def facets(rows: Sequence[Example], *, count_topics: int = 0, seed: int = 0) -> Facets:
    """Return the kind of each row under each facet; '' is a row that has none there.

    Args:
        rows: of any language; languages are told where lingua is installed, else scripts.
        count_topics: see `topics`.
        seed: the same.
    """
    asked = [_asked(row) for row in rows]
    tag = tagger()
    pairs = [tag(text) for text in asked]
    return {
        "task": [row.task for row in rows],
        "verb": [verb for verb, _ in pairs],
        "verb and noun": [f"{verb} {noun}".strip() if verb else "" for verb, noun in pairs],
        "answer": [form_of(row.answer) for row in rows],
        "length": [length_of(row.answer) for row in rows],
        "language": _languages(rows),
        "topic": topics(
            [f"{text}\n{row.answer}" for text, row in zip(asked, rows, strict=True)], count_topics, seed
        ),
    }


def long_tail(rows: Sequence[Example], kinds: Mapping[str, Sequence[str]]) -> LongTail:
    """Return how rows are spread over kinds, as `facets` or anybody else told them."""
    ids = [row.id for row in rows]
    return LongTail(len(rows), tuple(_tail(facet, found, ids) for facet, found in kinds.items()))


def length_of(text: str) -> str:
    """Return how many words a text has, as a range: "6–20 words"; '' for none."""
    count = word_count(text)
    if not count:
        return ""
    place = bisect_left(BOUNDS, count)
    low = BOUNDS[place - 1] + 1 if place else 0
    if place == len(BOUNDS):
        return f"over {BOUNDS[-1]} words"
    return "one word" if count == 1 else f"{low}–{BOUNDS[place]} words"


def form_of(text: str) -> str:
    """Return the form of an answer: code, a table, a list, a number, some words, sentences; or ''."""
    plain = text.strip()
    if "```" in plain or re.search(
        r"^(?:def |class |import |#include|SELECT |function )", plain, re.MULTILINE
    ):
        return "code"
    if plain[:1] in "{[" and plain[-1:] in "}]" and ('"' in plain or ":" in plain):
        return "JSON"
    if re.search(r"^\|.+\|$", plain, re.MULTILINE):
        return "table"
    if len(_ITEM.findall(plain)) > 1:
        return "list"
    if _NUMBER.fullmatch(plain):
        return "number"
    count = word_count(plain)
    if count <= 2 or (count <= 4 and plain[-1] not in ".!?。！？।"):
        return "a few words" if count else ""
    return "paragraphs" if "\n\n" in plain or count > 120 else "sentences" if count > 25 else "a sentence"


def _asked(row: Example) -> str:
    """Return what the row's last question is: the last turn of the user, or what the row holds for one."""
    turns = [turn.text for turn in row.prompt if turn.role == "user"]
    return turns[-1] if turns else row.input


def _languages(rows: Sequence[Example]) -> list[str]:
    texts = [f"{_asked(row)}\n{row.answer}" for row in rows]
    try:
        languages = Languages()
    except MissingExtra:
        return [main_script(text) for text in texts]
    return [next((one.name for one in languages.of(text)), _unknown(text)) for text in texts]


def _unknown(text: str) -> str:
    """Return what is said of a text whose language cannot be told; "Latin" is a language, too."""
    script = main_script(text)
    return f"unknown ({script} script)" if script else ""


def _tail(facet: str, found: Iterable[str], ids: Sequence[str]) -> Tail:
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, kind in enumerate(found):
        if kind:
            places[kind].append(place)
    total = sum(map(len, places.values()))
    kinds = tuple(
        Kind(name, len(held), len(held) / total, tuple(ids[place] for place in held[:SEEDS]))
        for name, held in sorted(places.items(), key=lambda item: (-len(item[1]), item[0]))
    )
    counts = [kind.rows for kind in kinds]
    sums = [*accumulate(counts)]
    half = next((n for n, held in enumerate(sums, 1) if 2 * held >= total), 0)
    bound = _bound(total, len(kinds))
    rising = [0, *accumulate(reversed(counts))]
    lorenz = tuple((n / len(kinds), held / total) for n, held in enumerate(rising)) if kinds else ()
    return Tail(
        facet,
        kinds,
        gini(counts),
        sum(counts[:TOP]) / total if total else 0.0,
        half,
        sum(count < bound for count in counts),
        lorenz,
    )


def gini(counts: Sequence[int]) -> float:
    """Return Gini's coefficient of counts: their mean difference, halved and over their mean; 0 for none."""
    total = sum(counts)
    if not total:
        return 0.0
    ranked = sorted(counts)
    weighed = sum(rank * count for rank, count in enumerate(ranked, 1))
    return 2 * weighed / (len(ranked) * total) - (len(ranked) + 1) / len(ranked)


def _bound(rows: int, kinds: int) -> int:
    """Return the number of rows under which a kind is thin."""
    return max(2, math.ceil(THIN * rows / kinds)) if kinds else 0
