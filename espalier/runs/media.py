"""What a run does with its media before the first step: files are opened, and encoders' features are kept.

A file that cannot be used is told by the template, row by row, as all that a model cannot take; see
`KeptFeatures.length`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, cast

from espalier.core.records import media_in
from espalier.models.media import media_embedding
from espalier.runs.events import bar, say
from espalier.train.peak import peak_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from espalier.core.records import Example, Media
    from espalier.core.run import RunFolder
    from espalier.models.encoders.features import KeptFeatures
    from espalier.models.load import Loaded
    from espalier.runs.plan import Plan

    Told = Callable[[int, int], object]


def open_media(loaded: Loaded, examples: Iterable[Example]) -> None:
    """Open each distinct file of rows once, where the model takes media. Raises RunError, MissingExtra."""
    features, media = _features(loaded), _distinct(examples)
    if features and media:
        _with_bar("Opening media", len(media), lambda told: features.open(media, told))


def encode_media(plan: Plan, run: RunFolder) -> None:
    """Make what the encoders make of all media of a run, where it is not on disk from before.

    Raises:
        DataError: a file cannot be read any more.
        RunError: the disk is full.
    """
    features = _features(plan.loaded)
    rows = [row for stage in plan.stages for row in (*stage.examples, *stage.dev)]
    media = _distinct([*rows, *plan.prepared.test])
    if not features or not (media := [one for one in media if features.fits(one)]):
        return
    started, before = time.monotonic(), features.encoded
    _with_bar("Encoding media", len(media), lambda told: features.make(media, told))
    made = features.encoded - before
    run.log({"event": "media", "media": len(media), "encoded": made})
    say(f"Media: {len(media)} distinct, {made} of them encoded now, the others known from before.")
    if made:
        run.log_stage("encode media", started, peak_bytes())


def _features(loaded: Loaded) -> KeptFeatures | None:
    embedding = media_embedding(loaded.model)
    return cast("KeptFeatures", embedding.features) if embedding else None


def _distinct(examples: Iterable[Example]) -> list[Media]:
    turns = (turn for row in examples for turn in (*row.messages, *row.rejected))
    return [*dict.fromkeys(media_in(turns))]


def _with_bar(what: str, total: int, work: Callable[[Told], object]) -> None:
    with bar(what, total) as advance:
        told = 0

        def tell(done: int, _: int) -> None:
            nonlocal told
            advance(done - told, "")
            told = done

        work(tell)
        advance(total - told, "")
