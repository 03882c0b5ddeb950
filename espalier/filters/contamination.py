"""What of a test set stands in training data: the same texts, and the same runs of words.

A row of one side matches where the other side has
- "text": one of its texts, or a line without its label ("Sentence: …"), of `LINE` words or more; a line of
  fewer than `SHORT` words ("salt and pepper to taste") only where it is a good part of the test row's text;
- "13-gram": a run of 13 of its words (Brown et al. 2020, arXiv 2005.14165, appendix C);
- "8-gram": most of its runs of 8 words, 70 % or more (Chowdhery et al. 2022, arXiv 2204.02311, section 8).

Runs are found by hashes and compared word by word, so that none is missed and none is made up. The training
rows are read once and not kept: memory holds the test set. Case, signs and spaces make no difference.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from espalier.core.text import words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    Ints: TypeAlias = NDArray[np.int64]
    Hashes: TypeAlias = NDArray[np.uint64]
    Kind: TypeAlias = Literal["text", "13-gram", "8-gram"]

LINE = 4  # words of a line that is no coincidence
LONG, SHORT = 13, 8
PART = 0.3  # of a test row's text, from which on a short line is more than a turn of phrase
MOST = 0.7  # of a row's short runs
BATCH = 4096  # training rows that are looked at together
_LABEL = re.compile(r"^\s*[\w ]{1,30}:\s")
_FACTOR = np.uint64(0x9E3779B97F4A7C15)


@dataclass(frozen=True, slots=True)
class Match:
    """A test row that training data has.

    Attributes:
        test: its number.
        train: number of the first training row that has the passage.
        kind: what is the same, the strongest of all.
        passage: the words that are.
        share: of the test row's words, those that stand in any run that is the same, 0 to 1.
    """

    test: int
    train: int
    kind: Kind
    passage: str
    share: float


@dataclass(frozen=True, slots=True)
class Contamination:
    """What was found.

    Attributes:
        matches: one for each test row that matches, in their order.
        rows: numbers of the training rows that match, ascending.
        seen: how many training rows there were.
    """

    matches: tuple[Match, ...]
    rows: tuple[int, ...]
    seen: int


def contamination(train: Iterable[Sequence[str]], test: Iterable[Sequence[str]]) -> Contamination:
    """Return which rows of a test set training data has, and which of its rows have them.

    Args:
        train: the texts of each row, such as its input and its answers; read once, in batches.
        test: the same of each test row; runs of words do not go from one text into the next.
    """
    index = _Index([tuple(row) for row in test])
    rows: list[int] = []
    seen = 0
    batch: list[Sequence[str]] = []
    for row in train:
        batch.append(row)
        if len(batch) == BATCH:
            rows += index.look(batch, seen)
            seen, batch = seen + len(batch), []
    rows += index.look(batch, seen)
    matches = tuple(index.matches())
    return Contamination(
        matches, tuple(sorted({*rows, *(match.train for match in matches)})), seen + len(batch)
    )


class _Index:
    """The test rows, and what of them has been seen."""

    def __init__(self, tests: Sequence[Sequence[str]]) -> None:
        self._tests = tests
        self._texts = [_passages(row, PART) for row in tests]
        # From a text to the training row that had it first; -1 as long as none had.
        self._first = {text: -1 for texts in self._texts for text in texts}
        self._codes: dict[str, int] = {}
        for row in tests:
            for text in row:
                for word in words(text):
                    self._codes.setdefault(word, len(self._codes) + 1)
        self._ids, self._bounds = self._coded(tests)
        self._runs = {size: _Runs(self._ids, size) for size in (LONG, SHORT)}

    def look(self, rows: Sequence[Sequence[str]], first: int) -> list[int]:
        """Look at training rows, counted from `first`, and return the numbers of those that match."""
        found = {first + place for place, row in enumerate(rows) if self._look_at_texts(row, first + place)}
        ids, bounds = self._coded(rows)
        owners = np.repeat(np.arange(len(rows)), np.diff(bounds))
        for size, runs in self._runs.items():
            places, numbers = runs.find(ids)
            runs.see(numbers, owners[places] + first)
            hits = np.bincount(owners[places], minlength=len(rows))
            known = np.bincount(owners[_whole(ids, size, unknown=True)], minlength=len(rows))
            least = 1 if size == LONG else MOST * known
            found.update((first + np.flatnonzero((hits > 0) & (hits >= least))).tolist())
        return sorted(found)

    def _look_at_texts(self, row: Sequence[str], number: int) -> bool:
        hit = False
        for text in _passages(row):
            if text in self._first:
                hit = True
                if self._first[text] < 0:
                    self._first[text] = number
        return hit

    def matches(self) -> Iterator[Match]:
        """Yield the test rows that have been seen."""
        for number, texts in enumerate(self._texts):
            start, end = self._bounds[number : number + 2].tolist()
            long, short = (self._runs[size].rows(start, end) for size in (LONG, SHORT))
            share = _covered(self._ids[start:end], short, SHORT)
            text = next((text for text in texts if self._first[text] >= 0), None)
            whole = int(np.count_nonzero(short > -2))
            if text is not None:
                yield Match(number, self._first[text], "text", text, max(share, _part(text, texts)))
            elif (long >= 0).any():
                yield Match(number, *self._passage(number, long, LONG), share)
            elif whole and np.count_nonzero(short >= 0) >= MOST * whole:
                yield Match(number, *self._passage(number, short, SHORT), share)

    def _passage(self, number: int, rows: Ints, size: int) -> tuple[int, Kind, str]:
        """Return the training row, the kind and the words of the longest passage that one row has."""
        starts = np.flatnonzero(np.diff(rows, prepend=-3) != 0)
        lengths = np.diff(starts, append=len(rows)) * (rows[starts] >= 0)
        best = int(np.argmax(lengths))
        found = [word for text in self._tests[number] for word in (*words(text), "")]
        passage = found[int(starts[best]) : int(starts[best] + lengths[best]) + size - 1]
        return int(rows[starts[best]]), "13-gram" if size == LONG else "8-gram", " ".join(passage)

    def _coded(self, rows: Sequence[Sequence[str]]) -> tuple[Ints, Ints]:
        """Return the words of all rows as numbers, and where each row begins and the last one ends.

        -1 is the end of a text, 0 a word that the test rows do not have.
        """
        code = self._codes.get
        ids: list[int] = []
        bounds = [0]
        for row in rows:
            for text in row:
                ids.extend([code(word, 0) for word in words(text)])
                ids.append(-1)
            bounds.append(len(ids))
        return np.array(ids, np.int64), np.array(bounds, np.int64)


class _Runs:
    """The runs of so many words of the test rows, and which training row had each first."""

    def __init__(self, ids: Ints, size: int) -> None:
        self._ids, self._size = ids, size
        places = np.flatnonzero(_whole(ids, size))
        hashes, first, self._numbers = np.unique(
            _hashes(ids, size)[places], return_index=True, return_inverse=True
        )
        self._hashes, self._places = hashes, places[first]
        self._at = np.full(len(ids), -1, np.int64)  # from a place to the number of its run
        self._at[places] = self._numbers
        self._seen = np.full(len(hashes), -1, np.int64)

    def find(self, ids: Ints) -> tuple[Ints, Ints]:
        """Return the places in other rows' words where a run begins, and the number of each run."""
        places = np.flatnonzero(_whole(ids, self._size))
        if not len(places) or not len(self._hashes):
            return places[:0], places[:0]
        hashes = _hashes(ids, self._size)[places]
        numbers = np.searchsorted(self._hashes, hashes).clip(max=len(self._hashes) - 1)
        hit = self._hashes[numbers] == hashes
        places, numbers = places[hit], numbers[hit]
        window = np.arange(self._size)
        same = (ids[places[:, None] + window] == self._ids[self._places[numbers][:, None] + window]).all(1)
        return places[same], numbers[same]

    def see(self, numbers: Ints, rows: Ints) -> None:
        """Note the training rows that have runs, ascending: the first of each stays."""
        fresh = self._seen[numbers] < 0
        self._seen[numbers[fresh][::-1]] = rows[fresh][::-1]

    def rows(self, start: int, end: int) -> Ints:
        """Return for each place from `start` to `end` the training row of its run: -1 none, -2 no run."""
        numbers = self._at[start:end]
        if not len(self._seen):
            return np.full(end - start, -2, np.int64)
        return np.where(numbers >= 0, self._seen[numbers], -2)


def _whole(ids: Ints, size: int, *, unknown: bool = False) -> NDArray[np.bool_]:
    """Return the places at which a run of words begins that are known, or any with `unknown`."""
    bad = np.flatnonzero(ids < (0 if unknown else 1))
    after = np.append(bad, len(ids))[np.searchsorted(bad, np.arange(len(ids)))]
    return after - np.arange(len(ids)) >= size


def _hashes(ids: Ints, size: int) -> Hashes:
    """Return a hash of the run of so many words at each place [T]; past the end it wraps around."""
    mixed = (ids.astype(np.uint64) + np.uint64(1)) * _FACTOR
    mixed ^= mixed >> np.uint64(29)
    hashes = np.zeros(len(ids), np.uint64)
    for step in range(size):
        hashes = hashes * _FACTOR + np.roll(mixed, -step)
        hashes ^= hashes >> np.uint64(31)
    return hashes


def _covered(ids: Ints, rows: Ints, size: int) -> float:
    """Return the share of words that stand in a run that was seen."""
    changes = np.zeros(len(ids) + 1, np.int64)
    starts = np.flatnonzero(rows >= 0)
    np.add.at(changes, starts, 1)
    np.add.at(changes, starts + size, -1)
    count = int(np.count_nonzero(ids >= 0))
    return int(np.count_nonzero(np.cumsum(changes)[:-1])) / count if count else 0.0


def _passages(row: Sequence[str], part: float = 0.0) -> list[str]:
    """Return the texts of a row, and their lines without labels, as far as they are long enough, folded.

    A line of fewer than `SHORT` words has to be so large a part of its text.
    """
    found: dict[str, None] = {}
    for text in row:
        whole = words(text)
        least = min(SHORT, max(LINE, math.ceil(part * len(whole))))
        if len(whole) >= LINE:
            found[" ".join(whole)] = None
        for line in text.splitlines():
            folded = words(_LABEL.sub("", line, count=1))
            if len(folded) >= least:
                found[" ".join(folded)] = None
    return [*found]


def _part(text: str, texts: Sequence[str]) -> float:
    return min(1.0, len(text) / max(len(one) for one in texts))
