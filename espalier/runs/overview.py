"""What can be said of the training rows before any training: tokens, sharing, and what is trained in them."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

from espalier.encode.batches import rows_of_trees, schedule, steps_per_epoch, tree_sizes
from espalier.encode.media import media_tokens

if TYPE_CHECKING:
    from espalier.core.records import Encoded
    from espalier.encode.template import Template
    from espalier.encode.tokens import Unit
    from espalier.runs.plan import Stage


def overview(stage: Stage, seed: int, template: Template) -> dict[str, Any]:
    """Return the numbers of one epoch, and the first row token by token with what is trained in it."""
    size, tokens = stage.section.rows, stage.section.tokens
    units = learned(stage)
    steps = steps_per_epoch(len(units), size)
    units_at = schedule(units, size, seed)
    trees = [
        size for step in range(steps) for size in tree_sizes([unit.rows for unit in units_at(step)], tokens)
    ]
    rows = [row for unit in units for row in unit.rows]
    media: dict[str, int] = {}
    if taken := sum(media_tokens(row.ids) for row in rows):
        groups = (rows_of_trees([unit.rows for unit in units_at(step)], tokens) for step in range(steps))
        distinct = ({token for row in tree for token in row.ids} for trees in groups for tree in trees)
        media = {"media_tokens": taken, "distinct_media_tokens": sum(map(media_tokens, distinct))}
    first = visible(stage, rows[0])
    return {
        "rows": len(rows),
        "steps": steps,
        "trees": len(trees),
        "tokens": sum(size.row_tokens for size in trees),
        "distinct_tokens": sum(size.distinct_tokens for size in trees),
        "trained_tokens": sum(len(row.weights) - row.weights.count(0.0) for row in rows),
        "longest": max(len(row.ids) for row in rows),
        **media,
        "first": {
            "pieces": template.pieces(first.ids),
            "trained": [weight > 0 for weight in first.weights],
        },
    }


def row_by_row(event: dict[str, Any]) -> dict[str, Any]:
    """Return an event of a model whose rows share nothing: every token of each is computed."""
    return {**event, "distinct_tokens": event["tokens"]} if "distinct_tokens" in event else event


def learned(stage: Stage) -> list[Unit]:
    """Return the stage's units with those rows that its objectives learn from; all, if they learn from none.

    That is so where a model learns from its own answers alone: then these rows show what it is asked.
    """
    kept: list[Unit] = []
    for unit in stage.encoded.units:
        rows = [row for objective, _ in stage.shared for row in objective.learns(unit)]
        if rows != [*unit.rows]:
            taken = set(rows)
            unit = replace(unit, rows=tuple(row for row in unit.rows if row in taken))
        kept.append(unit)
    kept = kept if any(unit.rows for unit in kept) else stage.encoded.units
    if stage.rates:
        from espalier.models.reward import as_rated

        kept = [replace(unit, rows=tuple(map(as_rated, unit.rows))) for unit in kept]
    return [unit for unit in kept if unit.rows]


def visible(stage: Stage, row: Encoded) -> Encoded:
    """Return a row of `learned` as a person may see it: a reward model's number is at its last real token."""
    return replace(row, ids=row.ids[:-1], weights=row.weights[1:]) if stage.rates else row
