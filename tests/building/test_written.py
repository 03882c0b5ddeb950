"""What is written comes in again as the same rows, or is refused with the reason."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.building.written import writers
from espalier.core.errors import DataError
from espalier.core.records import Example, Message, Thought, ToolCall, ToolList, message
from espalier.formats.format import Row, example
from espalier.formats.load import load_rows
from espalier.tasks.raw_rows import is_blank

TEXT = st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=20).filter(
    lambda text: not is_blank(text)
)


def made(turns: Sequence[Message], rejected: tuple[Message, ...] = ()) -> Example:
    return example(Row("rows.jsonl", "rows", 1, "rows.jsonl:1", {}), turns, rejected=rejected)


def again(format: str, row: Example, folder: Path) -> Example:
    """Return the row as it comes in when it was written."""
    path = folder / "rows.jsonl"
    path.write_text(json.dumps(writers.build(format, {})(row)) + "\n", encoding="utf-8")
    (read,) = load_rows(path)
    return read


@st.composite
def conversations(draw: st.DrawFn) -> list[Message]:
    turns = [message("system", draw(TEXT))] if draw(st.booleans()) else []
    for _ in range(draw(st.integers(1, 3))):
        turns += [message("user", draw(TEXT)), message("assistant", draw(TEXT), trained=True)]
    return turns


@pytest.mark.parametrize("format", ["messages", "sharegpt", "alpaca"])
@settings(max_examples=60)
@given(turns=conversations())
def test_conversations_come_in_again_as_the_same(
    format: str, turns: list[Message], tmp_path_factory: pytest.TempPathFactory
) -> None:
    row = made(turns)
    assert again(format, row, tmp_path_factory.getbasetemp()).messages == row.messages
    assert again(format, row, tmp_path_factory.getbasetemp()).id == row.id


PAIR = [message("user", "Name a bird."), message("assistant", "A wren.", trained=True)]
LATER = [
    message("system", "Be brief."),
    *PAIR[:1],
    message("assistant", "A jay."),
    message("user", "Another?"),
]
CALL = Message("assistant", (Thought("I look."), ToolCall("look", '{"at": "sky"}')), trained=True)
TOOLS = Message("system", (ToolList('[{"type": "function", "function": {"name": "look"}}]'),))


@pytest.mark.parametrize(
    ("format", "turns", "rejected"),
    [
        ("prompt-completion", PAIR, ()),
        ("prompt-completion", [*LATER, message("assistant", "An owl.", trained=True)], ()),
        ("preference", PAIR, (message("assistant", "A whale."),)),
        (
            "preference",
            [*LATER, message("assistant", "An owl.", trained=True)],
            (message("assistant", "No."),),
        ),
        ("kto", PAIR, ()),
        ("kto", PAIR[:1], (message("assistant", "A whale."),)),
        ("messages", [TOOLS, message("user", "What flies?"), CALL], ()),
        ("messages", [*LATER, message("assistant", "An owl.", trained=True)], ()),
    ],
)
def test_other_rows_come_in_again_as_the_same(
    format: str, turns: list[Message], rejected: tuple[Message, ...], tmp_path: Path
) -> None:
    row = made(turns, rejected)
    read = again(format, row, tmp_path)
    assert read.messages == row.messages
    assert read.rejected == row.rejected
    assert read.references == row.references
    assert read.id == row.id


@pytest.mark.parametrize(
    ("format", "turns", "rejected", "why"),
    [
        ("alpaca", [TOOLS, message("user", "What flies?"), CALL], (), "has tools, calls or thoughts"),
        (
            "alpaca",
            [*LATER, message("assistant", "An owl.", trained=True)],
            (),
            "an answer that is not trained",
        ),
        ("messages", PAIR, (message("assistant", "A whale."),), "has rejected answers"),
        ("preference", PAIR, (), "is no pair"),
        ("prompt-completion", [*PAIR, *PAIR], (), "more trained answers"),
    ],
)
def test_what_a_format_cannot_hold_is_said(
    format: str, turns: list[Message], rejected: tuple[Message, ...], why: str
) -> None:
    with pytest.raises(DataError, match=why):
        writers.build(format, {})(made(turns, rejected))


WORSE = message("assistant", "A whale.")


@pytest.mark.parametrize(
    ("format", "turns", "rejected", "other"),
    [
        # A thumb down has no answer beside which it is worse, as pairs have.
        *(
            (name, PAIR[:1], (WORSE,), "kto")
            for name in ("messages", "alpaca", "openassistant", "preference")
        ),
        ("messages", PAIR, (WORSE,), "preference"),
        ("kto", PAIR, (WORSE,), "preference"),
        ("preference", PAIR, (), "messages"),
        ("messages", PAIR, (WORSE, WORSE), ""),
        ("preference", PAIR, (WORSE, WORSE), ""),
    ],
)
def test_the_format_that_is_named_instead_holds_the_row(
    format: str, turns: list[Message], rejected: tuple[Message, ...], other: str
) -> None:
    row = made(turns, rejected)
    with pytest.raises(DataError) as caught:
        writers.build(format, {})(row)
    assert caught.value.hint == (f"'{other}' can." if other else caught.value.hint)
    if other:
        assert writers.build(other, {})(row)
    for name in () if other else ("messages", "preference", "kto", "sharegpt", "openassistant"):
        with pytest.raises(DataError):
            writers.build(name, {})(row)
