"""Recipes by name: those that ship with the package, beside files of one's own."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path

from espalier.core.errors import DataError, nearest

SUFFIX = ".toml"
BUILD = "build-"  # how the names of recipes of data sets begin


def bundled_recipes() -> dict[str, Path]:
    """Return the file of each recipe that ships with the package, by its name."""
    folder = Path(str(files("espalier") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def recipe_path(recipe: str | Path, *, build: bool = False) -> Path:
    """Return the file of a recipe: the path itself, or that of a bundled recipe with this name.

    A file that exists goes before a bundled recipe of that name. Those of a `build` are called so.

    Raises:
        DataError: there is neither; the nearest file and the bundled names are given.
    """
    path = Path(recipe)
    bundled = {name: file for name, file in bundled_recipes().items() if name.startswith(BUILD) == build}
    # A folder of that name, such as the run's own, is not in a bundled recipe's way.
    if str(recipe) in bundled and not os.path.isfile(path):
        return bundled[str(recipe)]
    if os.path.isfile(path / "recipe.toml"):
        own = f"Its own is {path / 'recipe.toml'}."
        raise DataError("This is a folder; a recipe was expected.", where=str(path), hint=own)
    if _there(path):
        return path
    near = [name for name in _beside(path) if name.endswith(SUFFIX) and name != "pyproject.toml"][:20]
    named = ", and no bundled recipe of this name" if bundled else ""
    raise DataError(
        f"There is no such file{named}.",
        where=str(path),
        hint=nearest(path.stem if path.stem in bundled else path.name, [*near, *bundled]),
    )


def _there(path: Path) -> bool:
    """Say whether something is there, if only to be told why it cannot be read."""
    try:
        path.stat()
    except (FileNotFoundError, NotADirectoryError, ValueError):  # the last: a name with a null character
        return False
    except OSError:
        return True
    return True


def _beside(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return []
