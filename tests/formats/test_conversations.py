"""Turns in OpenAI's and ShareGPT's words, with tools; orders of turns that cannot be trained on."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import DataError
from espalier.core.records import Example, Text, ToolCall, ToolList
from espalier.formats.load import load_rows

if TYPE_CHECKING:
    from pathlib import Path

TOOL = {"name": "ring", "description": "Ring.", "parameters": {"type": "object"}}
CALL = '<tool_call>\n{"name": "ring", "arguments": {"minutes": 5}}\n</tool_call>'


def load(tmp_path: Path, row: dict[str, Any]) -> Example:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([row]), encoding="utf-8")
    (loaded,) = load_rows(path)
    return loaded


def said(role: str, content: object, **more: object) -> dict[str, object]:
    return {"role": role, "content": content, **more}


ASKED, TOLD = said("user", "Wake me."), said("assistant", "Done.")


def test_messages_with_tools(tmp_path: Path) -> None:
    call = {"id": "x", "type": "function", "function": {"name": "ring", "arguments": '{"minutes":5}'}}
    loaded = load(
        tmp_path,
        {
            "messages": [
                said("developer", [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]),
                ASKED,
                said("assistant", None, tool_calls=[call]),
                said("tool", "", tool_call_id="x"),
                said("assistant", "Done.", weight=0),
                said("user", "Thanks."),
                said("assistant", "You are welcome.", weight=1),
            ],
            "tools": [{"type": "function", "function": TOOL}],
        },
    )
    schemas = ToolList(json.dumps([{"type": "function", "function": TOOL}]))
    assert loaded.messages[0].parts == (schemas, Text("Be brief."))
    assert loaded.messages[2].parts == (ToolCall("ring", '{"minutes": 5}'),)
    assert [turn.trained for turn in loaded.messages] == [False, False, True, False, False, False, True]
    assert (loaded.source, loaded.input) == ("wake me.", "Thanks.")
    assert loaded.references == ("You are welcome.",)


def test_sharegpt_with_tools(tmp_path: Path) -> None:
    turns = [
        ("human", "Wake me."),
        ("function_call", '{"name": "ring", "arguments": {"minutes": 5}}'),
        ("observation", '{"status": "set"}'),
        ("gpt", "Done."),
    ]
    conversation = [{"from": speaker, "value": value} for speaker, value in turns]
    tools = json.dumps([TOOL])
    loaded = load(tmp_path, {"conversations": conversation, "system": "Be brief.", "tools": tools})
    assert [turn.role for turn in loaded.messages] == ["system", "user", "assistant", "tool", "assistant"]
    assert loaded.messages[0].text == "Be brief."
    assert loaded.messages[2].text == CALL
    ending = load(tmp_path, {"conversations": conversation[:2], "tools": tools})
    assert ending.references == (CALL,)
    assert [type(part) for part in ending.messages[0].parts] == [ToolList]


def test_conversations_that_begin_alike_share_a_source(tmp_path: Path) -> None:
    one = load(tmp_path, {"messages": [ASKED, TOLD]})
    other = load(tmp_path, {"messages": [said("user", "wake  me."), TOLD, said("user", "And?"), TOLD]})
    assert one.source == other.source


@pytest.mark.parametrize(
    ("turns", "where", "message"),
    [
        ([ASKED, TOLD, TOLD], "[2]", "Two turns of the assistant follow one another"),
        ([TOLD, ASKED, TOLD], "[0]", "begins with the assistant"),
        ([ASKED, TOLD, ASKED], "[2]", "ends with a turn of the user, and no answer follows"),
        ([ASKED, said("tool", "x"), TOLD], "[1]", "A tool's result follows no call"),
        ([], "", "a list of turns; it is empty"),
        ("Wake me.", "", "a list of turns; it is a text"),
        ([ASKED, "Done."], "[1]", "a turn, an object {…}; it is a text"),
        ([said("usr", "x"), TOLD], "[0].role", "'usr' is no role. Did you mean 'user'?"),
        ([said("user", 3), TOLD], "[0].content", "it is a number. Write it in quotes."),
        ([said("user", " "), TOLD], "[0].content", "The text is empty."),
        ([ASKED, said("assistant", None)], "[1].content", "it is null"),
        ([ASKED, {"role": "assistant"}], "[1]", "The turn has no 'content'"),
        ([{"content": "x"}, TOLD], "[0]", "neither 'role' nor 'from'"),
        ([ASKED, said("assistant", "x", weight=0)], "", "No turn is trained"),
        ([ASKED, said("assistant", "<think>z</think>x", reasoning="y")], "[1].reasoning", "several thoughts"),
        ([ASKED, said("assistant", "x", reasoning="y", thought="z")], "[1].reasoning", "several thoughts"),
        ([said("user", "x", thought="y"), TOLD], "[0].thought", "A turn of the user has a thought"),
        ([ASKED, said("assistant", "x", weight=0.5)], "[1].weight", "in full or not at all"),
        ([ASKED, said("assistant", "x", train="false")], "[1].train", "in full or not at all"),
        ([ASKED, said("assistant", "x", train=True, loss=False)], "[1]", "contradict each other"),
        ([said("user", "x", train=True), TOLD], "[0]", "marked as trained, and only answers are"),
        ([said("user", [{"type": "video"}]), TOLD], "[0].content[0]", "of the type 'video'"),
        ([ASKED, said("assistant", "", tool_calls={})], "[1].tool_calls", "a list of calls"),
        ([ASKED, said("assistant", "", tool_calls=[{}])], "[1].tool_calls[0]", "The call has no name"),
        (
            [ASKED, said("assistant", "", tool_calls=[{"name": "f", "arguments": "{x"}])],
            "[1].tool_calls[0].arguments",
            "The text is not JSON",
        ),
        (
            [ASKED, said("assistant", "", function_call={"name": "f", "arguments": [1]})],
            "[1].function_call.arguments",
            "should be an object",
        ),
    ],
)
def test_turns_that_cannot_be_used(tmp_path: Path, turns: object, where: str, message: str) -> None:
    with pytest.raises(DataError) as caught:
        load(tmp_path, {"messages": turns})
    assert caught.value.where == f"{tmp_path / 'rows.json'}, row 1, messages{where}"
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("tools", "message"),
    [
        ("ring", "not JSON"),
        (TOOL, "a list of tools; it is an object"),
        ([{"description": "x"}], "The tool has no name"),
        (["ring"], "a tool, an object"),
    ],
)
def test_tools_that_cannot_be_used(tmp_path: Path, tools: object, message: str) -> None:
    with pytest.raises(DataError, match=message):
        load(tmp_path, {"messages": [ASKED, TOLD], "tools": tools})


def test_two_systems_are_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="system turn too"):
        load(tmp_path, {"messages": [said("system", "x"), ASKED, TOLD], "system": "y"})
