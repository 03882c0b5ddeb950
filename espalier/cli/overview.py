"""What can be said of the training rows before any training: tokens, sharing, and what is trained in them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from espalier.encode.batches import build_trees, schedule_rows, steps_per_epoch
from espalier.encode.tree import stats

if TYPE_CHECKING:
    from espalier.core.recipe import Recipe
    from espalier.core.records import Encoded
    from espalier.encode.template import Template


def overview(rows: list[Encoded], recipe: Recipe, template: Template) -> dict[str, Any]:
    """Return the numbers of one epoch, and the first row token by token with what is trained in it."""
    steps = steps_per_epoch(len(rows), recipe.train[0].rows)
    rows_at = schedule_rows(rows, recipe.train[0].rows, recipe.seed)
    sizes = [
        [stats(tree) for tree in build_trees(rows_at(step), recipe.train[0].tokens)] for step in range(steps)
    ]
    trees = [size for step in sizes for size in step]
    return {
        "rows": len(rows),
        "steps": steps,
        "trees": len(trees),
        "tokens": sum(size.row_tokens for size in trees),
        "distinct_tokens": sum(size.distinct_tokens for size in trees),
        "trained_tokens": sum(sum(weight > 0 for weight in row.weights) for row in rows),
        "longest": max(len(row.ids) for row in rows),
        "first": {
            "pieces": template.pieces(rows[0].ids),
            "trained": [weight > 0 for weight in rows[0].weights],
        },
    }
