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
from importlib import import_module
from itertools import chain, islice, pairwise
from typing import TYPE_CHECKING, Any, Literal

from rapidfuzz.distance import LCSseq
from rapidfuzz.process import cpdist

from espalier.core.porter import stem
from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.core.text import kinds, words

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

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
    """Return lower-case runs of a–z and 0–9, or a text's Unicode words; those of more than 3 are stemmed."""
    found = _WORD.findall(text.lower()) if official else words(text)
    return tuple(map(_stemmed, found))


def _stemmed(word: str) -> str:
    """Return a word's stem; the stemmer knows English: a word with any other letter is left as it is."""
    return stem(word) if len(word) > 3 and word.isascii() else word


def rouge_l(text: str, reference: str, *, official: bool = True) -> float:
    """Return the F-measure (0 to 1) of the longest common subsequence of tokens; 0 where one has none."""
    ours, theirs = tokens(text, official=official), tokens(reference, official=official)
    if not ours or not theirs:
        return 0.0
    return 2 * LCSseq.similarity(ours, theirs) / (len(ours) + len(theirs))


def rouge_l_of(pairs: Iterable[tuple[str, str]], *, official: bool = True) -> list[float]:
    """Return `rouge_l` of each text and its reference, of many at once several times as fast.

    A text is cut once however many pairs of a batch have it, and a word is stemmed once. Tokens become
    characters, as rapidfuzz compares strings without a look at an object for each.
    """
    import numpy as np

    values: list[float] = []
    for batch in _batches(pairs):
        distinct = [*dict.fromkeys(text for pair in batch for text in pair)]
        coded = dict(zip(distinct, (_coded if official else _coded_words)(distinct), strict=True))
        ours = [coded[text] for text, _ in batch]
        theirs = [coded[reference] for _, reference in batch]
        common = cpdist(ours, theirs, scorer=LCSseq.similarity, dtype=np.int64)
        lengths = np.array([len(one) + len(other) for one, other in zip(ours, theirs, strict=True)])
        values += (2 * common / np.maximum(lengths, 1)).tolist()
    return values


_LETTERS = 2**22  # of a batch's texts: its arrays take some 30 MB
_KEPT = bytes(code if chr(code) in "abcdefghijklmnopqrstuvwxyz0123456789" else 32 for code in range(256))


def _batches(pairs: Iterable[tuple[str, str]]) -> Iterator[list[tuple[str, str]]]:
    batch: list[tuple[str, str]] = []
    letters = 0
    for pair in pairs:
        batch.append(pair)
        letters += len(pair[0]) + len(pair[1])
        if letters > _LETTERS:
            yield batch
            batch, letters = [], 0
    if batch:
        yield batch


def _coded(texts: Sequence[str]) -> list[str]:
    """Return the official `tokens` of each text with a character for each: bytes of all texts at once."""
    import numpy as np

    pa: Any = import_module("pyarrow")
    lowered = [text.lower() for text in texts]
    joined = " ".join(["", *lowered, ""]).encode("ascii", "replace").translate(_KEPT)
    kept = np.frombuffer(joined, np.uint8) != ord(" ")
    starts, ends = np.flatnonzero(kept[1:] != kept[:-1]).reshape(-1, 2).T  # both are one less
    offsets = np.concatenate([[0], np.cumsum(ends - starts)]).astype(np.int32)
    buffers = [None, pa.py_buffer(offsets), pa.py_buffer(joined.replace(b" ", b""))]
    found = pa.Array.from_buffers(pa.string(), len(starts), buffers).dictionary_encode()
    points = np.array(_points(found.dictionary.to_pylist()), "<u4")
    coded = points[found.indices.to_numpy()].tobytes().decode("utf-32-le")
    text_ends = np.searchsorted(starts, np.cumsum([len(text) + 1 for text in lowered])).tolist()
    return [coded[start:end] for start, end in pairwise([0, *text_ends])]


def _coded_words(texts: Sequence[str]) -> list[str]:
    """Return the Unicode `tokens` of each text with a character for each."""
    cut = [words(text) for text in texts]
    distinct = [*dict.fromkeys(chain.from_iterable(cut))]
    coded = dict(zip(distinct, map(chr, _points(distinct)), strict=True))
    return ["".join([coded[word] for word in found]) for found in cut]


def _points(found: Sequence[str]) -> list[int]:
    """Return for each word a code point of its stem, from the first beyond the surrogates."""
    stems: dict[str, int] = {}
    return [stems.setdefault(_stemmed(word), 0xE000 + len(stems)) for word in found]


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
        rows = zip(examples, completions, strict=True)
        if self.official is None:
            return [RougeL(is_official(e.references)).score([e], [one])[0] for e, one in rows]
        pairs = [(one.text, reference) for example, one in rows for reference in example.references]
        values = iter(rouge_l_of(pairs, official=self.official))
        return [
            Score(max(islice(values, len(example.references))))
            if example.references
            else Score(None, "there is no reference")
            for example in examples
        ]


def build_rouge_l(*, words: Literal["auto", "official", "unicode"] = "auto") -> Scorer:
    """ROUGE-L F-measure, the maximum over the references; `words`: how they are cut ("auto": as needed)."""
    return RougeL({"auto": None, "official": True, "unicode": False}[words])
