"""Word and character error rate: what to substitute, delete and insert for a transcript to be right.

Both are of all rows together: errors over what the references have, so that a long clip counts as much as it
has words; beyond 100 % where more is said than there is. The edits are those of a shortest path (Levenshtein
1966), by rapidfuzz. Of several references the one with the fewest errors for its length counts.

What is compared is what a normaliser leaves, and the rate says which that is: two rates by different ones say
nothing of each other. "whisper-basic" is that of Whisper for any language (Radford et al. 2022, arXiv
2212.04356, appendix C): lower case, nothing in brackets, a space for each symbol and mark of punctuation.
"""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from rapidfuzz.distance import Levenshtein

from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

Normaliser = Literal["whisper-basic", "lowercase", "none"]
COUNTS = ("substituted", "deleted", "inserted")
_BRACKETS = re.compile(r"[<\[][^>\]]*[>\]]")
_ASIDE = re.compile(r"\([^)]+?\)")


def whisper_basic(text: str) -> str:
    """Return a text as Whisper's normaliser for any language leaves it."""
    plain = unicodedata.normalize("NFKC", _ASIDE.sub("", _BRACKETS.sub("", text.lower())))
    return "".join(" " if unicodedata.category(one)[0] in "MSP" else one for one in plain).lower()


_NORMALISERS: dict[str, Callable[[str], str]] = {
    "whisper-basic": whisper_basic,
    "lowercase": str.lower,
    "none": str,
}


@dataclass(frozen=True, slots=True)
class Edits:
    """What makes a transcript of a reference of `length` units, or the other way round."""

    substituted: int
    deleted: int
    inserted: int
    length: int

    @property
    def errors(self) -> int:
        """All of them."""
        return self.substituted + self.deleted + self.inserted

    @property
    def rate(self) -> float:
        """Errors a unit; of an empty reference the errors themselves."""
        return self.errors / max(1, self.length)


def edits(said: Sequence[str], reference: Sequence[str]) -> Edits:
    """Return the edits of a shortest path from a reference's units to those that were said."""
    found = Levenshtein.editops(list(reference), list(said))
    tags = [one.tag for one in found]
    return Edits(tags.count("replace"), tags.count("delete"), tags.count("insert"), len(reference))


@dataclass(frozen=True, slots=True)
class ErrorRate:
    """An error rate over `unit`s, "word" or "letter", of texts as `normaliser` leaves them."""

    unit: Literal["word", "letter"]
    normaliser: Normaliser

    @property
    def metric(self) -> Metric:
        """What it measures, folded of the rows' edits and units."""
        title, many = (
            ("Word error rate", "words") if self.unit == "word" else ("Character error rate", "letters")
        )
        note = f"Wrong, missing and added {many} to each that the references have; it can be over 100 %."
        return Metric(
            f"{title} ({self.normaliser})",
            phrase=title.lower(),
            unit="%",
            better="lower",
            note=f"{note} The normaliser of both sides is “{self.normaliser}”.",
            ceiling=0.0,
            fold=_fold,
            counts=(*COUNTS, many),
        )

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return each row's own rate, with its edits and units as parts; not scored without a reference."""
        return [self._of(example, one) for example, one in zip(examples, completions, strict=True)]

    def _of(self, example: Example, completion: Completion) -> Score:
        if not example.references:
            return Score(None, "there is no reference")
        said = self._units(completion.text)
        tried = [edits(said, self._units(reference)) for reference in example.references]
        best = min(tried, key=lambda one: (one.rate, one.errors))
        counts = (best.substituted, best.deleted, best.inserted, best.length)
        return Score(best.rate, self._why(best), parts=tuple(map(float, counts)))

    def _units(self, text: str) -> tuple[str, ...]:
        return _cut(text, self.unit, self.normaliser)

    def _why(self, found: Edits) -> str:
        if not found.errors:
            return ""
        if not found.length:
            one = counted(found.inserted, self.unit)
            return f"the reference has no {self.unit}: {one} inserted, where nothing is said"
        told = zip((found.substituted, found.deleted, found.inserted), COUNTS, strict=True)
        return ", ".join(f"{count} {what}" for count, what in told if count)


@lru_cache(maxsize=16384)
def _cut(text: str, unit: str, normaliser: str) -> tuple[str, ...]:
    words = _NORMALISERS[normaliser](text).split()
    return tuple(words) if unit == "word" else tuple(" ".join(words))


def _fold(sums: Sequence[float]) -> float:
    return sum(sums[:3]) / sums[3]


def build_wer(*, normaliser: Normaliser = "whisper-basic") -> Scorer:
    """Word error rate of all transcripts together, with what was substituted, deleted and inserted."""
    return ErrorRate("word", normaliser)


def build_cer(*, normaliser: Normaliser = "whisper-basic") -> Scorer:
    """Character error rate of all transcripts together, spaces between words counted."""
    return ErrorRate("letter", normaliser)
