"""Paths in a recipe: one or a list of them, and from where they are meant."""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from pydantic_core import PydanticCustomError


def paths_of(value: object) -> object:
    """Return a path, or several as a tuple; a list of one is that one. Raises an error of pydantic."""
    if isinstance(value, str):
        return value
    items = cast("Sequence[object]", value) if isinstance(value, list | tuple) else ()
    if not items or not all(isinstance(item, str) for item in items):
        raise PydanticCustomError("path", "a path should be a text, or a list of such")
    return items[0] if len(items) == 1 else tuple(items)


def each_path(value: Any, change: Callable[[str], str]) -> Any:
    """Return a path, or each of a list of paths, changed; whatever else it is, as it is."""
    if isinstance(value, list | tuple):
        return [each_path(item, change) for item in cast("Sequence[object]", value)]
    return change(value) if isinstance(value, str) and value else value


@dataclass(frozen=True)
class PathKey:
    """A key of a recipe that holds paths, or names.

    Attributes:
        section, key: where it stands.
        is_one: tells what such a path leads to.
        is_name: tells a name from the path of something that is not there.
        holds: tells a table of the section whose key it is from one where it means something else.
    """

    section: str
    key: str
    is_one: Callable[[Path], bool]
    is_name: Callable[[str], bool] = lambda _: True
    holds: Callable[[Mapping[str, Any]], bool] = lambda _: True


def anchor(
    table: dict[str, Any], folder: Path, keys: Sequence[PathKey] | None = None, names: Collection[str] = ()
) -> set[str]:
    """Make the relative paths of a recipe's table absolute, as meant from `folder`.

    Args:
        table: as TOML gives it; changed.
        folder: of the recipe's file.
        keys: those that hold paths; by default those of a run.
        names: texts that are known to be names, whatever lies in the folder.

    Returns:
        The texts that are names.
    """
    found = set(names)

    def anchored(text: str, key: PathKey) -> str:
        if text not in names and (key.is_one(folder / text) or not key.is_name(text)):
            return str((folder / text).resolve())
        found.add(text)
        return text

    for key in RUN_PATHS if keys is None else keys:
        inner = table.get(key.section)
        for values in cast("list[object]", inner if isinstance(inner, list) else [inner]):
            if isinstance(values, dict) and key.key in values and key.holds(cast("dict[str, Any]", values)):
                values = cast("dict[str, Any]", values)
                values[key.key] = each_path(values[key.key], lambda text, key=key: anchored(text, key))
    return found


def is_pattern(path: str) -> bool:
    """Tell a pattern of files, such as tasks/*.json, from the path of a file that is called so."""
    return any(sign in path for sign in "*?[") and not os.path.lexists(path)


def may_hold_rows(path: Path) -> bool:
    """Tell a file, a pattern or a folder of files, from the folder of a run that is called like a task."""
    if is_pattern(str(path)):
        return True
    if not os.path.exists(path) and ":" in path.name:  # FOLDER:SPLIT
        path = path.parent / path.name.rpartition(":")[0]
    return os.path.isfile(path) or (os.path.isdir(path) and not os.path.exists(path / "recipe.toml"))


RUN_PATHS = (
    PathKey("task", "path", may_hold_rows),
    PathKey("task", "media", os.path.isdir, lambda _: False),
    PathKey("model", "name", os.path.isdir),
    PathKey("train", "data", may_hold_rows),
)
