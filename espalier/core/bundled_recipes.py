"""Recipes by name: those that ship with the package, beside files of one's own."""

from __future__ import annotations

import os
from importlib.resources import files
from pathlib import Path
from typing import Literal

from espalier.core.errors import DataError, nearest

SUFFIX = ".toml"
BUILD = "build-"  # how the names of recipes of data sets begin


def bundled_recipes() -> dict[str, Path]:
    """Return the file of each recipe that ships with the package, by its name."""
    folder = Path(str(files("espalier") / "recipes"))
    return {path.stem: path for path in sorted(folder.glob(f"*{SUFFIX}"))}


def recipe_path(recipe: str | Path, sort: Literal["run", "build", "study"] = "run") -> Path:
    """Return the file of a recipe: the path itself, or that of a bundled recipe with this name.

    A file that exists goes before a bundled recipe of that name. Those of a build are called so; no study is
    bundled.

    Raises:
        DataError: there is neither; the nearest file and the bundled names are given.
    """
    path = Path(recipe)
    kinds = {name: "build" if name.startswith(BUILD) else "run" for name in bundled_recipes()}
    bundled = {name: file for name, file in bundled_recipes().items() if kinds[name] == sort}
    # A folder of that name, such as the run's own, is not in a bundled recipe's way.
    if str(recipe) in bundled and not os.path.isfile(path):
        return bundled[str(recipe)]
    own = path / ("study.toml" if sort == "study" else "recipe.toml")
    if os.path.isfile(own):
        what = "study's file" if sort == "study" else "recipe"
        raise DataError(
            f"This is a folder; a {what} was expected.", where=str(path), hint=f"Its own is {own}."
        )
    if _there(path):
        return path
    if sort == "study" and str(recipe) in kinds:
        raise DataError(
            "This is a recipe and no study.",
            where=str(path),
            hint=f'A study is a file with recipe = "{recipe}" and a [[factor]].',
        )
    near = [name for name in _beside(path) if name.endswith(SUFFIX) and name != "pyproject.toml"]
    near = [name for name in near if sort != "study" or _varies(path.parent / name)][:20]
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


def _varies(file: Path) -> bool:
    """Say whether a file seems to be a study's."""
    try:
        return "factor" in file.read_text("utf-8", errors="replace")
    except OSError:
        return False


def _beside(path: Path) -> list[str]:
    try:
        return [entry.name for entry in path.parent.iterdir()]
    except OSError:
        return []
