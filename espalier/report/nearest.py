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
from typing import TYPE_CHECKING, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray

    Numbers: TypeAlias = NDArray[np.int64]

RUN = 3  # words
FREQUENT = 2_000  # texts; a term that is in more is not looked up, unless all of a text's are
READ = 4_000  # characters of a text that are compared
# Scripts without spaces between words: there each letter is one. Faster than `core.text.words`, which knows
# what a reader takes for a word; here it is enough that two texts are cut in the same way.
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
        rows: how many trained rows have its answer, in the same words.
    """

    row: int
    shared: float
    same: bool
    rows: int


class Index:
    """Trained rows, ready to be searched."""

    def __init__(self, inputs: Sequence[str], answers: Sequence[str]) -> None:
        """Take the inputs and the answers of the same rows."""
        self._inputs = inputs
        self._rows: defaultdict[frozenset[str], list[int]] = defaultdict(list)
        for row, answer in enumerate(answers):
            self._rows[runs(answer)].append(row)
        self._answers = [*self._rows]
        self._by_run = _Postings(self._answers)
        texts = [answers[rows[0]] for rows in self._rows.values()]
        self._by_word = _Postings([frozenset(_words(text)) for text in texts])
        self._sizes = np.array([len(answer) for answer in self._answers])

    def nearest(self, answer: str, asked: str = "") -> Near | None:
        """Return the trained row whose answer has the most runs in common; None where none has any.

        Of several that is the answer with most words in common, then the shortest, and of the rows with one
        answer that whose input has the most words of `asked`.
        """
        held = runs(answer)
        shared = self._by_run.counts(held)
        if shared is None:
            return None
        best = np.flatnonzero(shared == shared.max())
        common = self._by_word.counts(frozenset(_words(answer)))
        if common is not None:
            best = best[common[best] == common[best].max()]
        theirs = self._answers[int(best[np.argmin(self._sizes[best])])]
        rows = self._rows[theirs]
        row = self._closest(rows, asked) if len(rows) > 1 else rows[0]
        return Near(row, len(held & theirs) / len(held), held == theirs, len(rows))

    def _closest(self, rows: Sequence[int], asked: str) -> int:
        shared = self._by_input.counts(frozenset(_words(asked)))
        return rows[0] if shared is None else rows[int(np.argmax(shared[rows]))]

    @cached_property
    def _by_input(self) -> _Postings:
        """The inputs by their words; only answers that are trained more than once ask for it."""
        return _Postings([frozenset(_words(text)) for text in self._inputs])


class _Postings:
    """From a term to the numbers of the texts that hold it."""

    def __init__(self, texts: Sequence[Iterable[str]]) -> None:
        found: defaultdict[str, list[int]] = defaultdict(list)
        for number, terms in enumerate(texts):
            for term in terms:
                found[term].append(number)
        self._size = len(texts)
        self._numbers: dict[str, Numbers] = {term: np.array(held) for term, held in found.items()}

    def counts(self, terms: Iterable[str]) -> Numbers | None:
        """Return of each text how many of the terms it holds; None where no text holds any."""
        found = [self._numbers[term] for term in terms if term in self._numbers]
        if not found:
            return None
        telling = [held for held in found if len(held) <= FREQUENT] or [min(found, key=len)]
        return np.bincount(np.concatenate(telling), minlength=self._size)


def runs(text: str) -> frozenset[str]:
    """Return the runs of three words of a text, begin and end counted; none of a text without a sign."""
    words = _words(text)
    found = ["", *words, ""] if words else []
    return frozenset(" ".join(found[i : i + RUN]) for i in range(len(found) - RUN + 1))


def _words(text: str) -> list[str]:
    plain = text[:READ].casefold()
    return _WORD.findall(plain) or [*"".join(plain.split())]
