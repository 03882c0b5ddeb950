"""What many rows cost between their examples and a plan."""

from __future__ import annotations

import random
import tracemalloc
from collections.abc import Callable
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from espalier.core.files import content_hash
from espalier.core.records import Example, Media, Message, Text, message
from espalier.encode.batches import schedule
from espalier.encode.media import Takes
from espalier.encode.template import Template
from espalier.models.load import load_template
from espalier.runs.in_tokens import encode_units

ROWS = 1_000
MOST = 60  # bytes a token, what is remembered of texts and made for a moment included
WORDS = (
    "ripe",
    "pear",
    "trellis",
    "ladder",
    "north",
    "wall",
    "cordon",
    "spur",
    "fruit",
    "bud",
    "graft",
    "tie",
)


def test_rows_on_media_take_no_more(chat_tokenizer: Callable[[str], Any]) -> None:
    media = [Media("image", f"{n}.png", sha256(str(n).encode()).hexdigest()) for n in range(ROWS // 5)]
    examples = [
        Example(
            str(n),
            "task",
            str(n),
            (Message("user", (media[n // 5], Text("What?"))), message("assistant", f"{n}", trained=True)),
        )
        for n in range(ROWS)
    ]
    template = Template(chat_tokenizer("chatml")).seeing(Takes(lambda _: 49))
    encode_units(examples[:1], template, 2048)
    tracemalloc.start()
    units = encode_units(examples, template, 2048).units
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    tokens = sum(len(row.ids) for unit in units for row in unit.rows)
    assert tokens > 60 * ROWS
    assert peak / tokens < MOST


@pytest.mark.model
def test_rows_take_little_more_than_a_place_for_each_token(bundled_model: Path) -> None:
    draw = random.Random(0)

    def said(count: int) -> str:
        return " ".join(draw.choices(WORDS, k=count))

    examples = [
        Example(
            str(n), "task", str(n), (message("user", said(20)), message("assistant", said(60), trained=True))
        )
        for n in range(ROWS)
    ]
    template = load_template(str(bundled_model))
    encode_units(examples[:1], template, 2048)
    tracemalloc.start()
    units = encode_units(examples, template, 2048).units
    schedule(units, 32, 0)(0)
    content_hash([content_hash([unit.prompt, [row.ids for row in unit.rows]]) for unit in units])
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    tokens = sum(len(row.ids) for unit in units for row in unit.rows)
    assert tokens > 60 * ROWS
    assert peak / tokens < MOST
