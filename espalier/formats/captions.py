"""What pictures show and sounds say: a caption, a transcript or a label, and nothing is asked in words."""

from __future__ import annotations

from typing import cast

from espalier.core.records import Example, Message, message
from espalier.formats.format import Format, Row, example
from espalier.formats.placing import COLUMNS
from espalier.formats.turns import items, text

SAID = ("caption", "captions", "transcription", "transcript", "sentence", "text", "label")


def captions() -> Format:
    """A picture or a sound with what it shows or says; of several captions the first is trained."""

    def read(row: Row) -> list[Example]:
        key = next(key for key in SAID if key in row.value)
        where = f"{row.where}, {key}"
        given: object = row.value[key]
        listed = (
            items(cast("object", given), where, "captions", "Write one.")
            if isinstance(given, list)
            else [given]
        )
        said = tuple(text(item, where) for item in listed)
        return [example(row, [Message("user", ()), message("assistant", said[0], trained=True)], said)]

    shapes = tuple(f"{column} {key}" for key in SAID for column in COLUMNS)
    return Format(shapes, read, '{"image": "a.png", "caption": "…"}', asks_once=True)
