"""What a recipe is made of: tables with known keys, and choices of a factory by its name."""

from __future__ import annotations

import ast
import inspect
from itertools import pairwise
from typing import TYPE_CHECKING, Any, cast, get_args

from pydantic import BaseModel, ConfigDict

if TYPE_CHECKING:
    from collections.abc import Iterator


class Section(BaseModel):
    """A table of the recipe: frozen, and unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)


class Choice(BaseModel):
    """A factory by name, with its parameters: `{kind = "lora", rank = 8}`, or just `"lora"`."""

    model_config = ConfigDict(frozen=True, extra="allow")
    kind: str

    @property
    def params(self) -> dict[str, Any]:
        """The parameters that go to the factory."""
        return dict(self.model_extra or {})


def keys_of(section: type[BaseModel]) -> Iterator[tuple[str, Any]]:
    """Yield every key of the schema as (TOML path, pydantic field), depth first."""
    return ((path, field) for _, path, field in _fields(section, ""))


def explained(section: type[BaseModel]) -> Iterator[tuple[str, str]]:
    """Yield the same keys with what stands under each: pydantic would read the source at every start."""
    for own, path, _ in _fields(section, ""):
        body = cast("ast.ClassDef", ast.parse(inspect.getsource(own)).body[0]).body
        lines = [(ast.unparse(one), ast.unparse(other)) for one, other in pairwise(body)]
        text = next(under for line, under in lines if line.startswith(f"{path.rpartition('.')[2]}:"))
        yield path, inspect.cleandoc(ast.literal_eval(text))


def _fields(section: type[BaseModel], prefix: str) -> Iterator[tuple[type[BaseModel], str, Any]]:
    for name, field in section.model_fields.items():
        inner = [t for t in (field.annotation, *get_args(field.annotation)) if _is_section(t)]
        if inner:
            yield from _fields(cast("type[BaseModel]", inner[0]), f"{prefix}{name}.")
        else:
            yield section, f"{prefix}{name}", field


def _is_section(kind: object) -> bool:
    return isinstance(kind, type) and issubclass(kind, Section)
