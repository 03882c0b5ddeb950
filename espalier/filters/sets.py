"""Filters that look at a row beside others: what is new, what repeats, and what contradicts.

All compare the prompt without its system turn, as that says what a row asks.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import lru_cache
from typing import TYPE_CHECKING, Literal, TypeAlias

from espalier.core.errors import RecipeError
from espalier.core.text import folded, unpunctuated
from espalier.data.judgement import PASSES, Judgement, compared_texts, filters
from espalier.filters.duplicates import duplicates
from espalier.filters.novelty import novelty

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from espalier.core.records import Example
    from espalier.data.judgement import Filter

_Said: TypeAlias = tuple[str, tuple[str, ...]]
_MARKED = re.compile(r"(?:(?<!\w)[-+\u2212])?\d+(?:[.,]\d+)*|\w[+#]+")


@filters.register("novelty")
def build_novelty(*, threshold: float = 0.7, of: Literal["prompt", "answer"] = "prompt") -> Filter:
    """Self-Instruct's rule: no instruction before has a ROUGE-L over the threshold with this one.

    Where all rows have one instruction, such as those of a task, `of = "answer"` compares what is answered.
    """
    _share(threshold, "novelty")

    def judge(rows: Iterable[Example]) -> Iterator[Judgement]:
        said = "asks" if of == "prompt" else "says"
        texts, ids = compared_texts(rows, of)
        kept: list[str] = []
        for name, near in zip(ids, novelty(texts, threshold=threshold), strict=True):
            if near is None:
                kept.append(name)
                yield PASSES
            else:
                why = f"It {said} what another row {said}: ROUGE-L {100 * near.value:.0f}."
                yield Judgement(False, why, near.value, kept[near.row])

    return judge


@filters.register("duplicates")
def build_duplicates(
    *, threshold: float = 0.8, of: Literal["prompt", "answer", "row"] = "row", words: int = 2
) -> Filter:
    """Near duplicates by the Jaccard index of neighbouring words; of each set the first row stays."""
    _share(threshold, "duplicates")

    def judge(rows: Iterable[Example]) -> Iterator[Judgement]:
        texts, ids = compared_texts(rows, of)
        for near in duplicates(texts, threshold, words):
            if near is None:
                yield PASSES
            else:
                same = "It is the same as" if near.value == 1 else "It is nearly the same as"
                yield Judgement(False, f"{same} another row.", near.value, ids[near.row])

    return judge


@filters.register("contradictions")
def contradictions() -> Filter:
    """Rows that ask the same and answer otherwise: which of them is right is for a person to say.

    An answer that a row accepts besides its own (its references) does not contradict it.
    """

    def judge(rows: Iterable[Example]) -> Iterator[Judgement]:
        answers: defaultdict[str, dict[str, str]] = defaultdict(dict)
        for example in rows:
            if example.answer.strip():
                answers[_key(example)].setdefault(example.answer, example.id)
        for example in rows:
            found = answers[_key(example)]
            if len(found) < 2 or not example.answer.strip():
                yield PASSES
                continue
            accepted = {_said(one) for one in (example.answer, *example.references)}
            others: dict[_Said, str] = {}
            for one, name in found.items():
                others.setdefault(_said(one), name)
            left = [name for said, name in others.items() if said not in accepted]
            if not left:
                yield PASSES
                continue
            count = len(left) + 1
            yield Judgement(False, f"The same prompt has {count} answers.", float(count), left[0])

    return judge


@lru_cache(maxsize=16384)
def _said(answer: str) -> _Said:
    """Return what an answer says: its words without signs, but a number's own, and "c++" for C++."""
    marked = tuple(found.replace(",", "") for found in _MARKED.findall(folded(answer)))
    return unpunctuated(answer), marked


def _key(example: Example) -> str:
    asked = [f"{turn.role}\x1f{folded(turn.text)}" for turn in example.prompt]
    return "\x1e".join([*(one.name for one in example.media), *asked])


def _share(value: float, name: str) -> None:
    if not 0 < value <= 1:
        raise RecipeError(
            f"threshold = {value} does not fit: it must be over 0 and at most 1.", where=f"filter.{name}"
        )
