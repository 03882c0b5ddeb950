"""What the task formats share: a raw row or demonstration becomes a record, or a DataError that names it.

A row that cannot be used stops the loading, unless the caller passes `on_reject`: then it goes there, as
`{"where", "reason", "row"}` (a line of `rejects.jsonl`), and loading goes on.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeAlias, cast

from espalier.core.errors import DataError
from espalier.core.records import Demonstration, TaskRow

Reject: TypeAlias = dict[str, Any]
OnReject: TypeAlias = Callable[[Reject], None]

# How files write "there is none" where they could have left the key out (compared in lower case).
PLACEHOLDERS = frozenset(
    ("", "-", "--", "n/a", "na", "n.a.", "none", "null", "nil", "not available", "not applicable")
)
# A text of nothing but spaces and characters without a width is empty.
UNSEEN = " \t\n\r\u00a0\u00ad\u200b\u200c\u200d\u200e\u200f\u2060\ufeff"
LEAVE_OUT = 'Mend the row, or let the recipe leave such rows out with task.on_bad = "reject".'
_KEYS = ("id", "input", "output", "rejected", "source")
_KINDS: tuple[tuple[type, str], ...] = (
    (dict, "an object {…}"),
    (list, "a list […]"),
    (str, "a text"),
    (bool, "true or false"),
    (int, "a number"),
    (float, "a number"),
    (bytes, "bytes"),
)


@dataclass(frozen=True, slots=True)
class RawRow:
    """A row as the file has it, where it stands, and the id it gets if it brings none."""

    where: str
    default_id: str
    value: object


def is_placeholder(value: object) -> bool:
    """Tell whether a value only says that there is none."""
    return value is None or (isinstance(value, str) and value.strip().lower() in PLACEHOLDERS)


def is_blank(text: str) -> bool:
    """Tell whether there is nothing to see in a text."""
    return not text.strip().strip(UNSEEN)


def writable(value: object) -> object:
    """Return a row as rejects.jsonl can hold it: half characters as JSON escapes them, bytes counted."""
    try:
        json.dumps(value, ensure_ascii=False).encode()
    except UnicodeEncodeError:
        return json.dumps(value)
    except TypeError:
        return json.loads(json.dumps(value, default=_told))
    return value


def _told(value: object) -> str:
    return f"{len(value):,} bytes" if isinstance(value, bytes) else str(value)


def optional_text(value: object) -> str:
    """Return a text without surrounding space, or '' where the file has a placeholder."""
    return "" if is_placeholder(value) else str(value).strip()


def texts(value: object, key: str, where: str) -> tuple[str, ...]:
    """Return the texts of a key that holds a text, a list of texts or a placeholder; placeholders are
    dropped.

    Raises:
        DataError: another type.
    """
    _whole(value, where)
    items = cast("list[object]", value) if isinstance(value, list) else [value]
    for item in items:
        if item is not None and not isinstance(item, str):
            raise DataError(
                f"'{key}' should be a text or a list of texts; it holds {kind(item)}.", where=where
            )
    return tuple(optional_text(item) for item in items if not is_placeholder(item))


def task_rows(raw: Iterable[RawRow], on_reject: OnReject | None, where: str) -> tuple[TaskRow, ...]:
    """Return the rows that can be used, in file order.

    Raises:
        DataError: a row cannot be used and `on_reject` is None; or no row is left.
    """
    rows: list[TaskRow] = []
    seen: dict[str, str] = {}
    rejected = 0
    for item in raw:
        try:
            row = _row(item)
            if row.id in seen:
                raise DataError(f"The id '{row.id}' is that of {seen[row.id]} too.", where=item.where)
        except DataError as error:
            if on_reject is None:
                raise DataError(error.message, where=error.where, hint=error.hint or LEAVE_OUT) from None
            on_reject({"where": error.where, "reason": error.message, "row": writable(item.value)})
            rejected += 1
        else:
            seen[row.id] = item.where
            rows.append(row)
    if not rows:
        message = f"None of the {rejected} rows can be used." if rejected else "The task has no instances."
        raise DataError(
            message, where=where, hint="A task needs at least one row with an input and an output."
        )
    return tuple(rows)


def demonstration(value: object, where: str, *, bad: bool = False) -> Demonstration:
    """Return a worked example; its explanation may be called `explanation` or `reason` (Natural Instructions
    v1). The output of a `bad` one may be empty: to say nothing is a mistake that people make.

    Raises:
        DataError: no input or no output, or not a text.
    """
    example = mapping(value, where, "an example")
    _whole(example, where)
    explanation = example.get("explanation", example.get("reason"))
    if isinstance(explanation, list):
        explanation = " ".join(texts(cast("object", explanation), "explanation", where))
    if bad and "output" in example and example["output"] is None:
        example = {**example, "output": ""}
    outputs = _outputs(example, "output", where, empty=bad)
    return Demonstration(_input(example, where), outputs[0], optional_text(explanation))


def mapping(value: object, where: str, what: str) -> dict[str, Any]:
    """Return the value as a dictionary.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(value, dict):
        raise DataError(f"Here should be {what}, an object {{…}}; it is {kind(value)}.", where=where)
    return cast("dict[str, Any]", value)


def kind(value: object) -> str:
    """Return the JSON word for a value's type."""
    for types, word in _KINDS:
        if isinstance(value, types):
            return word
    return "null" if value is None else type(value).__name__


def _row(raw: RawRow) -> TaskRow:
    value = mapping(raw.value, raw.where, "a row")
    _whole(value, raw.where)
    tags = {key: item for key, item in value.items() if key not in _KEYS}
    identifier = raw.default_id if value.get("id") is None else value["id"]
    outputs = _outputs(value, "output", raw.where)
    rejected = _outputs(value, "rejected", raw.where) if "rejected" in value else ()
    if value.get("label") is False:
        outputs, rejected = (), outputs + rejected
    return TaskRow(
        id=str(identifier),
        input=_input(value, raw.where),
        outputs=outputs,
        rejected=rejected,
        source=_string(value.get("source", ""), "source", raw.where),
        tags={key: item if isinstance(item, str) else json.dumps(item) for key, item in tags.items()},
    )


def _input(value: Mapping[str, Any], where: str) -> str:
    if "input" not in value:
        raise DataError("There is no 'input'.", where=where, hint=f"It has: {', '.join(value) or 'nothing'}.")
    text = _string(value["input"], "input", where).strip()
    if is_blank(text):
        raise DataError("The input is empty.", where=where)
    return text


def _outputs(value: Mapping[str, Any], key: str, where: str, *, empty: bool = False) -> tuple[str, ...]:
    if key not in value:
        raise DataError(
            f"There is no '{key}'.", where=where, hint=f"It has: {', '.join(value) or 'nothing'}."
        )
    output: object = value[key]
    items = cast("list[object]", output) if isinstance(output, list) else [output]
    if not items:
        raise DataError(f"The list '{key}' is empty.", where=where)
    outputs = tuple(_string(item, key, where).strip() for item in items)
    blank = next((number for number, text in enumerate(outputs, start=1) if is_blank(text)), 0)
    if blank and not empty:
        number = f" ({blank} of {len(outputs)})" if len(outputs) > 1 else ""
        raise DataError(f"The {key}{number} is empty.", where=where)
    return outputs


def _whole(value: object, where: str) -> None:
    if writable(value) is not value:
        raise DataError("Here is half a character (a lone surrogate).", where=where, hint="Write it again.")


def _string(value: object, key: str, where: str) -> str:
    if not isinstance(value, str):
        raise DataError(f"'{key}' should be a text; it is {kind(value)}.", where=where)
    return value
