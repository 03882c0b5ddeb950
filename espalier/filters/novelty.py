"""Which texts say something new: none of those kept before has most of its words in the same order.

The rule of Self-Instruct (Wang et al. 2022, arXiv 2212.10560): a new instruction is kept where its ROUGE-L
with each that is in the pool is at most 0.7. The released filter compares all pairs one by one, which takes
days for 52,000 instructions. Here only those that have enough words in common are compared, and each decision
is the same: the tests hold it against `rouge_score`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cdist

from espalier.core.errors import DataError
from espalier.core.text import words
from espalier.filters.alike import SLACK, Alike, Ranks

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

THRESHOLD = 0.7
FIRST, LAST = 0x10000, 0x10FFFF  # code points that stand for words: a million, without surrogates


@dataclass(frozen=True, slots=True)
class Nearest:
    """The text of the pool that another resembles most.

    Attributes:
        row: its number in the pool.
        value: their ROUGE-L, the F-measure, 0 to 1.
    """

    row: int
    value: float


class Pool:
    """Texts that are kept, and which of them a new one resembles too much.

    Args:
        texts: examples of what will come: they make the search fast, and change no answer.
        threshold: the ROUGE-L over which a text is not new.
        cut: text to its words, without a stemmer as in Self-Instruct; those of `core.text.words` are the
            published ones on ASCII, and keep every script's.
    """

    def __init__(
        self,
        texts: Sequence[str] = (),
        threshold: float = THRESHOLD,
        cut: Callable[[str], Sequence[str]] = words,
    ) -> None:
        self._cut, self._threshold = cut, threshold
        self._ranks = Ranks(map(cut, texts))
        self._alike = Alike(max(threshold, SLACK))
        self._codes: dict[str, str] = {}
        self._kept: list[str] = []

    def __len__(self) -> int:
        """Return how many texts are kept."""
        return len(self._kept)

    def add(self, text: str) -> None:
        """Keep a text, new or not."""
        self._add(self._cut(text))

    def try_add(self, text: str) -> Nearest | None:
        """Keep a text that is new; of another one return which it resembles most, the first of equals."""
        found = self._cut(text)
        near = self._nearest(found)
        if near is None:
            self._add(found)
        return near

    def nearest(self, text: str) -> Nearest | None:
        """Return the text that this one resembles most, where that is over the threshold."""
        return self._nearest(self._cut(text))

    def _add(self, found: Sequence[str]) -> None:
        self._alike.add(self._ranks.sorted(found))
        self._kept.append(self._coded(found))

    def _nearest(self, found: Sequence[str]) -> Nearest | None:
        rows = self._alike.candidates(self._ranks.sorted(found))
        if not rows:
            return None
        coded = self._coded(found)
        others = [self._kept[row] for row in rows]
        common = cdist([coded], others, scorer=LCSseq.similarity)[0]
        # In the order of operations of `rouge_score`, which at the threshold itself decides.
        best = Nearest(-1, self._threshold)
        for row, other, length in zip(rows, others, common.tolist(), strict=True):
            if length:
                precision, recall = length / len(coded), length / len(other)
                value = 2 * precision * recall / (precision + recall)
                if value > best.value:
                    best = Nearest(row, value)
        return best if best.row >= 0 else None

    def _coded(self, found: Sequence[str]) -> str:
        """Return a character for each word: subsequences of characters are what rapidfuzz is fast at."""
        codes = self._codes
        for word in found:
            if word not in codes:
                if len(codes) > LAST - FIRST:
                    raise DataError(
                        f"The texts have more than {LAST - FIRST + 1} different words.",
                        hint="Look for what is new in a part of them.",
                    )
                codes[word] = chr(FIRST + len(codes))
        return "".join([codes[word] for word in found])


def novelty(
    texts: Sequence[str], known: Sequence[str] = (), threshold: float = THRESHOLD
) -> Iterator[Nearest | None]:
    """Yield for each text, in order, None where it is new, or which one before it resembles too much.

    Args:
        texts: a text that is not new is compared with no later one.
        known: texts that are there already; they are the rows 0 to N - 1 of what is yielded, and those of
            `texts` that are new come after them.
        threshold: see `Pool`.
    """
    pool = Pool([*known, *texts], threshold)
    for text in known:
        pool.add(text)
    for text in texts:
        yield pool.try_add(text)
