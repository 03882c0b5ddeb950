"""OpenAssistant's message trees (arXiv 2304.07327): a prompt with replies, each with replies of its own."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

from espalier.core.errors import DataError
from espalier.core.records import Example, Message
from espalier.formats.format import Format, Row, example
from espalier.formats.turns import check, is_mask, text, turn
from espalier.tasks.raw_rows import kind, mapping


@dataclass(frozen=True, slots=True)
class _Node:
    parent: int
    turn: Message
    where: str


def openassistant() -> Format:
    """Trees of replies: one example for each thread from the prompt to an answer that no answer follows.

    An answer that several threads share is trained in the first of them only, so that each counts once.
    Deleted messages are left out with all replies to them, and so are questions that nobody answered.
    """

    def read(row: Row) -> list[Example]:
        tree = text(row.value["message_tree_id"], f"{row.where}, message_tree_id")
        nodes = _nodes(row)
        followed: set[int] = set()  # has an answer somewhere below
        for node in nodes:
            parent = node.parent if node.turn.role == "assistant" else -1
            while parent >= 0 and parent not in followed:
                followed.add(parent)
                parent = nodes[parent].parent
        made: list[Example] = []
        seen: set[int] = set()
        for index, node in enumerate(nodes):
            if node.turn.role == "assistant" and index not in followed:
                made.append(_thread(row, nodes, index, seen, tree))
        if not made:
            raise DataError("Nobody answered in this tree.", where=row.where, hint="Remove the row.")
        return made

    sample = '{"message_tree_id": "…", "prompt": {"role": "prompter", "text": "…", "replies": […]}}'
    return Format(("message_tree_id prompt",), read, sample, "*")


def _thread(row: Row, nodes: list[_Node], last: int, seen: set[int], tree: str) -> Example:
    path: list[int] = []
    at = last
    while at >= 0:
        path.insert(0, at)
        at = nodes[at].parent
    messages = [
        Message(nodes[i].turn.role, nodes[i].turn.parts, nodes[i].turn.trained and i not in seen)
        for i in path
    ]
    check(messages, f"{nodes[last].where}, thread", answered=True)
    seen.update(path)
    return example(row, messages, source=tree)


def _nodes(row: Row) -> list[_Node]:
    """Return the tree's messages, each after the one that it replies to and in the order of the file."""
    nodes: list[_Node] = []
    stack: list[tuple[object, int, str]] = [(row.value["prompt"], -1, f"{row.where}, prompt")]
    while stack:
        value, parent, where = stack.pop()
        item = mapping(value, where, "a message")
        if item.get("deleted") is True:
            continue
        masks = {key: mask for key, mask in item.items() if is_mask(key, mask) is not None}
        said = {"role": item.get("role"), "content": item.get("text"), **masks}
        if "text" not in item:
            raise DataError("The message has no 'text'.", where=where, hint="Write what it says.")
        nodes.append(_Node(parent, turn(said, where), where))
        replies: Any = item.get("replies") or []
        if not isinstance(replies, list):
            raise DataError(
                f"Here should be a list of replies; it is {kind(replies)}.",
                where=f"{where}.replies",
                hint="Write [] where there is none.",
            )
        below = [
            (reply, len(nodes) - 1, f"{where}.replies[{index}]")
            for index, reply in enumerate(cast("list[object]", replies))
        ]
        stack.extend(reversed(below))
    return nodes
