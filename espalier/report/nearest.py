"""The trained answer that an answer resembles most: what a model may have copied.

Two answers are as near as they have runs of three words in common, begin and end counted as words, so that
one word alone is a run too; where that does not decide, as they have words in common. An inverted index, from
a run to the different trained answers that hold it, finds the nearest without a look at the others. A run
that thousands of them hold tells them little apart.
"""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[np.int64]

RUN = 3  # words
FREQUENT = 2_000  # texts; a term that is in more is not looked up, unless all of a text's are
READ = 1_000  # characters of a text that are compared; long ones share enough there
# Scripts without spaces between words: there each letter is one. Beyond a–z it takes a sixth of the time of
# `core.text.words`, which knows what a reader takes for a word; here two texts need only be cut alike.
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
_WORD = re.compile(rf"[{_UNSPACED}]|[^\W{_UNSPACED}]+")


@dataclass(frozen=True, slots=True)
class Near:
    """The nearest of the trained rows.

    Attributes:
        row: its index.
        shared: share of the answer's runs that its answer has too, over 0 to 1.
        same: the two answers are the same words.
        rows: how many trained rows have its answer, as far as it is compared.
    """

    row: int
    shared: float
    same: bool
    rows: int


def nearest(train: Sequence[tuple[str, str]], rows: Sequence[tuple[str, str]]) -> list[Near | None]:
    """Return for each row the trained row whose answer has the most runs in common; None where none has any.

    Both are pairs of input and answer. Of several trained answers that is the one with most words in common,
    then the shortest, and of the trained rows with one answer that whose input has most words in common.
    """
    index = _Index(train, rows)
    return [index.nearest(asked, answer) for asked, answer in rows]


class _Index:
    """Trained rows, ready to be searched for some others."""

    def __init__(self, train: Sequence[tuple[str, str]], rows: Sequence[tuple[str, str]]) -> None:
        self._train, self._asked = train, rows
        numbers: defaultdict[frozenset[str], list[int]] = defaultdict(list)
        for number, (_, answer) in enumerate(train):
            numbers[runs(answer)].append(number)
        self._answers, self._rows = [*numbers], [*numbers.values()]  # each different answer, and its rows
        self._sizes = np.array([len(answer) for answer in self._answers])
        self._by_run = _Postings(self._answers, (runs(answer) for _, answer in rows))
        texts = (_terms(train[held[0]][1]) for held in self._rows)
        self._by_word = _Postings(texts, (_terms(answer) for _, answer in rows))

    @cached_property
    def _by_input(self) -> _Postings:
        """The inputs by their words; only answers that are trained more than once ask for it."""
        texts = (_terms(text) for text, _ in self._train)
        return _Postings(texts, (_terms(text) for text, _ in self._asked))

    def nearest(self, asked: str, answer: str) -> Near | None:
        held = runs(answer)
        shared = self._by_run.counts(held)
        if shared is None:
            return None
        best = np.flatnonzero(shared == shared.max())
        common = self._by_word.counts(_terms(answer))
        if common is not None:
            best = best[common[best] == common[best].max()]
        number = int(best[np.argmin(self._sizes[best])])
        theirs, rows = self._answers[number], self._rows[number]
        row = self._closest(rows, asked) if len(rows) > 1 else rows[0]
        same = held == theirs and words(answer) == words(self._train[row][1])
        return Near(row, len(held & theirs) / len(held), same, len(rows))

    def _closest(self, rows: Sequence[int], asked: str) -> int:
        shared = self._by_input.counts(_terms(asked))
        return rows[0] if shared is None else rows[int(np.argmax(shared[rows]))]


class _Postings:
    """From a term to the numbers of the texts that hold it; only terms that will be asked for are kept."""

    def __init__(self, texts: Iterable[frozenset[str]], asked: Iterable[Iterable[str]]) -> None:
        wanted = set(chain.from_iterable(asked))
        found: defaultdict[str, list[int]] = defaultdict(list)
        self._size = 0
        for terms in texts:
            for term in terms & wanted:
                found[term].append(self._size)
            self._size += 1
        self._numbers: dict[str, Numbers] = {term: np.array(held) for term, held in found.items()}

    def counts(self, terms: Iterable[str]) -> Numbers | None:
        """Return of each text how many of the terms it holds; None where no text holds any."""
        found = [self._numbers[term] for term in terms if term in self._numbers]
        if not found:
            return None
        telling = [held for held in found if len(held) <= FREQUENT] or [min(found, key=len)]
        return np.bincount(np.concatenate(telling), minlength=self._size)


def runs(text: str) -> frozenset[str]:
    """Return the runs of three words of a text's beginning, ends counted; none of a text without a sign."""
    found = words(text[:READ])
    ends = ["", *found, ""] if found else []
    return frozenset(map(" ".join, zip(ends, ends[1:], ends[2:], strict=False)))


def words(text: str) -> list[str]:
    """Return the words of a text, or of one without any its signs."""
    plain = text.casefold()
    return _WORD.findall(plain) or [*"".join(plain.split())]


def _terms(text: str) -> frozenset[str]:
    return frozenset(words(text[:READ]))
