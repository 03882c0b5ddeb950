"""The state of a conversation: what the model is given, what is taken back, and what is saved."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from espalier.core.errors import DataError
from espalier.core.records import Message, Text, ToolList, message
from espalier.data.asking import Asking
from espalier.encode.template import Template
from espalier.formats.format import Row
from espalier.formats.load import FORMATS
from espalier.formats.readers import rows_of
from espalier.runs.conversation import Conversation
from espalier.tasks.raw_rows import mapping


def said(talk: Conversation) -> list[tuple[str, str]]:
    return [(turn.role, turn.text) for turn in talk.messages]


def trained(path: Path) -> list[list[Message]]:
    """The conversations of a file, as training reads them."""
    read = FORMATS["messages"]().read
    rows = [
        Row(str(path), "t", raw.number, raw.where, mapping(raw.value, raw.where, "a row"))
        for raw in rows_of(path)
    ]
    return [list(example.messages) for row in rows for example in read(row)]


def test_turns_are_kept_taken_back_and_begun_anew() -> None:
    talk = Conversation(Asking(turns=(message("system", "Be brief."),)))
    talk.add("one", "1")
    talk.add("two", "2", cut=True)
    assert [turn.text for turn in talk.prompt("three")] == ["Be brief.", "one", "1", "two", "2", "three"]
    taken = talk.undo()
    assert taken
    assert (taken.text, taken.cut) == ("two", True)
    talk.set_system("Be long.")
    assert said(talk) == [("system", "Be long."), ("user", "one"), ("assistant", "1")]
    talk.reset()
    assert talk.undo() is None
    assert said(talk) == [("system", "Be long.")]
    talk.set_system("")
    assert talk.messages == ()


@pytest.mark.parametrize(("first", "second"), [(False, "Plural: b."), (True, "b")])
def test_words_stand_around_turns_as_in_the_rows(first: bool, second: str) -> None:
    talk = Conversation(Asking(before="Plural: ", after="."), first)
    talk.add("a", "as")
    assert [turn.text for turn in talk.prompt("b")] == ["Plural: a.", "as", second]


def test_what_has_no_room_is_refused_with_both_numbers(template: Template) -> None:
    talk = Conversation()
    talk.add("Hi", "Hello")
    template.context = 100
    size = len(template.prompt_ids(talk.prompt("Bye")))
    assert talk.room("Bye", template) == 100 - size
    with pytest.raises(DataError, match=r"has \d{3} tokens, and the model's context is 100\..*/undo.*/reset"):
        talk.room("word " * 50, template)
    assert len(talk.turns) == 1


def test_what_is_saved_can_be_trained_on_without_answers_cut_short(tmp_path: Path) -> None:
    tools = ToolList(json.dumps([{"type": "function", "function": {"name": "look", "parameters": {}}}]))
    system = Message("system", (tools, Text("Be brief.")))
    talk = Conversation(Asking(turns=(system,), before="Say: "))
    talk.add("a ü", "one")
    talk.add("b", "tw", cut=True)
    talk.save(tmp_path / "talk.json")
    (found,) = trained(tmp_path / "talk.json")
    assert [turn.text for turn in found] == ["Be brief.", "Say: a ü", "one", "Say: b", "tw"]
    assert [turn.trained for turn in found] == [False, False, True, False, False]
    assert any(isinstance(part, ToolList) for part in found[0].parts)


def test_saving_replaces_nothing_that_was_there(tmp_path: Path) -> None:
    path = tmp_path / "talk.json"
    talk = Conversation()
    with pytest.raises(DataError, match="nothing to save"):
        talk.save(path)
    talk.add("a", "b")
    talk.save(path)
    talk.add("c", "d")
    talk.save(path)
    assert len(json.loads(path.read_text())[0]["messages"]) == 4
    with pytest.raises(DataError, match="is there already"):
        Conversation(turns=talk.turns).save(path)
    for _ in range(2):
        talk.save(tmp_path / "all.jsonl")
    assert len((tmp_path / "all.jsonl").read_text().splitlines()) == 2
    with pytest.raises(DataError, match="cannot be saved: No such file"):
        talk.save(tmp_path / "none" / "talk.jsonl")
