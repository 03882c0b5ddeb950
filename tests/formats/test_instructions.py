"""Alpaca, self-instruct and prompts with completions: what is asked, what is trained, what is scored."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import DataError
from espalier.formats.load import load_rows

if TYPE_CHECKING:
    from pathlib import Path

    from espalier.core.records import Example


def load(tmp_path: Path, *rows: dict[str, Any]) -> list[Example]:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps(rows), encoding="utf-8")
    return load_rows(path)


def turns(item: Example) -> list[tuple[str, str, bool]]:
    return [(turn.role, turn.text, turn.trained) for turn in item.messages]


def test_alpaca_with_history_and_system(tmp_path: Path) -> None:
    row = {"instruction": "Translate.", "input": "Haus", "output": "house", "system": "Be brief."}
    (loaded,) = load(tmp_path, {**row, "history": [["Hi", "Hello"]]})
    assert turns(loaded) == [
        ("system", "Be brief.", False),
        ("user", "Hi", False),
        ("assistant", "Hello", True),
        ("user", "Translate.\nHaus", False),
        ("assistant", "house", True),
    ]
    assert loaded.source == "translate. haus"


def test_what_dolly_calls_its_fields(tmp_path: Path) -> None:
    row = {"instruction": "Who wrote it?", "response": "Rosa.", "category": "closed_qa"}
    with_context, without = load(tmp_path, {**row, "context": "Rosa wrote it."}, {**row, "context": ""})
    assert with_context.input == "Who wrote it?\nRosa wrote it."
    assert without.input == "Who wrote it?"
    assert with_context.answer == without.answer == "Rosa."


def test_an_input_is_kept_unless_it_is_empty(tmp_path: Path) -> None:
    row = {"instruction": "Which sign is this?", "output": "a dash"}
    dash, empty = load(tmp_path, {**row, "input": "-"}, {**row, "input": ""})
    assert dash.input == "Which sign is this?\n-"
    assert empty.input == "Which sign is this?"


@pytest.mark.parametrize("history", [[["Hi"]], ["Hi"], "Hi", [["Hi", 3]]])
def test_a_history_that_cannot_be_used(tmp_path: Path, history: object) -> None:
    with pytest.raises(DataError, match="row 1, history"):
        load(tmp_path, {"instruction": "a", "output": "b", "history": history})


def test_self_instruct_seeds(tmp_path: Path) -> None:
    instances = [{"input": "Haus", "output": "house"}, {"input": "Maus", "output": "mouse"}]
    loaded = load(tmp_path, {"instruction": "Translate.", "instances": instances, "id": "seed_0"})
    assert [item.answer for item in loaded] == ["house", "mouse"]
    assert {item.source for item in loaded} == {"translate."}
    with pytest.raises(DataError, match=r"row 1, instances\[0\]\.output: .*it is null"):
        load(tmp_path, {"instruction": "Translate.", "instances": [{"input": "Haus"}]})


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "Hi", "completion": "Hello"},
        {"prompt": "Hi", "response": "Hello"},
        {"question": "Hi", "answer": "Hello"},
        {"input": "Hi", "output": "Hello"},
        {
            "prompt": [{"role": "user", "content": "Hi"}],
            "completion": [{"role": "assistant", "content": "Hello"}],
        },
    ],
)
def test_prompts_with_completions(tmp_path: Path, row: dict[str, Any]) -> None:
    (loaded,) = load(tmp_path, row)
    assert turns(loaded) == [("user", "Hi", False), ("assistant", "Hello", True)]


def test_several_accepted_answers(tmp_path: Path) -> None:
    (loaded,) = load(tmp_path, {"input": "Hi", "output": ["Hello", "Hi there"]})
    assert (loaded.answer, loaded.references) == ("Hello", ("Hello", "Hi there"))
    with pytest.raises(DataError, match=r"row 1, output: .*it is empty"):
        load(tmp_path, {"input": "Hi", "output": []})
