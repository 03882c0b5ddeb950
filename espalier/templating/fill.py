"""Rows of any set in the words of a template: each becomes an example, in one wording or in all.

Which wording a row gets depends on the seed, the template's name and the row, and on nothing else: not on
the rows beside it, nor on their order. A wording that is added takes rows from the others and moves no row
between them.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from difflib import get_close_matches
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError
from espalier.core.records import Example, example_id, message
from espalier.formats.cells import opened_cell
from espalier.formats.readers import Raw, rows_of
from espalier.tasks.raw_rows import writable
from espalier.tasks.templates import normalised
from espalier.templating.language import (
    FAULTS,
    LETTERS,
    Blank,
    compiled,
    expression,
    fault,
    place,
    rendered,
)

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from espalier.tasks.raw_rows import OnReject
    from espalier.templating.template import Template, Wording

FEW = 12
MOST_CHOICES = len(LETTERS)
_compiled = lru_cache(maxsize=1024)(compiled)
_expression = lru_cache(maxsize=1024)(expression)


def fill_file(
    template: Template,
    path: str | Path,
    *,
    seed: int = 0,
    count: int | None = 1,
    on_reject: OnReject | None = None,
) -> Iterator[Example]:
    """Yield the examples of a file of rows, or of a folder of them; see `fill`."""
    return fill(template, rows_of(Path(path)), str(path), seed=seed, count=count, on_reject=on_reject)


def fill(
    template: Template,
    rows: Iterable[Raw],
    file: str,
    *,
    seed: int = 0,
    count: int | None = 1,
    on_reject: OnReject | None = None,
) -> Iterator[Example]:
    """Yield the examples of rows in a template's wordings, row by row.

    Args:
        template: what is asked.
        rows: as `rows_of` reads them from any file.
        file: where they are from, for `origin`.
        seed: which wordings are drawn.
        count: how many wordings of each row, drawn without repetition; None: all.
        on_reject: takes each row and wording that cannot be used, as {"where", "reason", "row"}; without it
            such a row is an error.

    Raises:
        DataError: a row has not what a wording needs, or is none.
    """
    seen: Counter[str] = Counter()
    for raw in rows:
        try:
            fields = _fields(template, raw)
        except DataError as error:
            _refuse(error, raw, on_reject)
            continue
        for wording in drawn(template, row_id(fields), seed, count):
            try:
                example = _example(template, wording, fields, raw, file)
            except DataError as error:
                _refuse(error, raw, on_reject)
                continue
            seen[example.id] += 1
            again = seen[example.id]
            yield replace(example, id=example_id(example.id, again)) if again > 1 else example


def drawn(template: Template, row: str, seed: int, count: int | None = 1) -> Sequence[Wording]:
    """Return the wordings of a row by its id: those whose weighted hash is the highest."""
    if count is None:
        return template.wording

    def height(wording: Wording) -> float:
        key = json.dumps([seed, template.task.name, row, wording.name]).encode()
        share = (int.from_bytes(hashlib.sha256(key).digest()[:8], "big") + 1) / (2**64 + 2)
        return wording.weight / -math.log(share)

    return sorted(template.wording, key=height, reverse=True)[:count]


def row_id(row: Mapping[str, Any]) -> str:
    """Return the id that a row has, or that its content makes."""
    given = row.get("id")
    return str(given) if isinstance(given, str | int) and given != "" else example_id(row)


def _refuse(error: DataError, raw: Raw, on_reject: OnReject | None) -> None:
    if on_reject is None:
        raise error
    on_reject({"where": error.where, "reason": error.message, "row": writable(raw.value)})


def _fields(template: Template, raw: Raw) -> dict[str, Any]:
    """Return a row's fields under the names that the wordings use. Raises DataError."""
    if raw.error:
        raise raw.error
    row = dict(cast("Mapping[str, Any]", raw.value))
    if raw.tabular:
        row = {name: opened_cell(name, cell, row) for name, cell in row.items()}
    try:
        taken = {name: _expression(text, "")(row) for name, text in template.columns.items()}
    except FAULTS as error:
        raise _unfit(template, raw, "", fault(error)) from None
    return {**row, **taken}


def _example(template: Template, wording: Wording, fields: Mapping[str, Any], raw: Raw, file: str) -> Example:
    try:
        return _made(template, wording, fields, raw, file)
    except (*FAULTS, Blank) as error:
        raise _unfit(template, raw, wording.name, fault(error)) from None


def _unfit(template: Template, raw: Raw, wording: str, why: str) -> DataError:
    which = f", wording '{wording}'" if wording else ""
    found = [str(name) for name in cast("Mapping[str, Any]", raw.value)]
    missing = re.search(r"'(\w+)' is undefined|has no attribute '(\w+)'", why)
    close = get_close_matches(missing[1] or missing[2], found, n=1, cutoff=0.5) if missing else []
    guess = f"Did you mean '{close[0]}'? " if close else ""
    there = ", ".join(found[:FEW]) or "nothing"
    return DataError(
        f"The row cannot be put into the template's words: {why}.",
        where=f"{raw.where}, template {template.origin or template.task.name}{which}",
        hint=f"{guess}The row has: {there}. Other names are set under [columns].",
    )


def _made(template: Template, wording: Wording, fields: Mapping[str, Any], raw: Raw, file: str) -> Example:
    """Return a row as an example; raises one of FAULTS, or Blank."""
    task = template.task
    row = {**fields, "row": fields, "definition": task.definition}
    row |= _choices(template, wording, row)
    options = cast("list[str]", row.get("options", []))
    prompt = rendered(_compiled(wording.prompt, ""), row)
    answer = rendered(_compiled(wording.answer, ""), row)
    if options and not wording.flipped and answer not in options and "right" in row:
        raise ValueError(f"the answer {answer!r} is none of the options {', '.join(options)}")
    name = (task.flipped or f"{task.name}-flipped") if wording.flipped else task.name
    references = (answer, *_references(template, wording, row))
    source = str(_value(task.source, row)) if task.source else f"{task.name} {row_id(fields)}"
    return Example(
        id=example_id(name, prompt, references),
        task=name,
        source=normalised(source),
        messages=(message("user", prompt), message("assistant", answer, trained=True)),
        references=tuple(dict.fromkeys(references)),
        origin=_origin(file, raw, task.name, wording.name),
        input=str(_value(task.input, row)) if task.input and not wording.flipped else prompt,
        facts={} if wording.flipped else _facts(template, row, options),
    )


def _origin(file: str, raw: Raw, template: str, wording: str) -> dict[str, Any]:
    """Return where an example is from; what annotators said of it stays with it as evidence."""
    votes: object = cast("Mapping[str, object]", raw.value).get("votes")
    seen: dict[str, object] = {"votes": votes} if isinstance(votes, Mapping) else {}
    return {"file": file, "row": str(raw.number), "template": template, "wording": wording, **seen}


def _facts(template: Template, row: Mapping[str, Any], options: list[str]) -> dict[str, Any]:
    found = {name: _value(text, row) for name, text in template.facts.items()}
    there = {name: value for name, value in found.items() if value not in (None, "", [])}
    plain = json.loads(json.dumps(there, ensure_ascii=False, default=str))
    return {**plain, **({"options": options} if options else {})}


def _value(text: str, row: Mapping[str, Any]) -> object:
    return _expression(text, "")(row)


def _choices(template: Template, wording: Wording, row: Mapping[str, Any]) -> dict[str, Any]:
    """Return `choices`, how they read as `options`, and which is `right`; nothing where there are none.

    A wording's own choices stand in the order of the task's, so that the right one keeps its place.
    """
    task = template.task
    if not (wording.choices or task.choices):
        return {}
    texts = _texts(task.choices, row) if task.choices else _texts(wording.choices, row)
    found: dict[str, Any] = {}
    if task.right:
        found["right"] = place(_value(task.right, row), texts)
    if wording.choices and task.choices:
        own = _texts(wording.choices, row)
        if len(own) != len(texts):
            raise ValueError(f"the wording has {len(own)} choices, and the task {len(texts)}")
        texts = own
    option = _compiled(wording.option, "")
    rows = [
        {**row, "choices": texts, "choice": text, "place": number, "letter": LETTERS[number]}
        for number, text in enumerate(texts)
    ]
    options = [rendered(option, one) for one in rows]
    if len(set(options)) != len(options):
        raise ValueError(f"two of the options {', '.join(options)} are the same")
    return {**found, "choices": texts, "options": options, "answer_choices": options}


def _texts(choices: Sequence[str] | str, row: Mapping[str, Any]) -> list[str]:
    found = _value(choices, row) if isinstance(choices, str) else list(choices)
    if not isinstance(found, list | tuple):
        raise TypeError("the choices are no list")
    items = [str(item) for item in cast("Sequence[object]", found)]
    if not 2 <= len(items) <= MOST_CHOICES:
        raise ValueError(f"there are {len(items)} choices, and 2 to {MOST_CHOICES} were expected")
    return items


def _references(template: Template, wording: Wording, row: Mapping[str, Any]) -> list[str]:
    """Return the accepted answers that the template names; a flipped wording has its own or none."""
    text = wording.references or ("" if wording.flipped else template.task.references)
    if not text:
        return []
    found = _value(text, row)
    items = cast("list[object]", found) if isinstance(found, list | tuple) else [found]
    if any(item is None or isinstance(item, list | dict) for item in items):
        raise TypeError("a reference is no text")
    return [str(item).strip() for item in items if str(item).strip()]
