"""Rows whose media are taken out, or are another row's: what a model reaches on them it reaches unseen.

A model that does not look answers as well without the picture as with it; VQA's questions alone say much of
their answers (Goyal et al. 2017, arXiv 1612.00837). So beside each score on media stand the same model's
without the media and with another row's, and the most frequent training answer to the same question.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.core.records import media_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Example, Media

BLIND, SHUFFLED, QUESTION = "blind", "shuffled", "question"


def blinded(examples: Sequence[Example]) -> list[Example]:
    """Return the examples that have media, without them."""
    return [_with(example, []) for example in examples if media_in(example.prompt)]


def shuffled(examples: Sequence[Example]) -> list[Example]:
    """Return the examples that have media, each with those of another one that has as many of each kind.

    Of those that are alike in that, each gets the media of the one that comes half of them later, in the
    order of their media, and so never its own unless all have the same. Those without a partner stay out.
    """
    alike: dict[tuple[str, ...], list[Example]] = {}
    for example in examples:
        if own := media_in(example.prompt):
            alike.setdefault(tuple(one.kind for one in own), []).append(example)
    given: dict[str, list[Media]] = {}
    for group in alike.values():
        ordered = sorted(group, key=lambda row: ([one.sha256 for one in media_in(row.prompt)], row.id))
        sets = list(dict.fromkeys(tuple(media_in(row.prompt)) for row in ordered))
        if len(sets) > 1:
            following = {own: sets[(place + len(sets) // 2) % len(sets)] for place, own in enumerate(sets)}
            given |= {row.id: list(following[tuple(media_in(row.prompt))]) for row in ordered}
    return [_with(example, given[example.id]) for example in examples if example.id in given]


def by_question(examples: Sequence[Example], train: Sequence[Example]) -> dict[str, str]:
    """Return of each example the most frequent training answer to the same text; nothing without media.

    What was never asked in training gets the most frequent answer of all.
    """
    if not any(media_in(row.prompt) for row in examples):
        return {}
    answers: dict[str, Counter[str]] = {}
    every: Counter[str] = Counter()
    for row in train:
        answers.setdefault(row.input, Counter())[row.answer] += 1
        every[row.answer] += 1
    best = {text: _first(counts) for text, counts in answers.items()}
    return {row.id: best.get(row.input, _first(every)) for row in examples} if every else {}


def _first(counts: Counter[str]) -> str:
    """Return the most frequent text; of several the first by the alphabet, whatever the rows' order is."""
    return min(counts, key=lambda text: (-counts[text], text))


def _with(example: Example, media: Sequence[Media]) -> Example:
    """Return an example with other media in the places of its own; with none, they are taken out."""
    rest = iter(media)
    asked = len(example.prompt)
    turns = [turn.showing(lambda _: [next(rest)] if media else []) for turn in example.messages[:asked]]
    return replace(example, messages=(*turns, *example.messages[asked:]))
