"""What a row tells scorers besides what is asked: the options to choose from, a schema, tests.

They are JSON values, stand under one name whatever the file calls them, and are no part of the prompt.
Whatever else a scorer needs, a row has under "facts", an object.
"""

from __future__ import annotations

import json
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from espalier.core.files import parse_json

if TYPE_CHECKING:
    from collections.abc import Mapping

    from espalier.core.records import Example

# Name of a fact → what files call it. The last are IFEval's and HumanEval's.
FACTS = {
    "options": ("options", "choices"),
    "schema": ("schema", "json_schema", "response_schema"),
    "tests": ("tests", "test", "test_list", "unit_tests"),
    **{name: (name,) for name in ("entry_point", "instruction_id_list", "kwargs")},
}
OURS = "espalier"  # under which an export says what a reader would make otherwise: id, source, input
KEYS = {"facts", *(key for keys in FACTS.values() for key in keys)}


def facts_of(row: Mapping[str, Any]) -> dict[str, Any]:
    """Return the facts that a row has, as JSON has them; a text that is an object or a list of JSON is that.

    Of options only a list of texts is one.
    """
    if KEYS.isdisjoint(row):
        return {}
    given = {key: _value(row[key]) for key in KEYS if row.get(key) is not None}
    found = {name: given[key] for name, keys in FACTS.items() for key in reversed(keys) if key in given}
    options = found.get("options", [])
    if not (isinstance(options, list) and all(isinstance(o, str) for o in cast("list[object]", options))):
        del found["options"]
    own = given.get("facts")
    return {**found, **(cast("dict[str, Any]", own) if isinstance(own, dict) else {})}


def to_keep(made: Example, meant: Example) -> dict[str, Any]:
    """Return what a row has to say under `OURS`, so that what is made of it now is what is meant."""
    texts = (("source", made.source, meant.source), ("input", made.input, meant.input))
    found: dict[str, Any] = {key: new for key, old, new in texts if old != new}
    return found if made.id == meant.id else {**found, "id": [made.id, meant.id]}


def kept(made: Example, row: Mapping[str, Any]) -> Example:
    """Return an example as its row keeps it; an id is that of its content, and no other content gets it."""
    said = _value(row[OURS]) if row.get(OURS) else None
    if not isinstance(said, dict):
        return made
    texts = {key: text for key, text in cast("dict[str, Any]", said).items() if isinstance(text, str)}
    match cast("dict[str, Any]", said).get("id"):
        case [of, str(name)] if of == made.id:
            texts["id"] = name
        case _:
            texts["id"] = made.id
    source, words = texts.get("source", made.source), texts.get("input", made.input)
    return replace(made, id=texts["id"], source=source, input=words)


def _value(value: object) -> object:
    if isinstance(value, str) and value.lstrip().startswith(("{", "[")):
        try:
            return parse_json(value)
        except ValueError:  # a text that only begins so, or that nobody could use
            return value
    return json.loads(json.dumps(value, ensure_ascii=False, default=str))
