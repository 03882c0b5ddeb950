"""The keys of servers, which the environment holds and no file does."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from espalier.builds.recipe import BuildRecipe


def key_of(recipe: BuildRecipe) -> str:
    """Return the key of a build's server; "" where the recipe names no server, or nobody has set one."""
    return os.environ.get(recipe.model.key_env, "") if recipe.model.server else ""
