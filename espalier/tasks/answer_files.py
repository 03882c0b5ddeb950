"""What any tool wrote as answers, whatever its file: JSONL, JSON, a table, or plain lines.

The form is told by the name's end and the content, the keys by what tools call them. Answers belong to rows
by an id, by a place counted from 0, or, where a file says neither, by their order. An answer that is null or
NaN is none. Files that hold answers of several systems (a run's `outputs.jsonl`), or of several extractions
(lm-eval's samples, `filter`), are read for one of them.
"""

from __future__ import annotations

import csv
import io
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias, cast

from espalier.core.errors import DataError, nearest
from espalier.core.files import parse_json, read_jsonl, read_text

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

By: TypeAlias = Literal["id", "index", "order"]
Items: TypeAlias = "list[tuple[str, object]]"  # the place of each item, as errors name it, and the item

# What holds the answer; of several the first. "answer" comes late: rows often have their reference under it.
ANSWERS = (
    *("prediction", "filtered_resps", "generated_text", "completion", "response", "output"),
    *("model_output", "text", "answer"),
)
IDS = ("id", "example", "example_id", "qid")
PLACES = ("index", "doc_id", "idx")
# What tells several systems' answers, and what stands beside it: an input may have a "system" turn too.
SYSTEMS = {"system": "example", "filter": "filtered_resps"}
TABLES = {".csv": ",", ".tsv": "\t", ".tab": "\t"}


@dataclass(frozen=True, slots=True)
class AnswerFile:
    """The answers of a file, in its order.

    Attributes:
        path: the file.
        by: how they belong to rows; `names` are ids, or places counted from 0, and empty where by order.
        texts: each answer; None is none.
        wheres: the place of each, for errors.
        key: what the file calls an answer; '' in plain lines.
        system: whose they are, where the file has several; `skipped` counts those of the others.
    """

    path: Path
    by: By
    names: tuple[str, ...]
    texts: tuple[str | None, ...]
    wheres: tuple[str, ...]
    key: str = ""
    system: str = ""
    skipped: int = 0


def read_answers(path: Path, system: str | None = None, called: Sequence[str] = ANSWERS) -> AnswerFile:
    """Read a file of answers.

    Args:
        path: the file.
        system: whose answers, or which filter's; by default the tuned model's, or those that come first.
        called: the keys that an answer may have.

    Raises:
        DataError: missing, empty, of no form, an item without an answer or with another key than the first,
            or none of that system; the place is named.
    """
    items = _items(path, called)
    if not items:
        raise DataError("The file is empty: it has no predictions.", where=str(path))
    objects = [(where, cast("Mapping[str, Any]", item)) for where, item in items if isinstance(item, dict)]
    if not objects:
        if system is not None:
            raise _no_systems(path)
        texts = tuple(_text(item, where) for where, item in items)
        return AnswerFile(path, "order", (), texts, tuple(where for where, _ in items))
    if len(objects) < len(items):
        raise DataError("Some predictions are objects {…} and some are not.", where=str(path))
    return _of_objects(path, objects, system, called)


def _of_objects(
    path: Path, items: list[tuple[str, Mapping[str, Any]]], system: str | None, called: Sequence[str]
) -> AnswerFile:
    first = items[0][1]
    tag = next((key for key, beside in SYSTEMS.items() if {key, beside} <= first.keys()), "")
    if system is not None and not tag:
        raise _no_systems(path)
    total, chosen = len(items), ""
    if tag:
        names = Counter(str(item.get(tag)) for _, item in items)
        chosen = system or ("tuned" if "tuned" in names else next(iter(names)))
        if chosen not in names:
            raise DataError(
                f"The file has no answers of '{chosen}'.", where=str(path), hint=nearest(chosen, names)
            )
        items = [(where, item) for where, item in items if str(item.get(tag)) == chosen]
    items = [(where, item) for where, item in items if item.get("sample", 0) in (0, None)]
    key = next((key for key in called if key in first), "")
    name = next((key for key in (*IDS, *PLACES) if key in first), "")
    for where, item in items:
        if not key or key not in item or (name and item.get(name) is None):
            shape = f'{{"{name or "id"}": …, "{key or called[0]}": text}}'
            raise DataError(
                f"A line should be {shape}; this one has {', '.join(item) or 'nothing'}.",
                where=where,
                hint="" if key else f"An answer is called {', '.join(called)}.",
            )
    # What is called an index may be a name all the same.
    numbered = isinstance(first.get(name), int | float) or str(first.get(name)).isdigit()
    by: By = "order" if not name else "index" if name in PLACES and numbered else "id"
    names_of = tuple(_name(item[name], by, where) for where, item in items) if name else ()
    texts = tuple(_text(item[key], where) for where, item in items)
    wheres = tuple(where for where, _ in items)
    return AnswerFile(path, by, names_of, texts, wheres, key, chosen, total - len(items))


def _items(path: Path, called: Sequence[str]) -> Items:
    """Return what a file holds: objects, or texts and numbers, each with its place."""
    text = read_text(path)
    suffix = path.suffix.lower()
    if suffix in TABLES:
        return _table(text, TABLES[suffix], path, called)
    begin = text.lstrip()[:1]
    data = suffix in (".json", ".jsonl", ".ndjson")
    if suffix == ".txt" or not (data or begin in ("{", "[")):
        lines = text.split("\n")
        lines = lines[:-1] if not lines[-1].strip() else lines
        numbered = [(f"{path}:{n}", line.rstrip("\r")) for n, line in enumerate(lines, start=1)]
        return list[tuple[str, object]](numbered) if text.strip() else []
    try:
        whole = parse_json(text)
    except ValueError:
        return [(f"{path}:{number}", item) for number, item in read_jsonl(path)]  # which says what is wrong
    if isinstance(whole, dict):
        table = cast("dict[str, object]", whole)
        if isinstance(table.get("predictions"), list):
            whole = table["predictions"]
        elif {*called, *IDS, *PLACES} & table.keys():
            return [(f"{path}:1", table)]
        else:  # SQuAD's form
            return [(f"{path}, {key}", {"id": key, "prediction": value}) for key, value in table.items()]
    if not isinstance(whole, list):
        raise DataError("The file holds neither a list nor lines of predictions.", where=str(path))
    return [(f"{path}, prediction {n}", item) for n, item in enumerate(cast("list[object]", whole))]


def _table(text: str, delimiter: str, path: Path, called: Sequence[str]) -> Items:
    try:
        rows = list(csv.reader(io.StringIO(text), delimiter=delimiter, strict=True))
    except csv.Error as error:
        raise DataError(f"The table cannot be read: {error}.", where=str(path)) from None
    rows = [row for row in rows if row]
    if not rows:
        return []
    header = rows[0]
    if not {*called} & {*header}:
        raise DataError(
            f"No column holds the predictions: there are {', '.join(header)[:200]}.",
            where=f"{path}:1",
            hint=f"The first line names the columns; one is called {', '.join(called)}.",
        )
    for number, row in enumerate(rows[1:], start=1):
        if len(row) != len(header):
            raise DataError(
                f"The row has {len(row)} cells, and the table {len(header)} columns.",
                where=f"{path}, row {number}",
            )
    return [(f"{path}, row {n}", dict(zip(header, row, strict=True))) for n, row in enumerate(rows[1:], 1)]


def _name(value: object, by: By, where: str) -> str:
    if by == "index":
        text = str(value)
        if isinstance(value, bool) or not text.isascii() or not text.isdigit():
            raise DataError(f"The index {value!r} is no place counted from 0.", where=where)
        return str(int(text)) if len(text) < 20 else text
    if isinstance(value, str) or (isinstance(value, int) and not isinstance(value, bool)):
        return str(value)
    raise DataError(f"The id {value!r} is neither a text nor a number.", where=where)


def _text(value: object, where: str) -> str | None:
    """Return an answer as text; of a list its first (lm-eval); None where there is none."""
    while isinstance(value, list):
        value = next(iter(cast("Sequence[object]", value)), None)
    if value is None or (isinstance(value, float) and value != value):
        return None
    if isinstance(value, dict):
        raise DataError("A prediction is an object {…}; a text was expected.", where=where)
    return str(value).lower() if isinstance(value, bool) else str(value)


def _no_systems(path: Path) -> DataError:
    return DataError(
        "The file is no run's outputs.jsonl, so there are no systems in it.",
        where=str(path),
        hint="Leave --system out.",
    )
