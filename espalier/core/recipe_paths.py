"""Paths in a recipe: one or a list of them, and from where they are meant."""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
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


def anchor(table: dict[str, Any], folder: Path) -> None:
    """Make the relative paths of a recipe's table that lead somewhere from `folder` absolute."""
    places = (
        ("task", "path", may_hold_rows),
        ("model", "name", os.path.isdir),
        ("train", "data", may_hold_rows),
    )
    for section, key, is_one in places:

        def anchored(path: str, is_one: Callable[[Path], bool] = is_one) -> str:
            return str((folder / path).resolve()) if is_one(folder / path) else path

        inner = table.get(section)
        for values in cast("list[object]", inner if isinstance(inner, list) else [inner]):
            if isinstance(values, dict) and key in values:
                values = cast("dict[str, Any]", values)
                values[key] = each_path(values[key], anchored)


def may_hold_rows(path: Path) -> bool:
    """Tell a file, or a folder of files, from the folder of a run that is called like a bundled task."""
    if not os.path.exists(path) and ":" in path.name:  # FOLDER:SPLIT
        path = path.parent / path.name.rpartition(":")[0]
    return os.path.isfile(path) or (os.path.isdir(path) and not os.path.exists(path / "recipe.toml"))
