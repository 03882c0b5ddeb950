"""What the shell offers while a person types: names of recipes and models, and the folders of runs.

Where nothing is offered, the shell completes file names by itself.
"""

from __future__ import annotations

from pathlib import Path

from espalier.core.bundled_recipes import SUFFIX, bundled_recipes
from espalier.models.bundled import ENCODERS, KNOWN


def recipe_names(incomplete: str) -> list[str]:
    """Return the bundled recipes that begin so."""
    return [name for name in bundled_recipes() if name.startswith(incomplete)]


def recipe_files(incomplete: str) -> list[str]:
    """Return the bundled recipes, and the recipe files of this folder, that begin so."""
    here = [path.name for path in sorted(Path().glob(f"*{SUFFIX}")) if path.name != "pyproject.toml"]
    return [*recipe_names(incomplete), *(name for name in here if name.startswith(incomplete))]


def run_folders(incomplete: str) -> list[str]:
    """Return the runs, here or one folder down, whose path begins so."""
    folder, slash, _ = incomplete.rpartition("/")
    place = Path(folder + slash)
    held = sorted(recipe.parent for depth in ("*", "*/*") for recipe in place.glob(f"{depth}/recipe.toml"))
    here = "./" if incomplete.startswith("./") else ""
    return [f"{here}{run}" for run in held if f"{here}{run}".startswith(incomplete)]


def model_names(incomplete: str) -> list[str]:
    """Return the bundled models that begin so."""
    return [name for name in KNOWN if name.startswith(incomplete)]


def package_names(incomplete: str) -> list[str]:
    """Return the bundled models and encoders that begin so."""
    return [name for name in (*KNOWN, *ENCODERS) if name.startswith(incomplete)]


def talkers(incomplete: str) -> list[str]:
    """Return the runs, and the bundled models, that begin so."""
    return [*run_folders(incomplete), *(model_names(incomplete) if incomplete else [])]
