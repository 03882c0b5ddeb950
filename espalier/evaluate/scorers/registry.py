"""The scorers by name. A scorer judges one completion; means and intervals are made in `statistics.py`.

A new one is a factory with `@scorers.register("name")` in a module of this folder that `harness.py` imports,
or `kind = "my_module:function"` in the recipe.
"""

from __future__ import annotations

from espalier.core.records import Scorer
from espalier.core.registry import Registry

scorers: Registry[Scorer] = Registry("scorer")
