"""Instruction tuning on prompt trees: a prompt that many rows share is computed once.

These are the names that a script needs; `docs/tour.md` shows where everything else lives. Each is imported
when it is first used, so that `import espalier` costs nothing and torch is loaded only by what needs it.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from espalier.core.errors import EspalierError
    from espalier.core.recipe import Recipe, load_recipe
    from espalier.core.records import Completion, Encoded, Estimate, Example, Score, Task, message
    from espalier.data.split import split
    from espalier.data.templates import Show, to_examples
    from espalier.decode.engine import generate
    from espalier.encode.template import Template
    from espalier.encode.tree import Tree, build_tree
    from espalier.models.forward import edge_logprobs
    from espalier.models.load import find_model, load_model
    from espalier.report.page import write_report
    from espalier.tasks.task_files import load_task
    from espalier.train.objectives import LossSum

__all__ = [
    "Completion",
    "Encoded",
    "EspalierError",
    "Estimate",
    "Example",
    "LossSum",
    "Recipe",
    "Score",
    "Show",
    "Task",
    "Template",
    "Tree",
    "build_tree",
    "edge_logprobs",
    "find_model",
    "generate",
    "load_model",
    "load_recipe",
    "load_task",
    "message",
    "split",
    "to_examples",
    "write_report",
]

_HOMES = {
    "core.errors": ("EspalierError",),
    "core.recipe": ("Recipe", "load_recipe"),
    "core.records": ("Completion", "Encoded", "Estimate", "Example", "Score", "Task", "message"),
    "data.split": ("split",),
    "data.templates": ("Show", "to_examples"),
    "decode.engine": ("generate",),
    "encode.template": ("Template",),
    "encode.tree": ("Tree", "build_tree"),
    "models.forward": ("edge_logprobs",),
    "models.load": ("find_model", "load_model"),
    "report.page": ("write_report",),
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
