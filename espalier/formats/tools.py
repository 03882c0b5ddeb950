"""Tool calls and lists of tools as files write them, OpenAI's and ShareGPT's, to the parts of messages."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, cast

from espalier.core.errors import DataError
from espalier.core.files import parse_json
from espalier.core.records import ToolCall
from espalier.tasks.raw_rows import is_placeholder, kind, mapping

_CALL = 'Write {"name": "…", "arguments": {…}}.'


def calls(turn: Mapping[str, Any], where: str) -> tuple[ToolCall, ...]:
    """Return the calls of an OpenAI turn: its `tool_calls`, or `function_call` as it was before."""
    found: object = turn.get("tool_calls")
    if found is None and turn.get("function_call") is not None:
        return (_call(turn["function_call"], f"{where}.function_call"),)
    if not isinstance(found, list | None):
        raise DataError(
            f"Here should be a list of calls; it is {kind(found)}.",
            where=f"{where}.tool_calls",
            hint='Write [{"type": "function", "function": {"name": "…", "arguments": "{…}"}}].',
        )
    items = cast("list[object]", found or [])
    return tuple(_call(item, f"{where}.tool_calls[{index}]") for index, item in enumerate(items))


def called(text: str, where: str) -> tuple[ToolCall, ...]:
    """Return the calls of a ShareGPT `function_call`: a JSON text with one call or a list of them."""
    value = _parsed(text, where, _CALL)
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    if not items:
        raise DataError("The list of calls is empty.", where=where, hint=_CALL)
    return tuple(_call(item, where) for item in items)


def listed(value: object, where: str) -> str:
    """Return a list of tools as the JSON text of OpenAI's `tools`; '' where there are none.

    Raises:
        DataError: neither a list nor its JSON text, or a tool without a name.
    """
    if isinstance(value, str) and not is_placeholder(value):
        value = _parsed(value, where, 'Write [{"name": "…", "description": "…", "parameters": {…}}].')
    if is_placeholder(value):
        return ""
    if not isinstance(value, list):
        raise DataError(
            f"Here should be a list of tools; it is {kind(value)}.", where=where, hint="Write […] around it."
        )
    tools: list[dict[str, Any]] = []
    for index, item in enumerate(cast("list[object]", value)):
        tool = mapping(item, f"{where}[{index}]", "a tool")
        inner = mapping(tool.get("function", tool), f"{where}[{index}].function", "a tool")
        if not isinstance(inner.get("name"), str):
            raise DataError("The tool has no name.", where=f"{where}[{index}]", hint='Add "name": "…".')
        tools.append({"type": "function", "function": without_nulls(inner)})
    return json.dumps(tools, ensure_ascii=False) if tools else ""


def without_nulls(value: object) -> object:
    """Return a value without the keys of its objects that are null.

    Tables give every row the keys of all rows, and null where a row had none: Arrow's files, and what was
    written from them. An argument that is meant to be null is written in a JSON text, which stays as it is.
    """
    if isinstance(value, dict):
        items = cast("dict[str, object]", value).items()
        return {key: without_nulls(item) for key, item in items if item is not None}
    if isinstance(value, list):
        return [without_nulls(item) for item in cast("list[object]", value)]
    return value


def named_calls(turn: object) -> list[tuple[str, str]]:
    """Return id and name of each call of a raw turn, '' where it says none."""
    item = cast("dict[str, Any]", turn) if isinstance(turn, dict) else {}
    parts = [part for part in _objects(item.get("content")) if part.get("type") == "tool_use"]
    return [
        (str(call.get("id") or ""), str((call.get("function") or call).get("name") or ""))
        for call in [*_objects(item.get("tool_calls")), *parts]
        if isinstance(call.get("function") or call, dict)
    ]


def named_results(turn: object) -> list[tuple[str, str]]:
    """Return of each result that a raw turn brings the id and the name of its call, '' where it says none."""
    item = cast("dict[str, Any]", turn) if isinstance(turn, dict) else {}
    parts = [part for part in _objects(item.get("content")) if part.get("type") == "tool_result"]
    if not parts and item.get("role") in ("tool", "function"):
        return [(str(item.get("tool_call_id") or ""), str(item.get("name") or ""))]
    return [(str(part.get("tool_use_id") or ""), "") for part in parts]


def _objects(value: object) -> list[dict[str, Any]]:
    items = cast("list[object]", value) if isinstance(value, list) else []
    return [cast("dict[str, Any]", item) for item in items if isinstance(item, dict)]


def _call(value: object, where: str) -> ToolCall:
    item = mapping(value, where, "a call")
    inner = mapping(item.get("function", item), f"{where}.function", "a call")
    name: object = inner.get("name")
    if not isinstance(name, str) or not name:
        raise DataError("The call has no name.", where=where, hint=_CALL)
    arguments: object = inner.get("arguments", inner.get("parameters"))
    if isinstance(arguments, str) and arguments.strip():
        arguments = _parsed(arguments, f"{where}.arguments", _CALL)
    else:
        arguments = without_nulls(arguments)
    if not isinstance(arguments or {}, dict):
        raise DataError(
            f"The arguments should be an object {{…}}; they are {kind(arguments)}.",
            where=f"{where}.arguments",
            hint=_CALL,
        )
    return ToolCall(name, json.dumps(arguments or {}, ensure_ascii=False))


def _parsed(text: str, where: str, hint: str) -> object:
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"The text is not JSON: {error.msg}, position {error.pos}.", where=where, hint=hint
        ) from None
    except ValueError as error:
        raise DataError(f"The text cannot be read as JSON: {error}.", where=where, hint=hint) from None
