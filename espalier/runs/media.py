"""What a run does with its media before the first step.

Files are opened, encoders' features are kept, and projectors are aligned where the recipe asks for it.

A file that cannot be used is told by the template, row by row, as all that a model cannot take; see
`KeptFeatures.length`.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any, cast

import torch

from espalier.core.errors import RecipeError
from espalier.core.files import jsonl, write_changed
from espalier.core.records import media_in
from espalier.core.text import counted
from espalier.encode.media import FIRST, medium
from espalier.media.inspection import NAME
from espalier.models.alignment import aligned, set_projectors, undone
from espalier.models.media import media_embedding
from espalier.runs.events import bar, say, working
from espalier.train.parallel import on_first
from espalier.train.peak import peak_bytes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Sequence

    from transformers import PreTrainedModel

    from espalier.core.records import Example, Media, Ranks
    from espalier.core.run import RunFolder
    from espalier.encode.template import Template
    from espalier.models.encoders.features import KeptFeatures
    from espalier.models.load import Loaded
    from espalier.runs.plan import Plan, Stage

    Told = Callable[[int, int], object]

NOUNS = {"image": "picture", "audio": "sound"}


def open_media(loaded: Loaded, examples: Iterable[Example]) -> None:
    """Open each distinct file of rows once, where the model takes media. Raises RunError, MissingExtra."""
    features, media = _features(loaded), _distinct(examples)
    if features and media:
        _with_bar("Opening media", len(media), lambda told: features.open(media, told))


def encode_media(loaded: Loaded, rows: Iterable[Example], run: RunFolder) -> None:
    """Make what the encoders make of all media of rows, where it is not on disk from before.

    What the files hold stands in the run's `media.jsonl`, a line for each distinct one.

    Raises:
        DataError: a file cannot be read any more.
        RunError: the disk is full.
    """
    features, media = _features(loaded), _distinct(rows)
    if not features or not media:
        (run.path / NAME).unlink(missing_ok=True)
        return
    write_changed(run.path / NAME, jsonl(map(features.account, media)).encode())
    media = [one for one in media if features.fits(one)]
    started, before = time.monotonic(), features.encoded
    with bar("Encoding media", len(media)) as advance:
        for kind in dict.fromkeys(one.kind for one in media):
            own = [one for one in media if one.kind == kind]
            run.log({"event": "media", **_encoded(features, kind, own, advance)})
    made = features.encoded - before
    say(f"Media: {len(media)} distinct, {made} of them encoded now, the others known from before.")
    if made:
        run.log_stage("encode media", started, peak_bytes())


@torch.inference_mode()
def say_anew(plan: Plan) -> None:
    """Tell what it costs where a stage trains a projector that media are encoded for anew in each step."""
    embedding, features = media_embedding(plan.loaded.model), _features(plan.loaded)
    for stage in plan.stages if embedding and embedding.encode and features else ():
        media = [one for one in _distinct(stage.examples) if features and features.fits(one)]
        if stage.section.method.kind != "projector" or not media:
            continue
        started = time.monotonic()
        assert embedding
        assert embedding.encode
        embedding.encode(media[0])
        say(
            f"Note: {stage.name} trains the model's own projector, so its encoder computes media anew in "
            f"each step: {time.monotonic() - started:.2g} s for the first of {len(media)}."
        )


def _encoded(
    features: KeptFeatures, kind: str, media: Sequence[Media], advance: Callable[[int, str], object]
) -> dict[str, Any]:
    """Encode the media of one kind, and return what the report says of them (see `report/gather.py`)."""
    started, before, told = time.monotonic(), features.encoded, 0

    def tell(done: int, _: int) -> None:
        nonlocal told
        advance(done - told, "")
        told = done

    features.make(media, tell)
    advance(len(media) - told, "")
    return {
        "kind": kind,
        "media": len(media),
        "tokens": sum(map(features.length, media)),
        "encoded": features.encoded - before,
        "seconds": round(time.monotonic() - started, 3),
        "settings": dict(features.encoders[kind].settings),
    }


def check_alignment(plan: Plan) -> None:
    """Refuse to align projectors that are not there, or by rows that tell nothing. Raises RecipeError."""
    for stage in plan.stages:
        if not stage.section.align:
            continue
        where = f"{stage.key}.align"
        embedding = media_embedding(plan.loaded.model)
        if embedding is None or not embedding.projectors:
            raise RecipeError(
                "The model has no projector to align.",
                where=where,
                hint='Name an encoder: model.encoders = ["efficientnet-lite0"].'
                if embedding is None
                else "It sees or hears by itself: its own projector has learned that. Leave this out.",
            )
        if next(_said(stage, plan.template), None) is None:
            raise RecipeError(
                "None of the stage's rows has one picture or sound and an answer that says what it holds.",
                where=where,
                hint="Give the stage captions or transcripts of its own with train.data.",
            )


def align_projectors(
    model: PreTrainedModel, stage: Stage, template: Template, run: RunFolder, ranks: Ranks
) -> None:
    """Give a model's projectors the weights that least squares finds for a stage's rows.

    Raises:
        DataError: a file cannot be read any more.
    """
    embedding = media_embedding(model)
    assert embedding is not None  # `check_alignment` has seen to it
    started = time.monotonic()
    with working("Aligning the projector", aloud=False):
        made = on_first(lambda: aligned(embedding, _said(stage, template)), ranks)
        set_projectors(embedding, made)
    if ranks.rank:
        return
    for kind, one in made.items():
        found = {"media": one.media, "ridge": one.ridge, "explained": one.explained}
        run.log({"event": "aligned", "stage": stage.name, "kind": kind, **found})
        held = (
            ""
            if one.explained is None
            else f"; explains {one.explained:.0%} of the words' variance, held out"
        )
        say(f"Projector aligned by least squares on {counted(one.media, NOUNS[kind])}{held}.")
    rate = stage.section.projector_rate or stage.section.rate
    if any(undone(embedding, kind, rate) for kind in made):
        say(
            f"Note: a few steps at a rate of {rate:g} undo an alignment: each moves every weight of the "
            "projector by it; about 3e-6 keeps it (train.projector_rate)."
        )
    run.log_stage(f"{stage.name}: align", started, peak_bytes())


def _said(stage: Stage, template: Template) -> Iterator[tuple[Media, Sequence[int]]]:
    """Yield the media of a stage's rows, each with the words of its answer; a row with several has none."""
    for unit in stage.encoded.units:
        for row in unit.rows[:1]:
            shown = {medium(token) for token in row.ids if token >= FIRST}
            words = [
                token
                for token, weight in zip(row.ids, row.weights, strict=True)
                if weight and token < FIRST and token not in template.stop_ids
            ]
            if len(shown) == 1 and words:
                yield shown.pop(), words


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
