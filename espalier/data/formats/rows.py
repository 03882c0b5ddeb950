"""Files of rows to examples: JSON or JSONL, in the format that is named or that the rows' keys tell.

A row that cannot be used is an error with its place and the fix, or goes to `on_reject` with that reason;
none is dropped in silence. The same row twice is two examples with ids of their own.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError
from espalier.core.files import json_line, read_json, read_text
from espalier.core.records import example_id
from espalier.core.registry import Registry
from espalier.data.formats import conversations, instructions, openassistant, preferences, questions
from espalier.data.formats.row import Format, Row
from espalier.data.formats.unused import told as of_unused
from espalier.data.formats.unused import unused
from espalier.tasks.rows import OnReject
from espalier.tasks.rows import kind as word

if TYPE_CHECKING:
    from collections.abc import Callable

    from espalier.core.records import Example

# A row may have the keys of several: whichever stands first here has most to say about it.
FORMATS = {
    "preference": preferences.preference,
    "kto": preferences.kto,
    "openassistant": openassistant.openassistant,
    "self-instruct": instructions.self_instruct,
    "messages": conversations.messages,
    "sharegpt": conversations.sharegpt,
    "choices": questions.choices,
    "passage": questions.passage,
    "alpaca": instructions.alpaca,
    "prompt-completion": instructions.prompt_completion,
}
formats: Registry[Format] = Registry("format")
for _name, _factory in FORMATS.items():
    formats.register(_name)(_factory)

MEDIA = ("images", "image", "videos", "audios")
FEW = 12
LEAVE_OUT = 'Or leave such rows out with task.on_bad = "reject".'


@dataclass(frozen=True, slots=True)
class Raw:
    """A row as it stands in the file, or why it cannot be read."""

    where: str
    number: int
    value: object
    error: DataError | None = None


def load_rows(
    path: str | Path,
    format: str = "auto",
    on_reject: OnReject | None = None,
    on_note: Callable[[str], object] = lambda _: None,
) -> list[Example]:
    """Return the examples of a file of rows, in file order.

    Args:
        path: a JSON file with a list of objects, or a JSONL file.
        format: a name in the registry `formats`, or "auto" to tell it from the keys.
        on_reject: takes each row that cannot be used, as {"where", "reason", "row"}; without it such a row is
            an error.
        on_note: takes a sentence on what the file says and nothing looks at.

    Raises:
        DataError: the file cannot be read, its format cannot be told, a row cannot be used, or none can.
        RecipeError: no format has that name.
    """
    file = Path(path)
    raws = rows_of(file)
    if not raws:
        raise DataError("The file has no rows.", where=str(file))
    kind = told(file, raws) if format == "auto" else format
    reader = formats.find(kind, "task.format")()
    examples: list[Example] = []
    reasons: list[str] = []
    ignored: Counter[str] = Counter()
    for raw in raws:
        try:
            examples += _read(Row(str(file), file.stem, raw.number, raw.where, {}), raw, reader)
            ignored.update(unused(dict(_items(raw.value)), reader))
        except DataError as error:
            where = error.where or raw.where
            hint = f"{error.hint} A row of the format '{kind}': {reader.sample}".strip()
            if on_reject is None:
                raise DataError(error.message, where=where, hint=f"{hint} {LEAVE_OUT}") from None
            reasons.append(f"{error.message} {hint}")
            on_reject({"where": where, "reason": reasons[-1], "row": _writable(raw.value)})
    if not examples:
        message = f"None of the {len(raws)} rows can be used."
        raise DataError(message, where=str(file), hint=f"The first: {reasons[0]}")
    if ignored:
        on_note(of_unused(str(file), ignored, len(raws)))
    return _numbered(examples)


def told(file: Path, raws: list[Raw]) -> str:
    """Return the name of the format that most rows have the keys of.

    Raises:
        DataError: no row has those of any; what was found and the nearest format are named.
    """
    known = {name: factory() for name, factory in FORMATS.items()}
    rows = [_keys(raw.value) for raw in raws if not raw.error]
    if raws[0].error and not rows:
        raise raws[0].error
    votes = Counter(name for keys in rows for name in _first(known, keys))
    if votes:
        return votes.most_common(1)[0][0]
    found = sorted({key for keys in rows for key in keys})
    # The plainest formats are the last, and of equally near ones the likeliest.
    near = min(reversed(known), key=lambda name: _distance(known[name], found))
    hint = f"The nearest format is '{near}': {known[near].sample} Known: {', '.join(known)}."
    lists = [key for key, item in _items(raws[0].value) if _is_rows(item)]
    if len(raws) == 1 and lists:
        hint = f"The rows seem to be the list under '{lists[0]}': save that list as the file."
    raise DataError(
        f"The format of the rows cannot be told: they have the keys {', '.join(found[:FEW]) or '(none)'}.",
        where=str(file),
        hint=hint,
    )


def _distance(format: Format, found: list[str]) -> tuple[int, int]:
    """Return how few keys of the format are there, or nearly, and then how many are missing."""
    wanted = [[get_close_matches(key, found, 1, 0.8) for key in shape.split()] for shape in format.shapes]
    return min((-sum(map(bool, keys)), sum(not key for key in keys)) for keys in wanted)


def _first(known: dict[str, Format], keys: set[str]) -> list[str]:
    return [name for name, format in known.items() if format.fits(keys)][:1]


def _read(row: Row, raw: Raw, reader: Format) -> list[Example]:
    if raw.error:
        raise raw.error
    value = dict(_items(raw.value))
    if not reader.fits(_keys(value)):
        key = reader.missing(_keys(value))[0]
        raise DataError(
            f"'{key}' is {'null' if key in value else 'missing'}.",
            where=raw.where,
            hint=f"The row has: {', '.join(value) or 'nothing'}.",
        )
    media = [key for key in MEDIA if value.get(key)]
    if media:
        raise DataError(
            f"The row comes with {media[0]}; only text can be trained on.",
            where=f"{raw.where}, {media[0]}",
            hint="Remove the row.",
        )
    try:
        return reader.read(replace(row, value={key: item for key, item in value.items() if item is not None}))
    except UnicodeEncodeError:  # in a tool or a call, where the text of a turn is named by itself
        message = "The row holds half a character (a lone surrogate)."
        raise DataError(message, where=raw.where, hint="Write it again.") from None


def rows_of(file: Path) -> list[Raw]:
    """Return the rows of a JSON or JSONL file, each with its place, and with the reason if it is none.

    Raises:
        DataError: the file is missing, empty, not UTF-8, or neither JSON nor JSONL.
    """
    text = read_text(file)
    begin = text.lstrip()[:1]
    if not begin:
        raise DataError("The file is empty.", where=str(file))
    if begin not in "[{" and file.suffix != ".jsonl":
        raise DataError(
            f"The file is neither JSON nor JSONL: it begins with {begin!r}.",
            where=str(file),
            hint="Write one row a line, each an object {…}, or all in a list […].",
        )
    if begin == "[":
        values = enumerate(cast("list[object]", read_json(file)), start=1)
        return [_raw(f"{file}, row {number}", number, value) for number, value in values]
    lines = [(number, line) for number, line in enumerate(text.split("\n"), start=1) if line.strip()]
    raws = [_line(f"{file}:{number}", number, line) for number, line in lines]
    # What is no line of JSON may be the first line of one object over several.
    whole = _line(str(file), 1, text) if len(lines) > 1 and raws[0].error else None
    return raws if whole is None or whole.error else [whole]


def _line(where: str, number: int, line: str) -> Raw:
    try:
        return Raw(where, number, json_line(line, where))
    except DataError as error:
        return Raw(where, number, line, error)


def _raw(where: str, number: int, value: object) -> Raw:
    if isinstance(value, dict):
        return Raw(where, number, cast("object", value))
    found = f"Here should be a row, an object {{…}}; it is {word(value)}."
    return Raw(where, number, value, DataError(found, where=where))


def _keys(value: object) -> set[str]:
    """Return the keys of a row that hold something; files made from tables fill up the others with null."""
    return {key for key, item in _items(value) if item is not None}


def _items(value: object) -> list[tuple[str, Any]]:
    return list(cast("dict[str, Any]", value).items()) if isinstance(value, dict) else []


def _is_rows(value: object) -> bool:
    return isinstance(value, list) and any(isinstance(item, dict) for item in cast("list[object]", value))


def _writable(value: object) -> object:
    """Return a row as rejects.jsonl can hold it: half characters are shown as JSON escapes them."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    return value


def _numbered(examples: list[Example]) -> list[Example]:
    """Give an exact repetition an id of its own."""
    seen: Counter[str] = Counter()
    result: list[Example] = []
    for item in examples:
        seen[item.id] += 1
        again = seen[item.id]
        result.append(replace(item, id=example_id(item.id, again)) if again > 1 else item)
    return result
