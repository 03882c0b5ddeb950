"""Personal data and secrets in a row's texts, each put out by the name of its kind: [EMAIL], [PHONE], …

`export` masks what filters have found, by the same walk over a row (`changed`). Tool calls stay valid JSON,
and what stands in a row twice (its input is a part of its prompt) is masked in both places.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.core.records import Message, Text, Thought, ToolCall
from espalier.filters.personal import KINDS, personal_in

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable
    from typing import TypeAlias

    from espalier.core.records import Example, Part

    Change: TypeAlias = Callable[[str], str]


def masked(example: Example, kinds: tuple[str, ...] = tuple(KINDS)) -> Example:
    """Return a row without what is personal in any of its texts; the row itself where there is nothing."""
    return changed(example, lambda text: masked_text(text, kinds))


def changed(example: Example, change: Change) -> Example:
    """Return a row with all its texts changed; the row itself where none is.

    These are its messages, its references, its rejected answers, its input and its source. The id stays, as
    it is what verdicts and decisions name the row by.
    """
    found = replace(
        example,
        messages=tuple(_turn(turn, change) for turn in example.messages),
        rejected=tuple(_turn(turn, change) for turn in example.rejected),
        references=tuple(map(change, example.references)),
        input=change(example.input),
        source=change(example.source),
    )
    return example if found == example else found


def masked_text(text: str, kinds: tuple[str, ...] = tuple(KINDS)) -> str:
    """Return a text with the name of its kind in place of each thing that is personal."""
    places = [(start, end, f"[{kind.upper()}]") for kind, (start, end) in personal_in(text, kinds)]
    return replaced(text, places)[0]


def replaced(text: str, places: Iterable[tuple[int, int, str]]) -> tuple[str, list[tuple[int, int]]]:
    """Return a text with other words at some places, and where those words stand in it now.

    Args:
        text: what the places count in.
        places: (start, end, words) in any order; of two that overlap the first is put in, and the second as
            far as it goes beyond is taken out.
    """
    pieces: list[str] = []
    moved: list[tuple[int, int]] = []
    done = length = 0
    for start, end, words in sorted(places):
        if start < done:
            done = max(done, end)
            continue
        pieces += [text[done:start], words]
        length += start - done
        moved.append((length, length + len(words)))
        length += len(words)
        done = end
    return "".join([*pieces, text[done:]]), moved


def _turn(turn: Message, change: Change) -> Message:
    parts = tuple(_part(part, change) for part in turn.parts)
    return turn if parts == turn.parts else replace(turn, parts=parts)


def _part(part: Part, change: Change) -> Part:
    match part:
        case Text(text):
            return Text(change(text))
        case Thought(text):
            return Thought(change(text))
        case ToolCall(name, arguments):
            return ToolCall(name, _json(arguments, change))
        case _:
            return part


def _json(text: str, change: Change) -> str:
    """Return JSON with its texts changed, and its numbers where they would be; else as it was written."""
    plain = change(text)
    if plain == text:
        return text
    try:
        value: object = json.loads(text)
    except ValueError:
        return plain
    return json.dumps(_value(value, change), ensure_ascii=False)


def _value(value: object, change: Change) -> object:
    match value:
        case str():
            return change(value)
        case dict():
            return {str(key): _value(item, change) for key, item in value.items()}  # pyright: ignore
        case list():
            return [_value(item, change) for item in value]  # pyright: ignore
        case int() if not isinstance(value, bool) and (text := change(str(value))) != str(value):
            return text
        case _:
            return value
