"""Rows with another one's picture or sound in the place of their own: a model that looks answers otherwise.

All other checks hold one way of computing to another, and a model that sees nothing, or in all media the
same, passes them.
"""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.records import media_in
from espalier.encode.media import FIRST, medium
from espalier.encode.tokens import encode_unit
from espalier.media.kinds import WORDS
from espalier.media.pictures import pixels
from espalier.media.sounds import samples
from espalier.runs.events import say

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.core.records import Encoded, Example, Media
    from espalier.encode.template import Template
    from espalier.media.kinds import Kind

ROWS = 4  # of each kind of media
TRIED = 32  # media that are held against one, for another of as many tokens
RATE = 16_000  # samples a second at which two sounds are compared


def swapped(examples: Sequence[Example], template: Template) -> dict[Kind, list[tuple[Encoded, Encoded]]]:
    """Return a few rows of each kind of media, each beside itself with another row's medium.

    A row of several media is there for its first and for its last. Where all media are one, nobody can tell
    whether the model sees it, which is said.

    Raises:
        TemplateError: the template refuses a row.
    """
    found: dict[Kind, list[tuple[Encoded, Encoded]]] = {}
    for kind, word in WORDS.items():
        rows = {tuple(media_in(row.prompt)): row for row in examples if _of(kind, row)}
        media = list(dict.fromkeys(one for row in rows.values() for one in _of(kind, row)))
        few = [*rows.values()][:: max(1, len(rows) // ROWS)][:ROWS]
        pairs = [pair for row in few for pair in _pairs(row, kind, media, template)]
        if pairs:
            found[kind] = pairs
        elif rows:
            say(f"All rows have the same for {word}, so it cannot be told whether the model looks at it.")
    return found


def _of(kind: Kind, row: Example) -> list[Media]:
    return [one for one in media_in(row.prompt) if one.kind == kind]


def _pairs(
    row: Example, kind: Kind, media: Sequence[Media], template: Template
) -> Iterator[tuple[Encoded, Encoded]]:
    """Yield the row beside itself with another medium as its first of a kind, and as its last."""
    places = [place for place, one in enumerate(media_in(row.prompt)) if one.kind == kind]
    own = encode_unit(row, template).rows[0]
    for place in dict.fromkeys((places[0], places[-1])):
        before = media_in(row.prompt)[place]
        start = media.index(before) + len(media) // 2
        others = [media[(start + step) % len(media)] for step in range(min(TRIED, len(media)))]
        others = [one for one in others if one != before]
        made = ((one, encode_unit(_with(row, place, one), template).rows[0]) for one in others)
        known = [(one, other) for one, other in made if len(other.ids) <= template.context]
        known.sort(key=lambda pair: len(pair[1].ids) != len(own.ids))
        for one, other in known:
            if not _alike(before, one):
                yield own, (other if kind == "image" else _as_long(own, other))
                break


def _with(row: Example, place: int, other: Media) -> Example:
    """Return a row with another medium in one place."""
    rest = iter(range(place + 1))
    turns = [turn.showing(lambda own: [other if next(rest, None) == place else own]) for turn in row.messages]
    return replace(row, messages=tuple(turns))


def _as_long(own: Encoded, other: Encoded) -> Encoded:
    """Return a row with the other's media in as many tokens as it has itself, the line repeated or cut.

    A sound of another length moves what comes after it, and so changes answers, heard or not.
    """
    heard = [token for token in other.ids if _is_heard(token)]
    if len(own.ids) == len(other.ids) or not heard:
        return other
    line = itertools.cycle(heard)
    ids = [next(line) if _is_heard(token) else token for token in own.ids]
    return replace(own, ids=tuple(ids))


def _is_heard(token: int) -> bool:
    return token >= FIRST and medium(token).kind == "audio"


def _alike(one: Media, other: Media) -> bool:
    """Say whether two files hold the same: a picture saved twice is told apart by nobody."""
    first, second = (
        pixels(Path(media.uri)) if media.kind == "image" else samples(Path(media.uri), RATE)
        for media in (one, other)
    )
    return np.array_equal(first, second)
