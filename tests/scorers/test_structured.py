"""JSON against schemas, and tables against tables: what fits, what does not, and what cannot be judged."""

from __future__ import annotations

from typing import Any

import pytest

from espalier.core.records import Completion, Example, Score, message
from espalier.scorers.grids import normalised, read_grid
from espalier.scorers.json_schema import UnusableSchema, problem
from espalier.scorers.structured import build_json, build_table

ROOM: dict[str, Any] = {
    "type": "object",
    "required": ["guest", "nights"],
    "additionalProperties": False,
    "properties": {
        "guest": {"type": "string", "minLength": 1},
        "nights": {"type": "integer", "minimum": 1},
        "kind": {"enum": ["single", "double", None]},
        "notes": {"type": "array", "items": {"type": "string"}, "maxItems": 2},
    },
}


def row(references: tuple[str, ...], facts: dict[str, Any]) -> Example:
    turns = (message("user", "?"), message("assistant", "x", trained=True))
    return Example("i", "t", "s", turns, references, facts=facts)


def score(text: str, *references: str, equal: bool = False, **facts: Any) -> Score:
    return build_json(equal=equal).score([row(references, facts)], [Completion("i", text)])[0]


@pytest.mark.parametrize(
    "text",
    [
        '{"guest": "Okafor", "nights": 2}',
        'Here:\n```json\n{"guest": "Okafor", "nights": 2.0, "kind": null}\n```',
        '{"nights": 1, "guest": "ö", "notes": ["a", "b"]}',
    ],
)
def test_json_by_the_schema_passes(text: str) -> None:
    assert score(text, schema=ROOM).value == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not JSON"),
        ("no", "not JSON"),
        ("[]", "array, not object"),
        ('{"guest": "Okafor"}', "'nights' is missing"),
        ('{"guest": "Okafor", "nights": "2"}', "nights: it is string"),
        ('{"guest": "Okafor", "nights": true}', "nights: it is boolean"),
        ('{"guest": "Okafor", "nights": 0}', "less than 1"),
        ('{"guest": "", "nights": 1}', "guest: its length"),
        ('{"guest": "Okafor", "nights": 1.5}', "nights: it is number"),
        ('{"guest": "Okafor", "nights": 1, "kind": "triple"}', "kind: 'triple' is none of"),
        ('{"guest": "Okafor", "nights": 1, "notes": ["a", 1]}', "notes: [1]: it is integer"),
        ('{"guest": "Okafor", "nights": 1, "notes": ["a", "b", "c"]}', "more than 2"),
        ('{"guest": "Okafor", "nights": 1, "dog": 1}', "no key 'dog'"),
        ('{"guest": "Okafor", "guest": "x", "nights": 1}', "twice"),
        ('{"guest": "Okafor", "nights": NaN}', "not finite"),
        ('{"guest": "Okafor", "nights": 1e999}', "not finite"),
        ('{"guest": "Okafor", "nights": 1} and more', "not JSON"),
        ("[" * 100_000, "nested"),
        ("9" * 10_000, "digits"),
    ],
)
def test_json_that_is_not_by_the_schema_does_not(text: str, why: str) -> None:
    found = score(text, schema=ROOM)
    assert found.value == 0
    assert why in found.why


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "object", "properties": {"a": {"pattern": "(a+)+$"}}},
        {"$ref": "https://other.example/x.json"},
        {"$ref": "#/nowhere"},
        {"$ref": "#"},
        {"type": "text"},
        {"required": 3, "type": "object"},
        [],
        "no JSON",
        3,
    ],
)
def test_a_schema_that_cannot_be_held_to_it_does_not_judge(schema: object) -> None:
    assert score('{"a": "' + "a" * 40 + '!"}', schema=schema).value is None


@pytest.mark.parametrize(
    ("schema", "good", "bad"),
    [
        ({"type": ["string", "null"]}, [None, "a"], [1]),
        ({"const": 1}, [1, 1.0], [True, "1"]),
        ({"enum": [{"a": [1]}]}, [{"a": [1.0]}], [{"a": [True]}, {"a": [1, 2]}]),
        ({"anyOf": [{"type": "string"}, {"minimum": 3}]}, ["a", 3], [2]),
        ({"oneOf": [{"minimum": 1}, {"maximum": 5}]}, [0, 6], [3]),
        ({"allOf": [{"minimum": 1}, {"maximum": 5}]}, [3], [0, 6]),
        ({"not": {"type": "null"}}, [1], [None]),
        ({"items": {"type": "integer"}, "prefixItems": [{"type": "string"}]}, [["a", 1]], [[1], ["a", "b"]]),
        ({"uniqueItems": True}, [[1, True, "1"]], [[1, 1.0]]),
        ({"contains": {"const": 2}}, [[1, 2]], [[1], []]),
        ({"if": {"minimum": 10}, "then": {"maximum": 20}, "else": {"minimum": 5}}, [15, 7], [21, 3]),
        ({"multipleOf": 0.1}, [0.3, 1], [0.35]),
        ({"exclusiveMinimum": 1, "exclusiveMaximum": 2}, [1.5], [1, 2]),
        (
            {"additionalProperties": {"type": "string"}, "properties": {"a": {}}},
            [{"a": 1, "b": "x"}],
            [{"b": 1}],
        ),
        (
            {"propertyNames": {"maxLength": 1}, "minProperties": 1, "maxProperties": 2},
            [{"a": 1}],
            [{}, {"ab": 1}],
        ),
        (
            {"$defs": {"t": {"items": {"$ref": "#/$defs/t"}, "type": "array"}}, "$ref": "#/$defs/t"},
            [[[], [[]]]],
            [[[1]]],
        ),
        (True, [1], []),
        (False, [], [1]),
        ({"type": "string", "nullable": True}, [None], [1]),
        ({"title": "x", "description": "y", "format": "date", "default": 1}, [1, "a"], []),
    ],
)
def test_what_schemas_say(schema: object, good: list[object], bad: list[object]) -> None:
    assert not [value for value in good if problem(value, schema)]
    assert not [value for value in bad if not problem(value, schema)]


def test_as_another_checker_says() -> None:
    other = pytest.importorskip("jsonschema")
    values: list[Any] = [
        None,
        True,
        0,
        1,
        1.0,
        1.5,
        "",
        "ab",
        [],
        [1, 1],
        ["a"],
        {},
        {"a": 1},
        {"a": "x", "b": 2},
    ]
    parts: list[Any] = [
        *({"type": kind} for kind in ("null", "boolean", "integer", "number", "string", "array", "object")),
        *({"minimum": 1}, {"maxLength": 1}, {"minItems": 1}, {"uniqueItems": True}, {"required": ["a"]}),
        *({"enum": [1, "ab"]}, {"const": True}, {"properties": {"a": {"type": "string"}}}),
        {"additionalProperties": {"type": "integer"}},
    ]
    schemas = [*parts, *({key: [a, b]} for key in ("anyOf", "oneOf", "allOf") for a in parts for b in parts)]
    for schema in [*schemas, *({"not": part} for part in parts)]:
        checker = other.Draft202012Validator(schema)
        assert [not problem(value, schema) for value in values] == [
            checker.is_valid(value) for value in values
        ]


def test_a_reference_where_there_is_no_schema() -> None:
    assert score('{"a": 1.0, "b": [2]}', '{"b": [2], "a": 1}').value == 1
    assert score('{"a": 1}', '{"a": true}').value == 0
    assert score('{"a": 1}').value is None
    assert score('{"a": 1}', "no JSON").value is None
    assert score('{"guest": "A", "nights": 1}', '{"guest": "B", "nights": 1}', schema=ROOM).value == 1
    assert (
        score('{"guest": "A", "nights": 1}', '{"guest": "B", "nights": 1}', schema=ROOM, equal=True).value
        == 0
    )


PETS = [{"name": "Rex", "age": 3}, {"name": "Tom", "age": 1200}]


def _table(text: str, *references: str, ordered: bool = True, **facts: Any) -> Score:
    example = row(references, facts or {"table": PETS})
    return build_table(ordered=ordered).score([example], [Completion("i", text)])[0]


@pytest.mark.parametrize(
    "text",
    [
        "| name | age |\n|---|---|\n| Rex | 3 |\n| Tom | 1200 |",
        "Of course:\n\n| Age | Name |\n| ---: | :--- |\n| 3.0 | **Rex** |\n| 1,200 | tom |\n\nThat is all.",
        "name,age\nRex,3\nTom,1200",
        '```csv\nage,name\n3,Rex\n"1,200",Tom\n```',
        "name\tage\nRex\t3\nTom\t1200",
        "name;age\nRex;3\nTom;1200",
        '[{"name": "Rex", "age": 3}, {"age": 1200, "name": "Tom"}]',
        "name | age\n--- | ---\nRex | 3\nTom | 1200",
    ],
)
def test_the_same_table_in_other_words_passes(text: str) -> None:
    assert _table(text).value == 1


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("name,age\nRex,3", "1 rows"),
        ("name,age\nRex,3\nTom,12", "row 2, age: it has '12'"),
        ("name,age\nTom,1200\nRex,3", "row 1"),
        ("name,years\nRex,3\nTom,1200", "its columns are"),
        ("name,age,x\nRex,3,1\nTom,1200,1", "its columns are"),
        ("name,age\nRex\nTom,1200", "different lengths"),
        ('name,age\nRex,"3\nTom,1200', "no table"),
        ("", "no table"),
        ("I cannot.", "its columns are"),
        ("[1, 2]", "no table"),
        ("[{]", "no table"),
    ],
)
def test_another_table_does_not(text: str, why: str) -> None:
    found = _table(text)
    assert found.value == 0
    assert why in found.why


def test_tables_without_order_and_by_reference() -> None:
    assert _table("name,age\nTom,1200\nRex,3", ordered=False).value == 1
    assert _table("a,b\n1,2", "| a | b |\n|---|---|\n| 1 | 2 |", none=1).value == 1
    assert _table("a,b\n1,2", none=1).value is None
    assert _table("a,b\n1,2", table=[[1, 2]], columns=["a", "b"]).value == 1
    assert _table("a,b\n1,2", table=[[1], [1, 2]]).value is None


def test_cells() -> None:
    assert read_grid("| a | b\\|c |\n|---|---|\n| | x |") == [["a", "b|c"], ["", "x"]]
    assert normalised([["1,000", "1,00", "-0.50", "007", "1e3", "ＡＢ", "`x`"]]) == [
        ["1000", "1,00", "-0.5", "7", "1000", "ab", "x"]
    ]


def test_an_unusable_schema_says_why() -> None:
    with pytest.raises(UnusableSchema, match="pattern"):
        problem("a", {"pattern": "a"})
