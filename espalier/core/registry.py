"""Choices by name: `kind = "rouge_l"` in a recipe, or `kind = "my_module:function"` from outside the package.

A choice is a factory function, and its signature is its schema: parameters must be keyword-only with a type
and a default (or be required), and a recipe's values are checked against the annotations by pydantic. To add
one, write one function with one decorator; nothing else has to know about it.

A parameter whose type is a dataclass is spread: a recipe sets the fields by their own names, so that settings
which several factories take stand in one place.
"""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from dataclasses import fields, is_dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast, get_type_hints

from pydantic import BaseModel, ConfigDict, Field, ValidationError, create_model

from espalier.core.errors import RecipeError, nearest
from espalier.core.outside import note

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Mapping

T = TypeVar("T")
REMEMBERED = 256  # schemas


class Registry(Generic[T]):
    """Factories of one sort, by name.

    Args:
        sort: the word that errors use: 'scorer', 'objective', …
        modules: those that register more of them, imported when a name is first asked for.
        foreign: from what somebody else's factory gives, and its name, to what is taken of it.
    """

    def __init__(self, sort: str, *modules: str, foreign: Callable[[Any, str], T] | None = None) -> None:
        self.sort = sort
        self._foreign = foreign
        self._modules = modules
        self._registered: dict[str, Callable[..., T]] = {}

    def register(self, name: str) -> Callable[[Callable[..., T]], Callable[..., T]]:
        """Decorate a factory so that recipes can name it."""

        def keep(factory: Callable[..., T]) -> Callable[..., T]:
            if name in self._registered:
                raise ValueError(f"two {self.sort}s are named '{name}'")
            _parameters(factory)
            self._registered[name] = factory
            return factory

        return keep

    @property
    def _factories(self) -> dict[str, Callable[..., T]]:
        for module in self._modules:
            importlib.import_module(module)
        return self._registered

    def names(self) -> list[str]:
        """Return the registered names, sorted."""
        return sorted(self._factories)

    def describe(self, name: str) -> tuple[str, dict[str, inspect.Parameter]]:
        """Return the first line of a factory's docstring and its parameters, for the documentation."""
        factory = self._factories[name]
        return (inspect.getdoc(factory) or "").split("\n", 1)[0], _parameters(factory)

    def find(self, kind: str, where: str = "kind") -> Callable[..., T]:
        """Return the factory of that name, or the function that 'module:function' names."""
        if kind in self._factories:
            return self._factories[kind]
        if ":" in kind:
            return cast("Callable[..., T]", _factory(kind, where))
        raise RecipeError(
            f"No {self.sort} is named '{kind}'.", where=where, hint=nearest(kind, self._factories)
        )

    def keys(self, kind: str, where: str = "kind") -> frozenset[str]:
        """Return what a factory can be given; raises RecipeError where there is none of that name."""
        return frozenset(_parameters(self.find(kind, where)))

    def filled(self, kind: str, params: Mapping[str, Any]) -> dict[str, Any]:
        """Return `params` with the factory's defaults for those that are not given; raises RecipeError."""
        parameters = _parameters(self.find(kind)).items()
        return {**{k: p.default for k, p in parameters if p.default is not inspect.Parameter.empty}, **params}

    def build(self, kind: str, params: Mapping[str, Any], where: str = "") -> T:
        """Check `params` against the factory's signature and call it.

        Raises:
            RecipeError: unknown kind, unknown or missing parameter, or a value of the wrong type.
        """
        factory = self.find(kind, f"{where}.kind" if where else "kind")
        made = factory(**checked(factory, params, where, f"{self.sort} '{kind}'"))
        if kind in self._factories:
            return made
        if self._foreign:
            return self._foreign(made, kind)
        if made is None or isinstance(made, int | float | str):
            raise RecipeError(f"'{kind}' gave {made!r}: no {self.sort}.", where=where)
        return made


def checked(factory: Callable[..., Any], params: Mapping[str, Any], where: str, name: str) -> dict[str, Any]:
    """Return what `factory` is called with: `params` converted to the types that it annotates.

    Raises:
        RecipeError: an unknown or missing parameter, or a value of the wrong type.
    """
    parameters = _parameters(factory)
    for key in params:
        if key not in parameters:
            place = f"{where}.{key}" if where else key
            raise RecipeError(f"{name} takes no '{key}'.", where=place, hint=nearest(key, parameters))
    try:
        # Strict by way of JSON, as for the recipe itself: "2" is no number, but a list is a tuple.
        valid = _schema(factory).model_validate_json(json.dumps(dict(params), default=str), strict=True)
    except ValidationError as error:
        raise recipe_error(error, where) from None
    given = {key: getattr(valid, f"of_{key}") for key in parameters}
    return {
        p.name: _gathered(p.annotation, given) if is_dataclass(p.annotation) else given[p.name]
        for p in _declared(factory)
    }


@lru_cache(REMEMBERED)
def _schema(factory: Callable[..., Any]) -> type[BaseModel]:
    """Return what checks a factory's parameters. To make it takes longer than to use it."""
    # By another name within: a parameter may be called as a model's own methods are ("schema").
    fields: Any = {
        f"of_{key}": (p.annotation, Field(... if p.default is p.empty else p.default, alias=key))
        for key, p in _parameters(factory).items()
    }
    return create_model(
        "Parameters",
        __config__=ConfigDict(extra="forbid", allow_inf_nan=False, arbitrary_types_allowed=True),
        **fields,
    )


def recipe_error(error: ValidationError, where: str = "") -> RecipeError:
    """Return the first problem of a pydantic error as one sentence at its TOML path."""
    first = error.errors()[0]
    path = ".".join(str(step) for step in (*([where] if where else []), *first["loc"]))
    if first["type"] == "missing":
        return RecipeError("This key is required and missing.", where=path)
    message = first["msg"][0].lower() + first["msg"][1:]
    listed = first["type"] in ("tuple_type", "list_type") and isinstance(first["input"], str)
    hint = f'Write a list: ["{first["input"]}"].' if listed else ""
    return RecipeError(f"{first['input']!r} does not fit: {message}.", where=path, hint=hint)


def _parameters(factory: Callable[..., Any]) -> dict[str, inspect.Parameter]:
    """Return the keys that a recipe may set, those of dataclasses among them."""
    return {own.name: own for parameter in _declared(factory) for own in _spread(parameter)}


def _declared(factory: Callable[..., Any]) -> list[inspect.Parameter]:
    # Only what the parameters say is evaluated: a result's type may be known to type checkers alone.
    known = vars(sys.modules[factory.__module__])
    parameters = [
        parameter.replace(annotation=eval(parameter.annotation, known))
        if isinstance(parameter.annotation, str)
        else parameter
        for parameter in inspect.signature(factory).parameters.values()
    ]
    for parameter in parameters:
        if parameter.kind in (parameter.VAR_POSITIONAL, parameter.VAR_KEYWORD):
            raise TypeError(
                f"{factory.__qualname__}: a factory names its parameters, without *args or **kwargs"
            )
        if parameter.annotation is parameter.empty:
            raise TypeError(f"{factory.__qualname__}: the parameter '{parameter.name}' has no annotation")
    return parameters


def _spread(parameter: inspect.Parameter) -> Iterator[inspect.Parameter]:
    """Yield a parameter; in place of a dataclass its fields, with the values of the default."""
    if not is_dataclass(parameter.annotation):
        yield parameter
        return
    types = get_type_hints(parameter.annotation)
    for field in fields(parameter.annotation):
        default = getattr(parameter.default, field.name)
        yield from _spread(parameter.replace(name=field.name, annotation=types[field.name], default=default))


def _gathered(kind: Any, given: Mapping[str, Any]) -> Any:
    """Return a dataclass of the values of its fields. Raises what it raises."""
    types = get_type_hints(kind)
    own = {
        field.name: _gathered(types[field.name], given)
        if is_dataclass(types[field.name])
        else given[field.name]
        for field in fields(kind)
    }
    return kind(**own)


def imported(kind: str, where: str) -> Callable[..., object]:
    """Return the function that 'module:function' names. Raises RecipeError where there is none."""
    module_name, _, function = kind.partition(":")
    note(module_name, function)
    try:
        module = importlib.import_module(module_name)
    except (ImportError, SyntaxError, ValueError) as error:
        raise RecipeError(f"'{kind}' cannot be imported: {error}.", where=where) from None
    known = {name: value for name, value in vars(module).items() if callable(value) and name[:1] != "_"}
    if function not in known:
        raise RecipeError(
            f"'{module_name}' has no function '{function}'.", where=where, hint=nearest(function, known)
        )
    return known[function]


def _factory(kind: str, where: str) -> Callable[..., object]:
    """Return somebody else's factory, held to the same rules as ours."""
    factory = imported(kind, where)
    try:
        _parameters(factory)
    except (TypeError, ValueError, NameError) as error:
        raise RecipeError(f"'{kind}' cannot be used as a factory: {error}.", where=where) from None
    return factory
