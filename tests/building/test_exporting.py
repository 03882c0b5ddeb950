"""What goes out of a build and comes in again is the same table, in every format and every kind of file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from espalier.building.exporting import export, going_out
from espalier.core.errors import RecipeError
from espalier.core.records import Example, Message, Thought, ToolCall, ToolList, message
from espalier.data.judgement import Filter, Judgement, filters
from espalier.data.pairs import Pairs, join, write_pairs, write_verdicts
from espalier.formats.format import Row, content_id, example
from espalier.formats.load import iter_rows, numbered

HARD = (
    "A plain one.",
    ' "quoted", with\nlines\r\nand\ttabs ',
    "[1, 2]",
    '{"a": 1}',
    "=SUM(A1)",
    "naïve 日本 🙂",
    "NaN",
    "007",
)


def made(
    turns: list[Message], rejected: tuple[Message, ...] = (), references: tuple[str, ...] | None = None
) -> Example:
    return example(Row("f", "tasks", 1, "f:1", {}), turns, rejected=rejected, references=references)


def asked(text: str) -> list[Message]:
    return [message("user", text)]


def told(text: str) -> Message:
    return message("assistant", text, trained=True)


def listed(parameter: str) -> Message:
    schema = {"name": "look", "parameters": {parameter: {"a": 1}}}
    return Message("system", (ToolList(json.dumps([{"type": "function", "function": schema}])),))


CALL = Message("assistant", (Thought("I look."), ToolCall("look", '{"at": "sky", "n": 1}')), trained=True)
OTHER = Message("assistant", (ToolCall("look", '{"by": ["night"]}'),), trained=True)
BRIEF = message("system", "Be brief.")
SHORT = [BRIEF, *asked("Three?"), told("Four.")]
LONG = [BRIEF, *asked("One?"), told("Two."), *SHORT[1:]]
SHOWN = [BRIEF, *asked("One?"), message("assistant", "Two."), *SHORT[1:]]
ROWS: dict[str, list[Example]] = {
    "messages": [
        *(made([*asked(text), told(text)]) for text in HARD),
        made(SHOWN),
        made([listed("deep"), *asked("What flies?"), CALL, message("tool", "A wren."), told("A wren.")]),
        made([listed("high"), *asked("What else?"), OTHER]),
    ],
    "sharegpt": [
        *(made([*asked(text), told(text)]) for text in HARD),
        made(LONG),
    ],
    "alpaca": [
        *(made([*asked(text), told(text)]) for text in HARD),
        made(LONG),
    ],
    "prompt-completion": [
        *(made([*asked(text), told(text)]) for text in HARD),
        made(SHORT),
    ],
    "preference": [
        *(made([*asked(text), told(text)], (message("assistant", f"No, {text}"),)) for text in HARD),
        made(SHORT, (message("assistant", "Five."),)),
    ],
    "kto": [
        *(made([*asked(text), told(text)]) for text in HARD),
        *(made(asked(text), (message("assistant", text),)) for text in HARD),
        made(SHORT),
    ],
}


def table(folder: Path, rows: list[Example], judges: dict[str, Filter] | None = None) -> Pairs:
    path = folder / "pairs.parquet"
    write_pairs(path, numbered(rows))
    for name, judge in (judges or {}).items():
        write_verdicts(folder / f"{name}.parquet", judge(Pairs(path)))
    join(path, {name: folder / f"{name}.parquet" for name in judges or {}})
    return Pairs(path)


@pytest.mark.parametrize("ending", ["jsonl", "csv", "parquet"])
@pytest.mark.parametrize("format", ROWS)
def test_what_goes_out_comes_in_again_as_the_same(format: str, ending: str, tmp_path: Path) -> None:
    rows = ROWS[format]
    if any(not one.rejected for one in rows):  # two of one kind, and one with more references than its answer
        more = ("A plain one.", "Another one.")
        rows = [*rows, rows[0], rows[0], made(list(rows[0].messages), references=more)]
    rows = [*rows, replace(rows[1], facts={"tests": ["f(1) == 2"], "options": ["a", "b"]})]
    pairs = table(tmp_path, rows)
    path = tmp_path / f"out.{ending}"
    assert export(pairs, path, format).rows == len(rows)
    for again, one in zip(numbered(iter_rows(path, own=True)), pairs, strict=True):
        # A history of Alpaca's is a source of its own, and where a row stood is another place now.
        assert replace(again, origin=one.origin, source=one.source) == one


def test_rows_in_another_file_keep_their_task(tmp_path: Path) -> None:
    rows = [
        replace(one, task=task, id=content_id(task, one.messages, one.references, ()))
        for task in ("a", "out")
        for one in ROWS["alpaca"]
    ]
    path = tmp_path / "out.jsonl"
    export(table(tmp_path, rows), path, "alpaca")
    assert [one.id for one in iter_rows(path, own=True)] == [one.id for one in rows]
    assert {one.task for one in iter_rows(path)} == {"out"}  # which a build alone looks at


def test_what_is_found_is_masked_wherever_it_stands(tmp_path: Path) -> None:
    mail, card = "ada@lovelace.net", "4111 1111 1111 1111"
    turns = [*asked(f"Is {mail} or {card} yours?"), told(f"{mail}, it is; call {mail}.")]
    worse = (message("assistant", f"Never {mail}"),)
    pairs = table(tmp_path, [made(turns, worse)], {"personal": filters.build("personal", {})})
    ((masked, changed),) = going_out(pairs, (), ("personal",))
    assert changed
    assert [turn.text for turn in (*masked.messages, *masked.rejected)] == [
        "Is [EMAIL] or [CARD] yours?",
        "[EMAIL], it is; call [EMAIL].",
        "Never [EMAIL]",
    ]
    assert masked.references == ("[EMAIL], it is; call [EMAIL].",)
    assert masked.input == "Is [EMAIL] or [CARD] yours?"
    assert not list(going_out(pairs, ("personal",), ()))


def test_what_could_not_be_judged_goes_out(tmp_path: Path) -> None:
    pairs = table(tmp_path, ROWS["kto"][:2], {"mute": lambda rows: (Judgement(None) for _ in rows)})
    assert len(list(going_out(pairs, ("mute",), ()))) == 2


def test_a_wrong_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(RecipeError, match="does not end in"):
        export(table(tmp_path, ROWS["kto"]), tmp_path / "out.txt", "kto")
    assert sorted(file.name for file in tmp_path.iterdir()) == ["pairs.parquet"]
