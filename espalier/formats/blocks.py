"""Content that is a list of parts, as OpenAI, Anthropic, Google and LLaMA-Factory write it.

    {"type": "text", "text": "…"}                         OpenAI, Anthropic; input_text and output_text too
    {"type": "text", "value": "…"}                        LLaMA-Factory; reasoning and tool_call too
    {"text": "…"}                                         Google, under `parts`
    {"text": "…", "thought": true}                        Google, what it thought
    {"type": "thinking", "thinking": "…"}                 Anthropic; reasoning with text too
    {"type": "tool_use", "name": "…", "input": {…}}       Anthropic
    {"type": "tool_result", "content": "…"}               Anthropic, in a turn of the user

A part may stand without a list around it. Every part is used or refused by its place; those that are
pictures and sounds have been taken out before (`placing.py`).
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError
from espalier.core.records import ToolCall
from espalier.formats.tools import called, without_nulls
from espalier.tasks.raw_rows import kind, mapping

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

TEXTS = ("text", "input_text", "output_text")
THOUGHTS = ("thinking", "reasoning")
KNOWN = {*TEXTS, *THOUGHTS, "tool_use", "tool_call", "tool_result"}
# What a part is read from.
KEYS = {"type", "text", "value", "content", *THOUGHTS, "thought", "name", "input", "id", "tool_use_id"}


def listed(content: object) -> list[object]:
    """Return the parts of a content that is a list of them or a single one; [] for any other."""
    if isinstance(content, dict):
        return [cast("object", content)]
    return cast("list[object]", content) if isinstance(content, list) else []


def texts(content: Sequence[object], where: str) -> Iterator[tuple[object, str]]:
    """Yield the texts of a list of parts, each with its place.

    Raises:
        DataError: a part of another type, such as a picture.
    """
    for index, item in enumerate(content):
        place = f"{where}[{index}]"
        if isinstance(item, str):
            yield item, place
            continue
        part = mapping(item, place, "a part")
        sort = _sort(part)
        if sort not in KNOWN:
            raise DataError(
                f"A part is of the type {sort!r}; texts, pictures and sounds can be trained on.",
                where=place,
                hint="Remove the row.",
            )
        if sort in TEXTS:
            key = next((key for key in ("text", "value", "content") if part.get(key) is not None), "")
            if not key:
                held = ", ".join(name for name, item in part.items() if item is not None) or "nothing"
                raise DataError(
                    f"The part has no text: it holds {held}.",
                    where=place,
                    hint='Write {"type": "text", "text": "…"}, or remove the row.',
                )
            yield part[key], f"{place}.{key}"


def thoughts(content: object, where: str) -> list[str]:
    """Return the thoughts among the parts of a content."""
    found: list[str] = []
    for part, place in _parts(content, THOUGHTS, where):
        thought = next((part[key] for key in (*THOUGHTS, "text", "value") if part.get(key) is not None), None)
        if not isinstance(thought, str):
            raise DataError(
                f"Here should be a text; it is {kind(thought)}.", where=place, hint="Write a text."
            )
        found += [thought.strip()] if thought.strip() else []
    return found


def calls(content: object, where: str) -> tuple[ToolCall, ...]:
    """Return the calls among the parts of a content."""
    made: list[ToolCall] = []
    for part, place in _parts(content, ("tool_use", "tool_call"), where):
        if isinstance(part.get("value"), str):
            made.extend(called(part["value"], f"{place}.value"))
            continue
        name, given = part.get("name"), part.get("input")
        if not isinstance(name, str) or not name or not isinstance(given or {}, dict):
            raise DataError(
                "The call has no name, or its input is no object.",
                where=place,
                hint='Write {"type": "tool_use", "name": "…", "input": {…}}.',
            )
        made.append(ToolCall(name, json.dumps(without_nulls(given or {}), ensure_ascii=False)))
    return tuple(made)


def results(turn: object, where: str) -> list[str]:
    """Return the results of tools that a turn of the user brings, where it brings nothing else.

    Raises:
        DataError: it says something besides, which belongs into a turn of its own.
    """
    content = cast("dict[str, Any]", turn).get("content") if isinstance(turn, dict) else None
    found = list(_parts(content, ("tool_result",), f"{where}.content"))
    if not found:
        return []
    if len(found) < len(listed(content)):
        raise DataError(
            "The turn brings the results of tools and says something besides.",
            where=f"{where}.content",
            hint="Write what it says in a turn of its own.",
        )
    said: list[str] = []
    for part, place in found:
        inner: object = part.get("content", "")
        words = texts(cast("list[object]", inner if isinstance(inner, list) else [inner]), f"{place}.content")
        pieces = [word for word, _ in words]
        if not all(isinstance(piece, str) for piece in pieces):
            raise DataError("Here should be a text.", where=f"{place}.content", hint="Write a text.")
        said.append("".join(cast("list[str]", pieces)))
    return said


def _parts(content: object, sorts: Sequence[str], where: str) -> Iterator[tuple[dict[str, Any], str]]:
    for index, item in enumerate(listed(content)):
        if isinstance(item, dict) and _sort(cast("dict[str, Any]", item)) in sorts:
            yield cast("dict[str, Any]", item), f"{where}[{index}]"


def _sort(part: dict[str, Any]) -> object:
    """Return the type of a part; tables write null where it has none."""
    if part.get("thought") is True:
        return "thinking"
    return part.get("type") or "text"
