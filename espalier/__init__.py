"""Instruction tuning on prompt trees: a prompt that many rows share is computed once.

These are the names that a script needs (`docs/python.md`); `docs/tour.md` shows where all else lives. Each is
imported when it is first used, so that `import espalier` costs nothing and torch is loaded by what needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from espalier.api import build, compare, events, load, run, score, tune
    from espalier.core.errors import EspalierError
    from espalier.core.recipe import Recipe, load_recipe
    from espalier.core.records import Completion, Encoded, Estimate, Example, Score, Task, message
    from espalier.encode.template import Template
    from espalier.encode.tree import Tree, build_tree
    from espalier.models.forward import edge_logprobs
    from espalier.runs.model import Model
    from espalier.runs.run import Run
    from espalier.tasks.task_files import load_task
    from espalier.train.objectives import LossSum

__all__ = [
    "Completion",
    "Encoded",
    "EspalierError",
    "Estimate",
    "Example",
    "LossSum",
    "Model",
    "Recipe",
    "Run",
    "Score",
    "Task",
    "Template",
    "Tree",
    "build",
    "build_tree",
    "compare",
    "edge_logprobs",
    "events",
    "load",
    "load_recipe",
    "load_task",
    "message",
    "run",
    "score",
    "tune",
]

_HOMES = {
    "api": ("build", "compare", "events", "load", "run", "score", "tune"),
    "core.errors": ("EspalierError",),
    "core.recipe": ("Recipe", "load_recipe"),
    "core.records": ("Completion", "Encoded", "Estimate", "Example", "Score", "Task", "message"),
    "encode.template": ("Template",),
    "encode.tree": ("Tree", "build_tree"),
    "models.forward": ("edge_logprobs",),
    "runs.model": ("Model",),
    "runs.run": ("Run",),
    "tasks.task_files": ("load_task",),
    "train.objectives": ("LossSum",),
}


def __getattr__(name: str) -> object:
    for home, names in _HOMES.items():
        if name in names:
            return vars(importlib.import_module(f"espalier.{home}"))[name]
    raise AttributeError(f"module 'espalier' has no attribute '{name}'")


def __dir__() -> list[str]:
    return __all__
