"""What turns may say besides their words: whether they are trained, what they thought, parts of all makes."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import DataError
from espalier.core.records import Text, Thought, ToolCall
from espalier.formats.conversations import MESSAGES, SHAREGPT
from espalier.formats.load import load_rows
from espalier.formats.turns import CALLS, MASKS, ROLES, THOUGHTS, UNCLEAR, turns

if TYPE_CHECKING:
    from pathlib import Path

ASKED = {"role": "user", "content": "Why?"}


@pytest.mark.parametrize("key", MASKS)
@pytest.mark.parametrize(
    ("mask", "trained"), [(True, True), (False, False), (1, True), (0, False), (None, True)]
)
def test_a_mask_is_honoured_under_every_name(key: str, mask: Any, trained: bool):
    _, told = turns([ASKED, {"role": "assistant", "content": "So.", key: mask}], "here")
    assert told.trained is trained


@pytest.mark.parametrize("key", UNCLEAR)
def test_a_mask_that_is_not_clear_is_refused(key: str):
    with pytest.raises(DataError, match="not clear"):
        turns([ASKED, {"role": "assistant", "content": "So.", key: True}], "here")
    _, told = turns([ASKED, {"role": "assistant", "content": "So.", key: None}], "here")
    assert told.trained


@pytest.mark.parametrize("key", ["trained", "is_train", "loss_mask", "loss_scale", "compute_loss"])
def test_masks_of_other_trainers_are_known(key: str):
    assert key in MASKS


@pytest.mark.parametrize(
    "key", ["Train", "lossMask", "Loss-Weight", "include_in_loss", "shouldTrain", "learnable"]
)
def test_a_mask_is_honoured_however_it_is_spelt(key: str, tmp_path: Path):
    asked, bad, more, good = turns(
        [
            ASKED,
            {"role": "assistant", "content": "No.", key: False},
            ASKED,
            {"role": "assistant", "content": "So."},
        ],
        "here",
    )
    assert [turn.trained for turn in (asked, bad, more, good)] == [False, False, False, True]
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"prompt": "Why?", "completion": "So.", key: False}]))
    notes: list[str] = []
    (row,) = load_rows(file, on_note=notes.append)
    assert not row.facts["train"]
    assert not notes


@pytest.mark.parametrize("key", ["loss_masked", "is_masked", "no_train", "ignore_loss", "skip", "mask"])
def test_a_yes_of_which_it_is_not_clear_what_it_leaves_out_is_refused(key: str, tmp_path: Path):
    answer = {"role": "assistant", "content": "So."}
    with pytest.raises(DataError, match="not clear"):
        turns([ASKED, {**answer, key: True}], "here")
    file = tmp_path / "rows.json"
    file.write_text(json.dumps([{"messages": [ASKED, answer], key: True}]))
    with pytest.raises(
        DataError, match=f"'{key}' says True of the row, and what that leaves out is not clear"
    ):
        load_rows(file)
    file.write_text(json.dumps([{"messages": [ASKED, answer], key: False}]))
    assert len(load_rows(file)) == 1


@pytest.mark.parametrize(
    ("key", "mask"), [("train", False), ("weight", 0), ("masked", True), ("weight", 0.5)]
)
def test_a_mask_on_a_part_of_an_answer_is_refused(key: str, mask: Any):
    parts = [{"type": "text", "text": "No."}, {"type": "text", "text": "So.", key: mask}]
    with pytest.raises(DataError, match="of a part of the turn") as caught:
        turns([ASKED, {"role": "assistant", "content": parts}], "here")
    assert caught.value.where == f"here[1].content[1].{key}"
    parts[1][key] = None
    assert turns([ASKED, {"role": "assistant", "content": parts}], "here")[1].trained


CALLED = [
    {"id": "x", "function": {"name": "f", "arguments": {}}},
    {"id": "y", "function": {"name": "g", "arguments": {}}},
]


@pytest.mark.parametrize(
    "results",
    [
        [
            {"role": "tool", "content": "of g", "tool_call_id": "y"},
            {"role": "tool", "content": "of f", "tool_call_id": "x"},
        ],
        [{"role": "tool", "content": "of g", "tool_call_id": "y"}],
        [{"role": "function", "content": "of g", "name": "g"}],
        [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "y", "content": "of g"}]}],
    ],
)
def test_a_result_in_the_place_of_another_is_refused(results: list[dict[str, Any]]):
    talk = [ASKED, {"role": "assistant", "content": None, "tool_calls": CALLED}]
    with pytest.raises(DataError, match=r"The result of the call '[gy]' stands where that of '[fx]' should"):
        turns([*talk, *results], "here")
    right = [
        {"role": "tool", "content": "1", "tool_call_id": "x"},
        {"role": "tool", "content": "2", "name": "g"},
    ]
    assert len(turns([*talk, *right], "here")) == 4


def test_tools_of_a_system_turn_are_those_of_the_row(tmp_path: Path):
    tools = [{"name": "look", "parameters": {}}]
    system = {"role": "system", "content": "Be brief."}
    file, notes = tmp_path / "rows.json", list[str]()
    file.write_text(json.dumps([{"messages": [{**system, "tools": tools}, *TALK]}]))
    (inside,) = load_rows(file, on_note=notes.append)
    file.write_text(json.dumps([{"messages": [system, *TALK], "tools": tools}]))
    (beside,) = load_rows(file, on_note=notes.append)
    assert inside.messages == beside.messages
    assert not notes
    file.write_text(json.dumps([{"messages": [{**system, "tools": tools}, *TALK], "tools": tools}]))
    with pytest.raises(DataError, match="The system turn has tools too"):
        load_rows(file)
    file.write_text(json.dumps([{"messages": [{**ASKED, "tools": tools}, TALK[1]]}]))
    load_rows(file, on_note=notes.append)
    assert "'messages[].tools' (1)" in notes[0]


def test_parts_of_llama_factory_think_and_call():
    content = [
        {"type": "reasoning", "value": "Look."},
        {"type": "text", "value": "I look."},
        {"type": "tool_call", "value": '{"name": "look", "arguments": {"at": "sky"}}'},
    ]
    _, told = turns([ASKED, {"role": "assistant", "content": content, "loss_weight": 1.0}], "here")
    assert told.parts == (Thought("Look."), Text("I look."), ToolCall("look", '{"at": "sky"}'))


@pytest.mark.parametrize("key", THOUGHTS)
def test_a_thought_is_trained_before_the_answer(key: str):
    _, told = turns([ASKED, {"role": "assistant", "content": "So.", key: " Hm. "}], "here")
    assert told.text == "<think>\nHm.\n</think>\n\nSo."
    _, none = turns([ASKED, {"role": "assistant", "content": "So.", key: ""}], "here")
    assert none.text == "So."


@pytest.mark.parametrize(
    "content",
    [
        "So.",
        ["So."],
        [{"type": "text", "text": "So."}],
        [{"type": "text", "value": "So."}],
        [{"type": "output_text", "text": "S"}, {"type": "text", "text": "o."}],
        [{"text": "So."}],
        [{"type": None, "text": "So.", "image": None}],
        [{"type": "text", "content": "So."}],
        {"type": "text", "text": "So."},
    ],
)
@pytest.mark.parametrize("key", ["content", "value", "parts"])
def test_parts_of_all_makes_are_one_text(content: Any, key: str):
    _, told = turns([ASKED, {"role": "model", key: content}], "here")
    assert told.text == "So."


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ([], "empty"),
        ([{"functionCall": {"name": "f"}}], "holds functionCall"),
        ({"content_type": "text", "parts": ["So."]}, "holds content_type, parts"),
        ([{"image": "a.png"}, {"text": "So."}], "holds image"),
    ],
)
@pytest.mark.parametrize("role", ["user", "assistant"])
def test_parts_without_a_text_are_refused_by_what_they_hold(content: Any, said: str, role: str):
    with pytest.raises(DataError, match=said):
        turns([ASKED, {"role": role, "content": content}], "here")


def test_a_thought_among_parts_is_one():
    parts = [{"text": "Hm.", "thought": True}, {"text": "So."}]
    _, told = turns([ASKED, {"role": "model", "parts": parts}], "here")
    assert told.parts == (Thought("Hm."), Text("So."))


def test_blocks_with_thoughts_calls_and_results():
    said = [
        {"type": "thinking", "thinking": "Look."},
        {"type": "text", "text": "I look."},
        {"type": "tool_use", "id": "1", "name": "look", "input": {"at": "sky", "with": None}},
    ]
    result = [{"type": "tool_result", "tool_use_id": "1", "content": [{"type": "text", "text": "Blue."}]}]
    _, call, found = turns(
        [ASKED, {"role": "assistant", "content": said}, {"role": "user", "content": result}], "here"
    )
    assert call.parts == (Thought("Look."), Text("I look."), ToolCall("look", '{"at": "sky"}'))
    assert (found.role, found.text) == ("tool", "Blue.")


@pytest.mark.parametrize("name", [*ROLES, "Human", "USER", " Assistant "])
def test_roles_are_told_however_they_are_spelt(name: str):
    content = '{"name": "f", "arguments": {}}' if name in CALLS else "x"
    (turn,) = turns([{"from": name, "value": content}], "here")
    assert turn.role == ROLES[name.strip().lower()]


TALK = [ASKED, {"role": "assistant", "content": "So."}]
SHOWN = "Why?\nA. No.\nB. So."
ROWS: dict[str, tuple[dict[str, Any], str, str]] = {
    "query": ({"query": "Why?", "response": "So."}, "Why?", "So."),
    "target": ({"input": "Why?", "target": "So."}, "Why?", "So."),
    "solution": ({"problem": "Why?", "solution": "So."}, "Why?", "So."),
    "label": ({"text": "Why?", "label": "So."}, "Why?", "So."),
    "answers": ({"question": "Why?", "answers": ["So.", "Thus."]}, "Why?", "So."),
    "passage": (
        {"context": "It is.", "question": "Why?", "answers": {"text": ["So."], "answer_start": [0]}},
        "It is.\nWhy?",
        "So.",
    ),
    "place": ({"question": "Why?", "choices": ["No.", "So."], "answer": 1}, SHOWN, "B. So."),
    "letter": ({"question": "Why?", "options": ["No.", "So."], "answer": "B"}, SHOWN, "B. So."),
    "orca": ({"system_prompt": "", "question": "Why?", "response": "So."}, "Why?", "So."),
    "orca-pairs": ({"system": "", "question": "Why?", "chosen": "So.", "rejected": "No."}, "Why?", "So."),
    "responses": ({"prompt": "Why?", "chosen_response": "So.", "rejected_response": "No."}, "Why?", "So."),
    "context": ({"context": "It is.", "question": "Why?", "answer": "So."}, "It is.\nWhy?", "So."),
    "from-null": ({"messages": [{**turn, "from": None, "value": None} for turn in TALK]}, "Why?", "So."),
    "columns": ({"question": "Why?", "A": "No.", "B": "So.", "answer": "B"}, SHOWN, "B. So."),
    "words": ({"question": "Why?", "options": ["No.", "So."], "answer": "So."}, SHOWN, "B. So."),
    "labels": (
        {"question": "Why?", "choices": {"text": ["No.", "So."], "label": ["1", "2"]}, "answerKey": "2"},
        SHOWN,
        "B. So.",
    ),
    "contents": ({"contents": [ASKED, {"role": "model", "parts": [{"text": "So."}]}]}, "Why?", "So."),
    **{name: ({name: TALK}, "Why?", "So.") for name in (*MESSAGES, *SHAREGPT)},
    "capitals": ({"Instruction": "Why?", " Output ": "So."}, "Why?", "So."),
    "both": ({"question": "Why?", "answer": "So.", "Answer": "No."}, "Why?", "So."),
    "options": ({"question": "Why?", "option_a": "No.", "option_b": "So.", "answer": "B"}, SHOWN, "B. So."),
    "dialogue": ({"dialogue": "A: Why?", "summary": "So."}, "A: Why?", "So."),
    "turn keys": (
        {"messages": [{"Role": "user", "Content": "Why?"}, {"Role": "assistant", "Content": "So."}]},
        "Why?",
        "So.",
    ),
    "pairs": (
        {"chosen_messages": [ASKED, {"role": "assistant", "content": "So."}],
         "rejected_messages": [ASKED, {"role": "assistant", "content": "No."}]},
        "Why?",
        "So.",
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", ROWS)
def test_rows_are_told_by_their_keys(name: str, tmp_path: Path):
    row, asked, told = ROWS[name]
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps(row))
    (example,) = load_rows(file)
    assert (example.prompt[-1].text, example.answer) == (asked, told)


@pytest.mark.parametrize(
    ("row", "said"),
    [
        (
            '{"question": "Why?", "choices": ["a", "b"], "answer": 2}',
            "choice 2, and the places go from 0 to 1",
        ),
        ('{"question": "Why?", "choices": ["a", "b"], "answer": "c"}', "none of the choices"),
        ('{"text": "Why?", "label": 3}', "it is a number"),
        ('{"prompt": "a", "completion": "b", "n": ' + "9" * 5000 + "}", "a number has 5000 digits"),
        ('{"prompt": "a", "completion": ' + "[" * 20_000 + "]" * 20_000 + "}", "nested too deeply"),
        ('{"prompt": "a", "completion": "\\u200b\\u200e\\ufeff"}', "The text is empty"),
        ('{"prompt": "a", "completion": "b", "prompt": "c"}', "the key 'prompt' stands twice"),
    ],
)
def test_rows_that_cannot_be_used_are_rejected_by_their_place(row: str, said: str, tmp_path: Path):
    file = tmp_path / "rows.jsonl"
    shape = '{"text": "Why?", "label": "So."}' if "label" in row else '{"prompt": "a", "completion": "b"}'
    shape = '{"question": "Why?", "choices": ["a", "b"], "answer": 1}' if "choices" in row else shape
    file.write_text(f"{shape}\n{row}\n")
    rejects: list[dict[str, Any]] = []
    assert len(load_rows(file, on_reject=rejects.append)) == 1
    assert rejects[0]["where"].startswith(f"{file}:2")
    assert said in rejects[0]["reason"]


@pytest.mark.parametrize("key", ["completion", "chosen"])
def test_a_mask_on_the_answer_is_not_overruled(key: str, tmp_path: Path):
    told = {"role": "assistant", "content": "So.", "train": False}
    worse = {"rejected": [{**told, "content": "No."}]} if key == "chosen" else {}
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"prompt": [ASKED], key: [told], **worse}))
    with pytest.raises(DataError, match="A mask leaves out the answer"):
        load_rows(file)
    told["train"] = True
    file.write_text(json.dumps({"prompt": [ASKED], key: [told], **worse}))
    assert len(load_rows(file)) == 1


def test_a_turn_that_says_two_things_is_refused():
    with pytest.raises(DataError, match="'content' and 'value' say different things"):
        turns([{**ASKED, "value": "Who?"}], "here")


def test_a_key_that_nothing_looks_at_is_named_once_with_its_count(tmp_path: Path):
    told = {
        "role": "assistant",
        "content": [{"type": "text", "text": "So.", "colour": "red"}],
        "mood": "good",
    }
    rows = [{"messages": [ASKED, told], "score": 3, "system": "Be brief."}, {"messages": [ASKED, told]}]
    file = tmp_path / "rows.jsonl"
    file.write_text("\n".join(map(json.dumps, rows)))
    notes: list[str] = []
    load_rows(file, on_note=notes.append)
    (note,) = notes
    assert "'messages[].mood' (2)" in note
    assert "'messages[].content[].colour' (2)" in note
    assert "'score' (1), of 2 rows" in note
    file.write_text(json.dumps({"messages": [ASKED, {"role": "assistant", "content": "So.", "weight": 1}]}))
    notes.clear()
    load_rows(file, on_note=notes.append)
    assert notes == []


def test_nulls_of_tables_are_no_part_of_tools_and_arguments(tmp_path: Path):
    tool = {
        "name": "look",
        "parameters": {"type": "object", "properties": {"at": {"type": "string", "enum": None}}},
    }
    call = {"function": {"name": "look", "arguments": {"at": "sky", "with": None}}}
    text = {"function": {"name": "look", "arguments": '{"at": null}'}}
    turns_ = [ASKED, {"role": "assistant", "content": None, "tool_calls": [call, text]}]
    file = tmp_path / "rows.jsonl"
    file.write_text(json.dumps({"messages": turns_, "tools": [tool]}))
    (example,) = load_rows(file)
    written = repr(example.messages)
    assert "enum" not in written
    assert "with" not in written
    assert example.messages[-1].parts == (ToolCall("look", '{"at": "sky"}'), ToolCall("look", '{"at": null}'))
