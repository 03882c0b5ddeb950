"""Whatever a row is, each format and each kind of file gives it back as it was, or refuses it by name."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.building.exporting import export
from espalier.building.task_export import TASKS
from espalier.core.errors import DataError
from espalier.core.records import Example, Message, Text, Thought, ToolCall, ToolList, message
from espalier.data.pairs import Pairs, write_pairs
from espalier.formats.load import FORMATS, iter_rows, numbered
from espalier.tasks.task_files import load_task
from espalier.tasks.templates import Show, available, to_examples

WILD = (
    *(
        "A wren.",
        ' "quoted", with\nlines\r\nand\ttabs ',
        "[1, 2]",
        '{"a": 1}',
        "=SUM(A1)",
        "naïve 日本 🙂",
        "NaN",
    ),
    *(
        "007",
        "true",
        "1.50",
        "a\u2028b",
        "'",
        "null",
        "-",
        "N/A",
        "a\rb",
        "\ufeffa",
        "Input: x",
        "one\n\nInput: two",
    ),
)
TEXTS = st.sampled_from(WILD) | st.text(
    st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1, max_size=12
)
EMPTY = TEXTS | st.just("")
JSONS = st.dictionaries(TEXTS, st.integers() | TEXTS | st.lists(TEXTS, max_size=2), max_size=2)


@st.composite
def answers(draw: st.DrawFn, trained: bool | None = None) -> Message:
    thoughts = (Thought(draw(TEXTS)),) if draw(st.integers(0, 5)) == 0 else ()
    calls = (
        tuple(
            ToolCall(draw(st.sampled_from(["look", "ask"])), json.dumps(draw(JSONS), ensure_ascii=False))
            for _ in range(draw(st.integers(1, 2)))
        )
        if draw(st.integers(0, 4)) == 0
        else ()
    )
    words = (Text(draw(TEXTS)),) if not calls or draw(st.booleans()) else ()
    shown = draw(st.integers(0, 3)) > 0 if trained is None else trained
    return Message("assistant", (*thoughts, *words, *calls), shown)


@st.composite
def rows(draw: st.DrawFn) -> Example:
    turns: list[Message] = []
    if draw(st.integers(0, 2)) == 0:
        tools = json.dumps([{"type": "function", "function": {"name": "look", "parameters": draw(JSONS)}}])
        listed = (ToolList(tools),) if draw(st.booleans()) else ()
        words = draw(EMPTY)
        turns.append(Message("system", (*listed, *([Text(words)] if words or not listed else []))))
    for _ in range(draw(st.integers(0, 2))):
        turns += [message("user", draw(TEXTS)), draw(answers())]
    turns.append(message("user", draw(TEXTS)))
    rejected = tuple(message("assistant", draw(TEXTS)) for _ in range(draw(st.sampled_from([0, 0, 1, 1, 2]))))
    answered = not rejected or draw(st.booleans())
    turns += [draw(answers(True))] if answered else []
    usual = (turns[-1].text,) if answered else ()
    references = draw(st.sampled_from([usual, usual, usual, (*usual, "Another.")]))
    facts = draw(
        st.sampled_from([{}, {}, {"options": ["a", "b"]}, {"train": False, "n": [1, None, {"a": "é"}]}])
    )
    return Example(
        id=draw(st.sampled_from("abcdef")) * 16,
        task=draw(st.sampled_from(["out", "other", "a/b c"])),
        source=draw(TEXTS),
        messages=tuple(turns),
        references=references,
        rejected=rejected,
        origin={"file": "f", "row": "1"},
        input=draw(EMPTY),
        facts=facts,
    )


def plain(row: Example) -> Example:
    return replace(row, origin={})


def out_and_in(found: list[Example], format: str, ending: str, folder: Path) -> list[Example]:
    table = folder / "pairs.parquet"
    write_pairs(table, found)
    path = folder / f"out{ending}"
    export(Pairs(table), path, format)
    if format != TASKS:
        return [*numbered(iter_rows(path, own=True))]
    files = sorted(path.glob("*.json")) if path.is_dir() else [path]
    tasks = [load_task(file) for file in files]
    return [*numbered(row for task in tasks for row in to_examples(task, available(task, Show())))]


# Captions are rows with a medium each, which these have not; they are written as messages.
@pytest.mark.parametrize("format", [name for name in FORMATS if name != "captions"])
@settings(max_examples=16)
@given(st.lists(rows(), max_size=5), st.sampled_from([".jsonl", ".csv", ".parquet"]))
def test_a_row_comes_in_as_it_went_out_or_is_refused(format: str, found: list[Example], ending: str) -> None:
    held: list[Example] = []
    with TemporaryDirectory() as name:
        for row in numbered(found):
            try:
                out_and_in([row], format, ".jsonl", Path(name))
                held.append(row)
            except DataError:
                continue
        if held:
            assert [*map(plain, out_and_in(held, format, ending, Path(name)))] == [*map(plain, held)]


@st.composite
def task_rows(draw: st.DrawFn) -> Example:
    words = draw(
        st.sampled_from(
            ["Say it again.", "Say it.\n\n- Once.\n- Well.", "Say.\n\nGood example\nInput: a\nOutput: b"]
        )
    )
    worse = tuple(message("assistant", draw(TEXTS)) for _ in range(draw(st.sampled_from([0, 0, 1, 2]))))
    told = () if worse and draw(st.booleans()) else tuple(draw(st.lists(TEXTS, min_size=1, max_size=2)))
    text = draw(TEXTS)
    trained = [message("assistant", one, trained=True) for one in told[:1]]
    return replace(
        draw(rows()),
        task=f"{draw(st.sampled_from(['train', 'test x', 'TEST_x']))} {words[:9].strip()}{len(words)}",
        messages=(message("user", f"{words}\n\nInput: {text}"), *trained),
        references=told,
        rejected=worse,
        input=text,
    )


@settings(max_examples=25)
@given(st.lists(task_rows() | rows(), max_size=6))
def test_tasks_come_in_as_they_went_out(found: list[Example]) -> None:
    held: list[Example] = []
    for row in numbered(found):
        with TemporaryDirectory() as name:
            try:
                out_and_in([row], TASKS, ".json", Path(name))
                held.append(row)
            except DataError:
                continue
    if held:
        with TemporaryDirectory() as name:
            again = out_and_in(held, TASKS, "", Path(name))
        by_id = sorted(map(plain, again), key=lambda row: row.id)
        assert by_id == sorted(map(plain, held), key=lambda row: row.id)
