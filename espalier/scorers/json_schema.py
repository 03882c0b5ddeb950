"""Values of JSON against a schema (json-schema.org, 2020-12): the part of it that data sets use.

What only describes is skipped. A keyword that would have to be checked and is not known here makes a schema
unusable, and no value invalid: `pattern` is such, because a pattern of somebody else's may run for ever.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from typing import Any, TypeAlias, cast

TYPES: dict[str, Callable[[object], bool]] = {
    "object": lambda v: isinstance(v, dict),
    "array": lambda v: isinstance(v, list),
    "string": lambda v: isinstance(v, str),
    "boolean": lambda v: isinstance(v, bool),
    "null": lambda v: v is None,
    "integer": lambda v: (
        (isinstance(v, int) and not isinstance(v, bool)) or (isinstance(v, float) and v.is_integer())
    ),
    "number": lambda v: isinstance(v, int | float) and not isinstance(v, bool),
}
DESCRIBES = {
    *(
        "title",
        "description",
        "default",
        "examples",
        "format",
        "deprecated",
        "readOnly",
        "writeOnly",
        "strict",
    ),
    *("$schema", "$id", "$anchor", "$comment", "$defs", "definitions", "contentEncoding", "contentMediaType"),
    *("then", "else", "name", "nullable"),  # read by `if`, and by nothing
}
DEEPEST = 100
Schema: TypeAlias = "Mapping[str, Any] | bool"
Check: TypeAlias = "Callable[[Any, Any, Mapping[str, Any], Problem], str]"
Problem: TypeAlias = Callable[[Any, Any], str]


class UnusableSchema(Exception):
    """A schema that cannot be held to a value; the message says why."""


def problem(value: object, schema: object) -> str:
    """Return why a value does not fit a schema, with its place; '' where it fits.

    Raises:
        UnusableSchema: the schema is none, or says what is not known here.
    """
    depth = 0

    def find(item: object, part: object) -> str:
        nonlocal depth
        if isinstance(part, bool):
            return "" if part else "nothing is allowed here"
        if not isinstance(part, Mapping):
            raise UnusableSchema("a schema is an object")
        depth += 1
        if depth > DEEPEST:
            raise UnusableSchema("it refers to itself without end")
        table = cast("Mapping[str, Any]", part)
        if table.get("nullable") is True and item is None:
            found = ""
        else:
            found = _first(_checked(key, item, table, schema, find) for key in table)
        depth -= 1
        return found

    try:
        return find(value, schema)
    except (TypeError, AttributeError, ValueError, ArithmeticError) as error:
        raise UnusableSchema(f"it cannot be read: {error}") from None


def same(one: object, other: object) -> bool:
    """Tell whether two values are the same JSON: 1 is 1.0, and not true."""
    if isinstance(one, bool) or isinstance(other, bool):
        return one is other
    if isinstance(one, dict) and isinstance(other, dict):
        left, right = cast("dict[str, Any]", one), cast("dict[str, Any]", other)
        return left.keys() == right.keys() and all(same(left[key], right[key]) for key in left)
    if isinstance(one, list) and isinstance(other, list):
        items, others = cast("list[Any]", one), cast("list[Any]", other)
        return len(items) == len(others) and all(map(same, items, others))
    return one == other


def _checked(key: str, value: Any, schema: Mapping[str, Any], root: Any, find: Problem) -> str:
    if key in DESCRIBES:
        return ""
    if key == "$ref":
        return find(value, _referred(schema[key], root))
    if key not in CHECKS:
        raise UnusableSchema(f"its keyword '{key}' is not checked here")
    kinds, check = CHECKS[key]
    return check(value, schema[key], schema, find) if any(TYPES[kind](value) for kind in kinds) else ""


def _referred(reference: str, root: Any) -> Any:
    if not reference.startswith("#"):
        raise UnusableSchema(f"it refers to another file, {reference}")
    found = root
    for step in reference[1:].strip("/").split("/"):
        name = step.replace("~1", "/").replace("~0", "~")
        if name:
            if not isinstance(found, Mapping) or name not in found:
                raise UnusableSchema(f"it refers to {reference}, which it does not have")
            found = cast("Mapping[str, Any]", found)[name]
    return found


def _at(place: object, why: str) -> str:
    return f"{place}: {why}" if why else ""


def _first(problems: Iterable[str]) -> str:
    return next((why for why in problems if why), "")


def _type(value: Any, kinds: Any, *_: Any) -> str:
    wanted = [kinds] if isinstance(kinds, str) else list(kinds)
    if any(kind not in TYPES for kind in wanted):
        raise UnusableSchema(f"it has the unknown type {kinds}")
    found = next(kind for kind in TYPES if TYPES[kind](value))
    return "" if any(TYPES[kind](value) for kind in wanted) else f"it is {found}, not {' or '.join(wanted)}"


def _properties(value: Any, parts: Any, _: Any, find: Problem) -> str:
    return _first(_at(name, find(value[name], part)) for name, part in parts.items() if name in value)


def _additional(value: Any, part: Any, schema: Mapping[str, Any], find: Problem) -> str:
    known = schema.get("properties", {})
    rest = [name for name in value if name not in known]
    if part is False and rest:
        return f"there is no key '{rest[0]}'"
    return _first(_at(name, find(value[name], part)) for name in rest)


def _items(value: Any, part: Any, schema: Mapping[str, Any], find: Problem) -> str:
    begin = len(schema.get("prefixItems", ()))
    return _first(_at(f"[{place}]", find(item, part)) for place, item in enumerate(value) if place >= begin)


def _unique(value: Any, wanted: Any, *_: Any) -> str:
    twice = wanted and any(same(a, b) for n, a in enumerate(value) for b in value[:n])
    return "two items are the same" if twice else ""


def _one_of(value: Any, parts: Any, _: Any, find: Problem) -> str:
    fitting = sum(not find(value, part) for part in parts)
    return "" if fitting == 1 else f"it fits {fitting} of {len(parts)} alternatives, not one"


def _any_of(value: Any, parts: Any, _: Any, find: Problem) -> str:
    found = [find(value, part) for part in parts]
    return "" if "" in found else f"it fits no alternative ({found[0]})"


def _if(value: Any, part: Any, schema: Mapping[str, Any], find: Problem) -> str:
    return find(value, schema.get("else" if find(value, part) else "then", True))


def _least(of: Callable[[Any], Any], word: str) -> Check:
    return lambda value, bound, _, __: (
        "" if of(value) >= bound else f"{word} {of(value)} is less than {bound}"
    )


def _most(of: Callable[[Any], Any], word: str) -> Check:
    return lambda value, bound, _, __: (
        "" if of(value) <= bound else f"{word} {of(value)} is more than {bound}"
    )


ALL = tuple(TYPES)
CHECKS: dict[str, tuple[tuple[str, ...], Check]] = {
    "type": (ALL, _type),
    "enum": (
        ALL,
        lambda v, known, _, __: "" if any(same(v, k) for k in known) else f"{v!r} is none of {known}",
    ),
    "const": (ALL, lambda v, one, _, __: "" if same(v, one) else f"{v!r} is not {one!r}"),
    "required": (
        ("object",),
        lambda v, names, _, __: _first(f"'{n}' is missing" for n in names if n not in v),
    ),
    "properties": (("object",), _properties),
    "additionalProperties": (("object",), _additional),
    "propertyNames": (
        ("object",),
        lambda v, part, _, find: _first(_at(name, find(name, part)) for name in v),
    ),
    "minProperties": (("object",), _least(len, "its number of keys")),
    "maxProperties": (("object",), _most(len, "its number of keys")),
    "items": (("array",), _items),
    "prefixItems": (
        ("array",),
        lambda v, parts, _, find: _first(
            _at(f"[{n}]", find(item, part)) for n, (item, part) in enumerate(zip(v, parts, strict=False))
        ),
    ),
    "contains": (
        ("array",),
        lambda v, part, _, find: "" if any(not find(i, part) for i in v) else "no item is as one has to be",
    ),
    "minItems": (("array",), _least(len, "its length")),
    "maxItems": (("array",), _most(len, "its length")),
    "uniqueItems": (("array",), _unique),
    "minLength": (("string",), _least(len, "its length")),
    "maxLength": (("string",), _most(len, "its length")),
    "minimum": (("number",), _least(lambda v: v, "the number")),
    "maximum": (("number",), _most(lambda v: v, "the number")),
    "exclusiveMinimum": (
        ("number",),
        lambda v, bound, _, __: "" if v > bound else f"{v} is not over {bound}",
    ),
    "exclusiveMaximum": (
        ("number",),
        lambda v, bound, _, __: "" if v < bound else f"{v} is not under {bound}",
    ),
    "multipleOf": (
        ("number",),
        lambda v, step, _, __: (
            "" if math.isclose(v / step, round(v / step), abs_tol=1e-9) else f"{v} is no multiple of {step}"
        ),
    ),
    "allOf": (ALL, lambda v, parts, _, find: _first(find(v, part) for part in parts)),
    "anyOf": (ALL, _any_of),
    "oneOf": (ALL, _one_of),
    "not": (ALL, lambda v, part, _, find: "" if find(v, part) else "it is what it must not be"),
    "if": (ALL, _if),
}
