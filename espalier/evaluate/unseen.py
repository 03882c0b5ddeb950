"""Rows whose media are taken out, or are another row's: what a model reaches on them it reaches unseen.

A model that does not look answers as well without the picture as with it; VQA's questions alone say much of
their answers (Goyal et al. 2017, arXiv 1612.00837). So beside each score on media stand the same model's
without the media and with another row's, and the best constant answer to the same question (`baselines.py`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.core.records import media_in

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Example, Media

BLIND, SHUFFLED, QUESTION = "blind", "shuffled", "question"


def blinded(examples: Sequence[Example]) -> list[Example]:
    """Return the examples without their media; none where there are no media.

    Those that have none stay as they are, so that the floor is of the same rows as the score.
    """
    if not any(media_in(example.prompt) for example in examples):
        return []
    return [_with(example, []) if media_in(example.prompt) else example for example in examples]


def shuffled(examples: Sequence[Example]) -> list[Example]:
    """Return the examples with the media of another one that has as many of each kind; none where none has.

    Of those that are alike in that, each gets the media of the one that comes half of them later, in the
    order of their media, and so never its own. Those without a partner, or without media, stay as they are.
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
    rows = [_with(row, given[row.id]) if row.id in given else row for row in examples]
    return rows if given else []


def _with(example: Example, media: Sequence[Media]) -> Example:
    """Return an example with other media in the places of its own; with none, they are taken out."""
    rest = iter(media)
    asked = len(example.prompt)
    turns = [turn.showing(lambda _: [next(rest)] if media else []) for turn in example.messages[:asked]]
    return replace(example, messages=(*turns, *example.messages[asked:]))
