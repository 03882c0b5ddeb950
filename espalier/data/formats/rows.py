"""Files of rows to examples: JSON or JSONL, in the format that is named or that the rows' keys tell.

A row that cannot be used is an error with its place and the fix, or goes to `on_reject` with that reason;
none is dropped in silence. The same row twice is two examples with ids of their own.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError, nearest
from espalier.core.files import json_line, read_json, read_text
from espalier.core.records import example_id
from espalier.core.registry import Registry
from espalier.data.formats import conversations, instructions, openassistant, preferences
from espalier.data.formats.row import Format, Row
from espalier.tasks.rows import LEAVE_OUT, OnReject, mapping

if TYPE_CHECKING:
    from collections.abc import Iterator

    from espalier.core.records import Example

# A row may have the keys of several: whichever stands first here has most to say about it.
FORMATS = {
    "preference": preferences.preference,
    "kto": preferences.kto,
    "openassistant": openassistant.openassistant,
    "self-instruct": instructions.self_instruct,
    "messages": conversations.messages,
    "sharegpt": conversations.sharegpt,
    "alpaca": instructions.alpaca,
    "prompt-completion": instructions.prompt_completion,
}
formats: Registry[Format] = Registry("format")
for _name, _factory in FORMATS.items():
    formats.register(_name)(_factory)

MEDIA = ("images", "image", "videos", "audios")
FEW = 12


@dataclass(frozen=True, slots=True)
class _Raw:
    """A row as it stands in the file, or why it cannot be read."""

    where: str
    number: int
    value: object
    error: DataError | None = None


def load_rows(path: str | Path, format: str = "auto", on_reject: OnReject | None = None) -> list[Example]:
    """Return the examples of a file of rows, in file order.

    Args:
        path: a JSON file with a list of objects, or a JSONL file.
        format: a name in the registry `formats`, or "auto" to tell it from the keys.
        on_reject: takes each row that cannot be used, as {"where", "reason", "row"}; without it such a row is
            an error.

    Raises:
        DataError: the file cannot be read, its format cannot be told, a row cannot be used, or none can.
        RecipeError: no format has that name.
    """
    file = Path(path)
    raws = list(_raws(file))
    kind = told(file, [raw.value for raw in raws]) if format == "auto" else format
    reader = formats.build(kind, {}, "task.format")
    examples: list[Example] = []
    reasons: list[str] = []
    for raw in raws:
        try:
            examples += _read(Row(str(file), file.stem, raw.number, raw.where, {}), raw, kind, reader)
        except DataError as error:
            if on_reject is None:
                hint = f"{error.hint} {LEAVE_OUT}".strip()
                raise DataError(error.message, where=error.where or raw.where, hint=hint) from None
            reasons.append(f"{error.message} {error.hint}".strip())
            on_reject({"where": error.where or raw.where, "reason": reasons[-1], "row": raw.value})
    if not examples:
        raise DataError(
            f"None of the {len(raws)} rows can be used as '{kind}'.",
            where=str(file),
            hint=f"The first: {reasons[0]}" if reasons else f"Write at least one: {reader.sample}",
        )
    return _numbered(examples)


def told(file: Path, values: list[object]) -> str:
    """Return the name of the format that most rows have the keys of.

    Raises:
        DataError: no row has those of any; what was found and the nearest format are named.
    """
    known = {name: factory() for name, factory in FORMATS.items()}
    rows = [_keys(value) for value in values]
    votes = Counter(name for keys in rows for name in _first(known, keys))
    if votes:
        return votes.most_common(1)[0][0]
    found = sorted({key for keys in rows for key in keys})
    # The plainest formats are the last, and of equally near ones the likeliest.
    near = min(reversed(known), key=lambda name: len(_unlike(known[name].missing(set(found)), found)))
    lists = [key for value in values for key, item in _items(value) if _is_rows(item)]
    hint = f"The nearest format is '{near}': {known[near].sample} Known: {', '.join(known)}."
    if len(values) == 1 and lists:
        hint = f"The rows seem to be the list under '{lists[0]}': save that list as the file."
    raise DataError(
        f"The format of the rows cannot be told: they have the keys {', '.join(found[:FEW]) or '(none)'}.",
        where=str(file),
        hint=hint,
    )


def _unlike(missing: list[str], found: list[str]) -> list[str]:
    return [key for key in missing if not get_close_matches(key, found, 1, 0.8)]


def _first(known: dict[str, Format], keys: set[str]) -> list[str]:
    return [name for name, format in known.items() if format.fits(keys)][:1]


def _read(row: Row, raw: _Raw, kind: str, reader: Format) -> list[Example]:
    if raw.error:
        raise raw.error
    value = mapping(raw.value, raw.where, "a row")
    if not reader.fits(_keys(value)):
        key = reader.missing(_keys(value))[0]
        there = "is null" if key in value else "is missing"
        guess = nearest(key, value) if key not in value else ""
        raise DataError(
            f"'{key}' {there}.",
            where=raw.where,
            hint=f"A row of the format '{kind}' is {reader.sample} {guess}".strip(),
        )
    media = [key for key in MEDIA if value.get(key)]
    if media:
        raise DataError(
            f"The row comes with {media[0]}; only text can be trained on.",
            where=f"{raw.where}, {media[0]}",
            hint="Remove the row.",
        )
    return reader.read(replace(row, value={key: item for key, item in value.items() if item is not None}))


def _raws(file: Path) -> Iterator[_Raw]:
    text = read_text(file)
    begin = text.lstrip()[:1]
    if not begin:
        raise DataError("The file is empty.", where=str(file))
    if begin not in "[{":
        raise DataError(
            f"The file is neither JSON nor JSONL: it begins with {begin!r}.",
            where=str(file),
            hint="Write one row a line, each an object {…}, or all in a list […].",
        )
    if begin == "[":
        for number, value in enumerate(cast("list[object]", read_json(file)), start=1):
            yield _Raw(f"{file}, row {number}", number, value)
        return
    lines = [line for line in enumerate(text.split("\n"), start=1) if line[1].strip()]
    if len(lines) > 1 and _error(lines[0][1], str(file)) and not _error(text, str(file)):
        yield _Raw(str(file), 1, read_json(file))  # one object over several lines
        return
    for number, line in lines:
        where = f"{file}:{number}"
        error = _error(line, where)
        yield _Raw(where, number, line if error else json_line(line, where), error)


def _error(text: str, where: str) -> DataError | None:
    try:
        json_line(text, where)
    except DataError as error:
        return error
    return None


def _keys(value: object) -> set[str]:
    """Return the keys of a row that hold something; files made from tables fill up the others with null."""
    return {key for key, item in _items(value) if item is not None}


def _items(value: object) -> list[tuple[str, Any]]:
    return list(cast("dict[str, Any]", value).items()) if isinstance(value, dict) else []


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in cast("list[object]", value))


def _numbered(examples: list[Example]) -> list[Example]:
    """Give an exact repetition an id of its own."""
    seen: Counter[str] = Counter()
    result: list[Example] = []
    for item in examples:
        seen[item.id] += 1
        again = seen[item.id]
        result.append(replace(item, id=example_id(item.id, again)) if again > 1 else item)
    return result
