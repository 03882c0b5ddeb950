"""Choices by name: found, checked against the factory's signature, built; or refused, the nearest named."""

from __future__ import annotations

import sys
from pathlib import Path
from types import ModuleType
from typing import Any, Literal

import pytest

from espalier.core.errors import RecipeError
from espalier.core.registry import Registry

shapes: Registry[dict[str, Any]] = Registry("shape")


@shapes.register("square")
def square(
    *, side: float, colour: Literal["red", "blue"] = "red", tags: list[str] | None = None
) -> dict[str, Any]:
    """Four equal sides.

    More words that no table shows.
    """
    return {"side": side, "colour": colour, "tags": tags}


@shapes.register("point")
def point() -> dict[str, Any]:
    """No sides."""
    return {}


@shapes.register("drawn")
def drawn(*, where: Path = Path("x"), corners: tuple[float, ...] = ()) -> dict[str, Any]:
    """Sides as drawn."""
    return {"where": where, "corners": corners}


def test_a_choice_is_built_with_converted_values() -> None:
    built = shapes.build("square", {"side": 2, "tags": ["a"]})
    assert built == {"side": 2.0, "colour": "red", "tags": ["a"]}
    assert isinstance(built["side"], float)
    built = shapes.build("drawn", {"where": "a/b", "corners": [1, 2.5]})
    assert built == {"where": Path("a/b"), "corners": (1.0, 2.5)}


@pytest.mark.parametrize(
    ("kind", "params", "where", "said"),
    [
        ("squaer", {"side": 1}, "train.shape.kind", "No shape is named 'squaer'. Did you mean 'square'?"),
        ("square", {"side": 1, "color": "red"}, "train.shape.color", "Did you mean 'colour'?"),
        (
            "square",
            {"side": "wide"},
            "train.shape.side",
            "'wide' does not fit: input should be a valid number",
        ),
        ("square", {"side": "2"}, "train.shape.side", "'2' does not fit"),
        ("square", {"side": True}, "train.shape.side", "True does not fit"),
        ("square", {"side": float("inf")}, "train.shape.side", "inf does not fit"),
        ("square", {"side": 1, "colour": "green"}, "train.shape.colour", "'red' or 'blue'"),
        ("square", {"side": 1, "tags": [1]}, "train.shape.tags.0", "1 does not fit"),
        ("square", {}, "train.shape.side", "required and missing"),
        ("point", {"side": 1}, "train.shape.side", "shape 'point' takes no 'side'. Known: none."),
        ("no_such_module:f", {}, "train.shape.kind", "'no_such_module:f' cannot be imported"),
        ("json:lods", {}, "train.shape.kind", "'json' has no function 'lods'. Did you mean 'loads'?"),
        ("json:__doc__", {}, "train.shape.kind", "has no function '__doc__'"),
        (":square", {}, "train.shape.kind", "cannot be imported"),
    ],
)
def test_a_wrong_choice_is_refused_at_its_path(
    kind: str, params: dict[str, Any], where: str, said: str
) -> None:
    with pytest.raises(RecipeError) as caught:
        shapes.build(kind, params, "train.shape")
    assert caught.value.where == where
    assert said in str(caught.value)


def test_the_defaults_of_a_choice_are_filled_in() -> None:
    assert shapes.filled("square", {"side": 2}) == {"side": 2, "colour": "red", "tags": None}
    assert shapes.filled("point", {}) == {}
    with pytest.raises(RecipeError):
        shapes.filled("circle", {})


def test_a_function_of_somebody_else_is_built(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "their_shapes.py").write_text(
        "def circle(*, radius: int = 3):\n    return {'radius': radius}\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    assert shapes.build("their_shapes:circle", {"radius": 4}) == {"radius": 4}
    with pytest.raises(RecipeError, match=r"takes no 'side'. Known: radius"):
        shapes.build("their_shapes:circle", {"side": 4})


@pytest.mark.parametrize(
    ("signature", "said"),
    [
        ("*, side", "has no annotation"),
        ("*sides: int", r"without \*args"),
        ("**rest: int", r"without \*args"),
        ("*, side: 'Unknown'", "'Unknown' is not defined"),
    ],
)
def test_their_function_without_a_schema_is_an_error_of_the_recipe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, signature: str, said: str
) -> None:
    (tmp_path / "open_shapes.py").write_text(f"def circle({signature}):\n    return {{}}\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    monkeypatch.delitem(sys.modules, "open_shapes", raising=False)
    with pytest.raises(RecipeError, match=said):
        shapes.build("open_shapes:circle", {})


def test_factories_without_a_schema_cannot_be_registered() -> None:
    for factory in (lambda *args: {}, lambda **rest: {}, lambda side: {}):
        with pytest.raises(TypeError, match=r"without \*args or|has no annotation"):
            shapes.register("open")(factory)
    with pytest.raises(ValueError, match="two shapes are named 'point'"):
        shapes.register("point")(point)
    assert shapes.names() == ["drawn", "point", "square"]


def test_the_documentation_sees_the_first_line_and_the_parameters() -> None:
    about, parameters = shapes.describe("square")
    assert about == "Four equal sides."
    assert list(parameters) == ["side", "colour", "tags"]


def test_a_plain_value_from_outside_is_none_of_the_sort(monkeypatch: pytest.MonkeyPatch) -> None:
    theirs = ModuleType("theirs")
    exec("def number(): return 3\ndef words(): return 'a'\ndef nothing(): pass", vars(theirs))
    monkeypatch.setitem(sys.modules, "theirs", theirs)
    things: Registry[object] = Registry("thing")
    for name, said in (("number", "3"), ("words", "'a'"), ("nothing", "None")):
        with pytest.raises(RecipeError, match=f"a.b: 'theirs:{name}' gave {said}: no thing"):
            things.build(f"theirs:{name}", {}, "a.b")
