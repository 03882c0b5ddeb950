"""Pairs and thumbs: what is trained, what is rejected, and that histories are shown without being trained."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import DataError
from espalier.core.records import message
from espalier.formats.load import load_rows

if TYPE_CHECKING:
    from pathlib import Path

    from espalier.core.records import Example

USER, WRONG, RIGHT = (
    {"role": "user", "content": "2 + 2?"},
    {"role": "assistant", "content": "5"},
    {"role": "assistant", "content": "4"},
)


def load(tmp_path: Path, row: dict[str, Any]) -> Example:
    path = tmp_path / "rows.json"
    path.write_text(json.dumps([row]), encoding="utf-8")
    (loaded,) = load_rows(path)
    return loaded


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2 + 2?", "chosen": "4", "rejected": "5"},
        {"prompt": [USER], "chosen": [RIGHT], "rejected": [WRONG]},
        {"prompt": "2 + 2?", "chosen": [USER, RIGHT], "rejected": [USER, WRONG]},
        {"chosen": [USER, RIGHT], "rejected": [USER, WRONG]},
        {"chosen": "\n\nHuman: 2 + 2?\n\nAssistant: 4", "rejected": "\n\nHuman: 2 + 2?\n\nAssistant: 5"},
        {"instruction": "2 + 2?", "input": "", "chosen": "4", "rejected": "5"},
        {"messages": [USER], "chosen": RIGHT, "rejected": WRONG},
        {"messages": [USER, RIGHT], "rejected_response": "5"},
        {"messages": [USER, RIGHT], "rejected_messages": [USER, WRONG]},
        {
            "conversations": [{"from": "human", "value": "2 + 2?"}],
            "chosen": {"from": "gpt", "value": "4"},
            "rejected": {"from": "gpt", "value": "5"},
        },
    ],
)
def test_pairs(tmp_path: Path, row: dict[str, Any]) -> None:
    loaded = load(tmp_path, row)
    assert [(turn.role, turn.text, turn.trained) for turn in loaded.messages] == [
        ("user", "2 + 2?", False),
        ("assistant", "4", True),
    ]
    assert (loaded.references, loaded.rejected) == (("4",), (message("assistant", "5"),))


def test_the_history_of_a_pair_is_not_trained(tmp_path: Path) -> None:
    row = {"messages": [USER, RIGHT, USER], "system": "Be kind.", "chosen": "4!", "rejected": "5!"}
    loaded = load(tmp_path, row)
    assert [turn.trained for turn in loaded.messages] == [False, False, False, False, True]
    assert loaded.messages[0].role == "system"


def test_the_history_of_real_pairs_is_not_trained(shared_data: Path) -> None:
    path = shared_data / "llamafactory" / "dpo_en_demo.json"
    for row, item in zip(json.loads(path.read_text()), load_rows(path), strict=True):
        assert len(item.messages) == len(row["conversations"]) + 1
        assert [turn.trained for turn in item.messages].index(True) == len(item.messages) - 1
        assert item.answer == row["chosen"]["value"]
        assert item.rejected == (message("assistant", row["rejected"]["value"]),)


@pytest.mark.parametrize(
    "row",
    [
        {"prompt": "2 + 2?", "completion": "4"},
        {"prompt": [USER], "completion": [RIGHT]},
        {"messages": [USER, RIGHT]},
        {"conversations": [USER, RIGHT]},
    ],
)
def test_thumbs(tmp_path: Path, row: dict[str, Any]) -> None:
    up, down = (load(tmp_path, {**row, "label": label}) for label in (True, False))
    assert (up.answer, up.references, up.rejected) == ("4", ("4",), ())
    assert [turn.trained for turn in up.messages] == [False, True]
    assert [turn.role for turn in down.messages] == ["user"]
    assert (down.references, down.rejected) == ((), (message("assistant", "4"),))
    assert down.prompt == up.prompt


def test_the_tag_of_llama_factory(tmp_path: Path) -> None:
    loaded = load(tmp_path, {"instruction": "2 + 2?", "output": "5", "kto_tag": False})
    assert loaded.rejected == (message("assistant", "5"),)


@pytest.mark.parametrize("label", ["good", "true", 1, 0.0, [True]])
def test_a_label_that_is_neither_true_nor_false(tmp_path: Path, label: object) -> None:
    with pytest.raises(
        DataError, match=r"row 1, label: The label should be true or false; it is .*Write true"
    ):
        load(tmp_path, {"messages": [USER, RIGHT], "label": label})


@pytest.mark.parametrize(
    ("row", "said"),
    [
        ({"prompt": "a", "chosen": "b", "rejected": "b"}, "the same"),
        ({"prompt": "a", "chosen": "b", "rejected": ""}, "rejected: The text is empty"),
        ({"prompt": [USER, RIGHT], "chosen": "b", "rejected": "c"}, r"prompt\[1\]: The prompt ends with an"),
        ({"prompt": [USER], "chosen": [USER], "rejected": [WRONG]}, "chosen: There are 0 turns"),
        ({"prompt": "x", "chosen": [USER], "rejected": [WRONG]}, "chosen: The answer is a turn of the user"),
        ({"prompt": "x", "chosen": [RIGHT, USER, RIGHT], "rejected": "c"}, "There are 3 turns here"),
        ({"chosen": "b", "rejected": "c"}, "The row has no prompt"),
        ({"chosen": [RIGHT], "rejected": [WRONG]}, "do not begin with the same prompt"),
        ({"messages": [RIGHT], "label": True}, "begins with the assistant"),
        ({"messages": [USER], "label": True}, "no answer follows"),
    ],
)
def test_rows_that_cannot_be_used(tmp_path: Path, row: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        load(tmp_path, row)
