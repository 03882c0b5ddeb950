"""What a file says that nothing looks at: named once, with its count, and not dropped in silence."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any, cast

from espalier.formats import blocks, turns
from espalier.formats.placing import HELD

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping

    from espalier.formats.format import Format

MOST = 12
# What a part is read from, and what says again what its content tells.
OF_PARTS = {*blocks.KEYS, *HELD, "format", "detail"}


def unused(value: Mapping[str, Any], format: Format) -> set[str]:
    """Return the keys of a row, of its turns and of their parts that its format does not look at."""
    found: set[str] = set()
    if format.optional == "*":
        return found
    for key, item in value.items():
        if item is None:
            continue
        if format.looks_at(key):
            found.update(f"{key}[].{inner}" for inner in _in_turns(item))
        else:
            found.add(key)
    return found


def unused_note(file: str, found: Counter[str], rows: int) -> str:
    """Return a sentence on the keys that nothing looks at, each with the number of rows that have it."""
    keys = [f"'{key}' ({count})" for key, count in found.most_common(MOST)]
    more = f" and {len(found) - MOST} more" if len(found) > MOST else ""
    return f"{file}: nothing looks at the keys {', '.join(keys)}{more}, of {rows} rows."


def _in_turns(value: object) -> Iterator[str]:
    for turn in _objects(value):
        if {"role", "from"} & {*map(turns.spelt, turn)}:
            yield from (key for key, item in turn.items() if item is not None and not turns.knows(turn, key))
            for said in turns.SAID:
                for part in _objects(turn.get(said)):
                    rest = (key for key in part if key not in OF_PARTS and not turns.is_mask(key, part[key]))
                    yield from (f"{said}[].{key}" for key in rest if part[key] is not None)


def _objects(value: object) -> Iterable[dict[str, Any]]:
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    return (cast("dict[str, Any]", item) for item in items if isinstance(item, dict))
