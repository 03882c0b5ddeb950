"""CIDEr-D: how much a caption shares with a picture's references of what few other pictures' have.

Vedantam, Zitnick and Parikh 2015 (arXiv 1411.5726), number for number as pycocoevalcap computes it after its
tokenizer: runs of 1 to 4 words, counts clipped at a reference's, a penalty for other lengths (sigma 6; a
length is the count of runs of two), the mean over runs and references times 10. A run's weight is the
logarithm of how many pictures there are for each that has it in a reference: of all rows that are scored, so
that a row's value depends on the others, and of one picture every weight is 0.

Words are cut as the Penn Treebank's tokenizer cuts captions, without Java: lower case, "n't" and "'s" by
themselves, punctuation left out. Of its rules those for most abbreviations, fractions and web addresses
are not here.

The interval takes in that other pictures would give other weights: a row's part is what its references move
the mean of all rows by, to first order (the infinitesimal jackknife, Efron 1981).
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from dataclasses import dataclass, field
from functools import lru_cache
from typing import TYPE_CHECKING

from espalier.core.errors import DataError
from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    Gram = tuple[str, ...]
    Grams = Sequence[Counter[Gram]]  # of each length, how often each run is there

LONGEST, SIGMA, TIMES = 4, 6.0, 10.0
CIDER = Metric(
    "CIDEr-D",
    note="What is shared with the references of runs of words that few pictures have, as papers print it: 10 "
    "times the mean similarity, in hundredths. Weights are of all scored rows' references.",
    ceiling=TIMES,
    leans=True,
)
ONE = "of one picture every word's weight is 0"
_SPLIT = re.compile(r"(?<=\w)(n't|'(?:s|m|d|ll|re|ve))(?!\w)")
_TOKEN = re.compile(
    r"n't|'(?:s|m|d|ll|re|ve)(?!\w)"
    r"|[a-z](?:\.[a-z])*\.(?!\w)|(?:mrs?|ms|dr|st|jr|sr|vs|etc)\.(?!\w)"  # a stop that is no sentence's
    r"|\d+(?:[.,:/-]\d+)*(?:-\w+)*(?!\w)|#?\w+(?:[-'/&.@_]\w+)*"
    r"|\.\.\.|-+|[^\w\s]"
)
_PARTED = {
    "cannot": "can not", "gonna": "gon na", "gotta": "got ta", "wanna": "wan na", "gimme": "gim me",
    "lemme": "lem me", "'tis": "'t is", "'twas": "'t was",
}  # fmt: skip
_PARTS = re.compile(rf"(?<![\w']){'|'.join(f'(?:{one})' for one in _PARTED)}(?!\w)")
_BRACKETS = {"(": "-lrb-", ")": "-rrb-", "[": "-lsb-", "]": "-rsb-", "{": "-lcb-", "}": "-rcb-"}
_LEFT_OUT = {*".?!,:;'`\"“”‘’…-–—", "--", "---", "..."}


def words(text: str) -> list[str]:
    """Return a caption's words, in lower case and without punctuation."""
    plain = _PARTS.sub(lambda found: _PARTED[found.group()], text.lower().replace("’", "'"))
    plain = _SPLIT.sub(r" \1", plain)
    cut: list[str] = _TOKEN.findall(plain)
    return [_BRACKETS.get(one, one) for one in cut if one not in _LEFT_OUT]


@lru_cache(maxsize=65536)
def grams(text: str) -> Grams:
    """Return how often each run of 1 to 4 words is in a caption, by its length."""
    cut = words(text)
    return [
        Counter(tuple(cut[start : start + size]) for start in range(len(cut) - size + 1))
        for size in range(1, LONGEST + 1)
    ]


@dataclass(frozen=True, slots=True)
class Cider:
    """CIDEr-D with the weights of the rows that it is fitted to.

    Attributes:
        pictures: how many there are; 0 where it is not fitted yet.
        having: of each run of words, how many pictures have it in a reference.
        weights: of each of them.
        rare: the weight of a run that no reference has.
    """

    pictures: int = 0
    having: Mapping[Gram, int] = field(default_factory=dict["Gram", int])
    weights: Mapping[Gram, float] = field(default_factory=dict["Gram", float])
    rare: float = 0.0
    metric: Metric = CIDER

    def fitted(self, examples: Sequence[Example]) -> Cider:
        """Return it for a set of rows. Raises DataError where they are of one picture."""
        found = _of(examples)
        if found.pictures == 1:
            raise DataError(
                "CIDEr of one picture says nothing: a word weighs by how few of the test set's pictures have "
                f"it, and of one every weight is 0 (of {counted(len(examples), 'row')}).",
                hint="Score more pictures, or take rouge_l.",
            )
        return found

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return each caption's value, not scored where there is no reference; the part is its leaning."""
        known = self if self.pictures else _of(examples)
        if known.pictures == 1:
            return [Score(None, ONE)] * len(completions)
        moved: defaultdict[Gram, float] = defaultdict(float)
        values: list[float | None] = []
        for example, completion in zip(examples, completions, strict=True):
            values.append(
                known.value(completion.text, example.references, moved) if example.references else None
            )
        leaning = known.leanings(examples, moved)
        return [
            Score(None, "there is no reference") if value is None else Score(value, parts=(lean,))
            for value, lean in zip(values, leaning, strict=True)
        ]

    def value(self, text: str, references: Sequence[str], moved: defaultdict[Gram, float]) -> float:
        """Return a caption's CIDEr-D, and add to `moved` its derivative by the weight of each run."""
        said, total = grams(text), 0.0
        for reference in references:
            given = grams(reference)
            apart = said[1].total() - given[1].total()
            share = TIMES * math.exp(-(apart**2) / (2 * SIGMA**2)) / (LONGEST * len(references))
            total += share * sum(self._alike(*pair, share, moved) for pair in zip(said, given, strict=True))
        return total

    def _alike(
        self, said: Counter[Gram], given: Counter[Gram], share: float, moved: defaultdict[Gram, float]
    ) -> float:
        """Return the similarity (0 to 1) of two captions' runs of one length; see `value`."""
        clipped = {gram: min(said[gram], given[gram]) * given[gram] for gram in said.keys() & given.keys()}
        if not clipped:
            return 0.0
        weights = {gram: self.weights.get(gram, self.rare) for gram in said.keys() | given.keys()}
        shared = sum(count * weights[gram] ** 2 for gram, count in clipped.items())
        ours, theirs = (sum((n * weights[gram]) ** 2 for gram, n in one.items()) for one in (said, given))
        if not shared or not ours or not theirs:
            return 0.0
        alike = shared / math.sqrt(ours * theirs)
        for gram, weight in weights.items():
            by = 2 * clipped.get(gram, 0) / shared - said[gram] ** 2 / ours - given[gram] ** 2 / theirs
            moved[gram] += share * alike * weight * by
        return alike

    def leanings(self, examples: Sequence[Example], moved: Mapping[Gram, float]) -> list[float]:
        """Return what each row's references move the mean of all rows by; together that is nothing."""
        rows = Counter(row.source for row in examples)
        by_picture = {
            name: -sum(moved.get(gram, 0.0) / self.having.get(gram, 1) for gram in found) / rows[name]
            for name, found in _runs(examples).items()
        }
        mean = sum(by_picture.get(name, 0.0) * count for name, count in rows.items()) / max(1, len(examples))
        return [by_picture.get(row.source, 0.0) - mean for row in examples]


def _of(examples: Sequence[Example]) -> Cider:
    runs = _runs(examples)
    having = Counter(gram for found in runs.values() for gram in found)
    weights = {gram: math.log(len(runs) / count) for gram, count in having.items()}
    return Cider(len(runs), having, weights, math.log(max(1, len(runs))))


def _runs(examples: Sequence[Example]) -> dict[str, set[Gram]]:
    """Return the runs of words in the references to each picture, which is its rows' source."""
    found: dict[str, set[Gram]] = {}
    for example in examples:
        for reference in example.references:
            found.setdefault(example.source, set()).update(*grams(reference))
    return found


def build_cider() -> Scorer:
    """CIDEr-D of captions (1 to 4 words, tf-idf of the whole test set, clipped, sigma 6, times 10)."""
    return Cider()
