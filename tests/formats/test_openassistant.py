"""Trees of replies: their threads, that each answer is trained once, and trees that cannot be used."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

import pytest

from espalier.core.errors import DataError
from espalier.formats.load import load_rows

if TYPE_CHECKING:
    from pathlib import Path

    from espalier.core.records import Example


def node(text: str, *replies: dict[str, Any], **more: object) -> dict[str, Any]:
    role = "prompter" if text.startswith("q") else "assistant"
    return {"role": role, "text": text, "replies": list(replies), **more}


def load(tmp_path: Path, prompt: object) -> list[Example]:
    path = tmp_path / "trees.jsonl"
    path.write_text(json.dumps({"message_tree_id": "t", "prompt": prompt}) + "\n")
    return load_rows(path)


def threads(loaded: list[Example]) -> list[str]:
    """The texts of each thread, a star after what is trained."""
    return [" ".join(turn.text + "*" * turn.trained for turn in item.messages) for item in loaded]


def test_each_answer_is_trained_once(tmp_path: Path) -> None:
    later = node("q2", node("a3"), node("a4"))
    loaded = load(tmp_path, node("q1", node("a1", later, node("q3")), node("a2", node("q4"))))
    assert threads(loaded) == ["q1 a1* q2 a3*", "q1 a1 q2 a4*", "q1 a2*"]
    assert [item.references for item in loaded] == [("a3",), ("a4",), ("a2",)]
    assert {item.source for item in loaded} == {"t"}


def test_deleted_messages_are_left_out_with_their_replies(tmp_path: Path) -> None:
    gone = node("a1", node("q2", node("a3")), deleted=True)
    assert threads(load(tmp_path, node("q1", gone, node("a2")))) == ["q1 a2*"]


def test_all_answers_of_real_trees_are_trained_once(shared_data: Path) -> None:
    path = shared_data / "openassistant" / "en_100_tree.jsonl"
    answers: list[tuple[str, ...]] = []
    for line in path.read_text().split("\n"):
        stack = [(json.loads(line)["prompt"], ())] if line else []
        while stack:
            item, before = stack.pop()
            path_here = (*before, item["text"])
            answers += [path_here] if item["role"] == "assistant" else []
            stack += [(reply, path_here) for reply in item["replies"]]
    trained = [
        tuple(turn.text for turn in item.messages[: index + 1])
        for item in load_rows(path)
        for index, turn in enumerate(item.messages)
        if turn.trained
    ]
    assert sorted(trained) == sorted(answers)


@pytest.mark.parametrize(
    ("prompt", "said"),
    [
        (node("q1"), "Nobody answered in this tree"),
        (node("a1"), "begins with the assistant"),
        (node("q1", node("a1", node("a2"))), "Two turns of the assistant follow one another"),
        (node("q1", {"role": "assistant"}), r"prompt\.replies\[0\]: The message has no 'text'"),
        (
            node("q1", node("a1", role="bt")),
            r"prompt\.replies\[0\]\.role: 'bt' is no role. Did you mean 'bot'",
        ),
        (
            node("q1", {**node("a1"), "replies": {"a": 1}}),
            r"prompt\.replies\[0\]\.replies: .*a list of replies",
        ),
        ("q1", "a message, an object {…}; it is a text"),
    ],
)
def test_trees_that_cannot_be_used(tmp_path: Path, prompt: object, said: str) -> None:
    with pytest.raises(DataError, match=said):
        load(tmp_path, prompt)
