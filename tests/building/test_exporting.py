"""What goes out of a build and comes in again is the same table, in every format and every kind of file."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from espalier.building.exporting import export, going_out
from espalier.core.errors import DataError, RecipeError, RunError
from espalier.core.records import Example, Message, Thought, ToolCall, ToolList, message
from espalier.data.judgement import Filter, Judgement, filters
from espalier.data.pairs import Pairs, join, write_pairs, write_verdicts
from espalier.formats.folders import files_of
from espalier.formats.format import Row, content_id, example
from espalier.formats.load import iter_rows, numbered
from espalier.tasks.task_files import load_task
from espalier.tasks.templates import Show, available, to_examples

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
        made(SHOWN),
        made([listed("deep"), *asked("What flies?"), OTHER, message("tool", "A wren."), told("A wren.")]),
        made([listed("high"), *asked("What else?"), CALL]),
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
        assert replace(again, origin=one.origin) == one  # where a row stood is another place now


def test_trees_grow_together_again(tmp_path: Path) -> None:
    def node(text: str, *replies: object) -> dict[str, object]:
        return {"role": "prompter" if text.endswith("?") else "assistant", "text": text, "replies": replies}

    bird = node("A bird?", node("A wren.", node("Another?", node("A jay."), node("A tit."))), node("An owl."))
    file = tmp_path / "trees.jsonl"
    trees = [{"message_tree_id": name, "prompt": {**bird, "text": f"{name}?"}} for name in "ab"]
    file.write_text("\n".join(map(json.dumps, trees)))
    pairs = table(tmp_path, list(iter_rows(file)))
    export(pairs, tmp_path / "out.jsonl", "openassistant")
    again = [*numbered(iter_rows(tmp_path / "out.jsonl", name="trees"))]
    assert [replace(one, origin={}) for one in again] == [replace(one, origin={}) for one in pairs]
    found = [json.loads(line) for line in (tmp_path / "out.jsonl").read_text().splitlines()]
    assert [one["message_tree_id"] for one in found] == ["a", "b"]
    assert found[0]["prompt"]["replies"][0]["replies"][0]["replies"][1]["text"] == "A tit."


def test_a_task_goes_out_as_its_file(tmp_path: Path) -> None:
    task = load_task("event-duration")
    rows = to_examples(task, available(task, Show()))
    pairs = table(tmp_path, [*rows, rows[0]])
    export(pairs, tmp_path / "out.json", "natural-instructions")
    written = json.loads((tmp_path / "out.json").read_text())
    assert [written["Name"], len(written["Positive Examples"])] == [task.name, 2]
    assert written["Definition"][0].startswith(task.definition)
    again = load_task(tmp_path / "out.json")
    assert [*map(plain, to_examples(again, available(again, Show())))] == [*map(plain, pairs)]


def test_several_tasks_are_a_folder_of_their_own(tmp_path: Path) -> None:
    rows = [
        example(
            Row("f", name, 1, "f:1", {}),
            [*asked(f"Say it{name}.\n\nInput: a"), told("b")],
        )
        for name in ("train set", "test set")
    ]
    rows = [replace(row, input="a") for row in rows]
    pairs = table(tmp_path, rows)
    with pytest.raises(DataError, match=r"2 tasks .*, and a file holds one"):
        export(pairs, tmp_path / "out.json", "natural-instructions")
    export(pairs, tmp_path / "tasks", "natural-instructions")
    files = files_of(tmp_path / "tasks").paths
    assert [file.name for file in files] == ["test_set.json", "train_set.json"]
    assert {load_task(file).name for file in files} == {"train set", "test set"}
    with pytest.raises(RunError, match=r"holds other tasks: test_set.json"):
        export(table(tmp_path, rows[:1]), tmp_path / "tasks", "natural-instructions")


def test_what_is_not_asked_as_a_task_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not begin with the definition"):
        export(table(tmp_path, ROWS["kto"]), tmp_path / "out.json", "natural-instructions")
    with pytest.raises(RecipeError, match=r"not end in .json. A task is a .json file"):
        export(table(tmp_path, ROWS["kto"]), tmp_path / "out.jsonl", "natural-instructions")


def test_an_id_is_kept_for_its_own_content_alone(tmp_path: Path) -> None:
    (row,) = [replace(one, id="mine") for one in ROWS["alpaca"][:1]]
    export(table(tmp_path, [row]), tmp_path / "out.jsonl", "alpaca")
    text = (tmp_path / "out.jsonl").read_text()
    assert [one.id for one in iter_rows(tmp_path / "out.jsonl", own=True)] == ["mine"]
    (tmp_path / "out.jsonl").write_text(text.replace('"output": "A plain one."', '"output": "Another."'))
    assert [one.id for one in iter_rows(tmp_path / "out.jsonl", own=True)] != ["mine"]


def plain(row: Example) -> Example:
    return replace(row, origin={})


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
