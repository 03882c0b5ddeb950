"""ROUGE-L as the Super-NaturalInstructions evaluation computes it, two orders of magnitude faster, and beyond
Latin letters.

Lin, "ROUGE: A Package for Automatic Evaluation of Summaries", 2004, in the variant of google's `rouge_score`
with its default tokenizer and stemmer, the F-measure, and the maximum over the references (Wang et al.,
"Super-NaturalInstructions", 2022, eval/automatic/evaluation.py). The tests hold it against `rouge_score`.

That tokenizer keeps a–z and 0–9 and nothing else: two equal answers in Russian have no word in common. Where
the references have more than it keeps, words are told by Unicode (`core/text.py`), and the measure's title
says so. Which it is follows from the references of all scored rows, never from a row or from the answers. On
ASCII both are the same.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from rapidfuzz.distance import LCSseq

from espalier.core.porter import stem
from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.core.text import kinds, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

_WORD = re.compile(r"[a-z0-9]+")
NOTE = (
    "Words in common with the nearest reference, in order. Where references resemble each other, an "
    "answer that ignores the input does well: read it against the dashed line."
)
UNICODE = (
    " The references have letters beyond a–z, which the published measure would drop: words are told by "
    "Unicode, and in a script without spaces each letter is one."
)
_LOST = 0.01  # of the references' letters: names such as Córdoba in English texts stay below it


@lru_cache(maxsize=16384)
def tokens(text: str, *, official: bool = True) -> tuple[str, ...]:
    """Return lower-case runs of a–z and 0–9, or a text's Unicode words; those of more than 3 are stemmed.

    The stemmer knows English, so that a word with any other letter is left as it is.
    """
    found = _WORD.findall(text.lower()) if official else words(text)
    return tuple(stem(word) if len(word) > 3 and word.isascii() else word for word in found)


def rouge_l(text: str, reference: str, *, official: bool = True) -> float:
    """Return the F-measure (0 to 1) of the longest common subsequence of tokens; 0 where one has none."""
    if len(_coded) > _TEXTS:
        _coded.clear()
        if len(_codes) > _WORDS:  # before a pair, never between its texts
            _codes.clear()
            _stems.clear()
    ours = _coded.get((text, official)) or _code(text, official)
    theirs = _coded.get((reference, official)) or _code(reference, official)
    if not ours or not theirs:
        return 0.0
    return 2 * LCSseq.similarity(ours, theirs) / (len(ours) + len(theirs))


# What is remembered: of words a character of their stem, of texts the characters of their `tokens`.
_TEXTS, _WORDS = 20_000, 300_000
_codes: dict[str, str] = {}
_stems: dict[str, str] = {}
_coded: dict[tuple[str, bool], str] = {}
_KEPT = bytes(code if chr(code) in "abcdefghijklmnopqrstuvwxyz0123456789" else 32 for code in range(256))


def _code(text: str, official: bool) -> str:
    """Return the `tokens` of a text with a character for each, which are compared many times as fast."""
    kept = text.lower().encode("ascii", "replace").translate(_KEPT).decode() if official else ""
    found = kept.split() if official else words(text)
    try:
        coded = "".join([_codes[word] for word in found])
    except KeyError:
        coded = "".join([_codes.get(word) or _known(word) for word in found])
    _coded[text, official] = coded
    return coded


def _known(word: str) -> str:
    stemmed = stem(word) if len(word) > 3 and word.isascii() else word
    _codes[word] = _stems.setdefault(stemmed, chr(0xE000 + len(_stems)))  # beyond the surrogates
    return _codes[word]


def is_official(references: Iterable[str]) -> bool:
    """Tell whether the official tokenizer will do: it finds a word in each, and loses at most 1 % of letters.

    Letters are those of any script, with their marks, and digits.
    """
    kept = letters = 0
    for reference in references:
        found = sum(map(len, _WORD.findall(reference.lower())))
        if not found and reference.strip():
            return False
        kept += found
        letters += sum(map(kinds(reference).count, "lmc"))
    return letters - kept <= _LOST * letters


@dataclass(frozen=True, slots=True)
class RougeL:
    """ROUGE-L against the nearest of the references; `official` None leaves it to each row's references."""

    official: bool | None = None

    @property
    def metric(self) -> Metric:
        """What it is called, and what to know of it."""
        if self.official is not False:
            return Metric("ROUGE-L", note=NOTE)
        return Metric("ROUGE-L (Unicode words)", note=NOTE + UNICODE)

    def fitted(self, examples: Sequence[Example]) -> RougeL:
        """Return the variant for a set of examples."""
        if self.official is not None:
            return self
        return RougeL(is_official(reference for example in examples for reference in example.references))

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return for each the largest F-measure over its references; not scored where there is none."""
        return [self._nearest(example, one) for example, one in zip(examples, completions, strict=True)]

    def _nearest(self, example: Example, completion: Completion) -> Score:
        if not example.references:
            return Score(None, "there is no reference")
        official = self.official if self.official is not None else is_official(example.references)
        text = completion.text
        return Score(max(rouge_l(text, reference, official=official) for reference in example.references))


def build_rouge_l(*, words: Literal["auto", "official", "unicode"] = "auto") -> Scorer:
    """ROUGE-L F-measure, the maximum over the references; `words`: how they are cut ("auto": as needed)."""
    return RougeL({"auto": None, "official": True, "unicode": False}[words])
