"""What a claim will cost and could see, before anything is trained.

Seconds are of the bundled model on two quiet cores, all its weights trained in bf16 (docs/benchmarks.md: 11.6
to 25.6 s for steps of 3,445 to 7,348 distinct tokens, 6 to 7.5 s for 100 short answers). What could be seen
follows from the number of rows and seeds, and from spreads that the claim's file assumes.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.claims.measures import Weights
from espalier.comparison.significance import Spread
from espalier.core.files import content_hash
from espalier.evaluate.statistics import Z
from espalier.runs.prepare import prepare
from espalier.study.cells import planned

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from espalier.claims.claim import Claim
    from espalier.claims.measures import Measuring
    from espalier.core.recipe import Recipe
    from espalier.core.records import Example
    from espalier.study.cells import Planned

TOKEN = 0.0037  # seconds of a distinct token in training
ANSWER = 0.1  # of an answer that is written
ROUND = 20.0  # of a training besides: loading, writing, the page
LETTERS = 4.5  # of a token


@dataclass(frozen=True)
class Promise:
    """What a claim is planned to be.

    Attributes:
        minutes: that it will take.
        trainings: that it needs.
        rows: that are scored.
        visible: the smallest true effect that it would mostly show, in points; of a claim that two are alike
            the smallest margin that it would mostly show.
        plan: of a study; None of runs.
        recipes: of runs.
    """

    minutes: float
    trainings: int
    rows: int
    visible: float
    plan: Planned | None
    recipes: Sequence[Recipe]


def promised(claim: Claim, measuring: Measuring, folder: Path) -> Promise:
    """Plan a claim. Only derived files are written.

    Raises:
        EspalierError: its study does not fit, in a sentence.
    """
    if claim.study.factor:
        plan = planned(claim.asked(folder))
        assert measuring.weights is not None
        weights = measuring.weights(plan.factors, plan.layout)
        recipes, asked = [one.recipe for one in plan.trainings], len(plan.cells)
    else:
        plan, weights = None, Weights(measuring.squares)
        recipes = claim.recipes(folder)
        asked = len(recipes)
    rows, seconds = 0, 0.0
    learned: dict[str, list[Example]] = {}  # by what is read: seeds have the same rows
    for recipe in recipes:
        key = content_hash([recipe.task.model_dump(mode="json"), recipe.data.model_dump(mode="json")])
        if key not in learned:
            made = prepare(recipe)
            rows, learned[key] = len(made.test), made.train
        seconds += ROUND + sum(_trained(learned[key], one.rows, one.epochs) for one in recipe.train)
    read = measuring.asked or rows
    seconds += (asked + 1) * rows * ANSWER + read * measuring.extra  # one more for the base model
    visible = _visible(claim, weights, read)
    return Promise(seconds / 60, len(recipes), rows, visible, plan, recipes)


def _trained(rows: Sequence[Example], step: int, epochs: float) -> float:
    """Return the seconds of a training: what rows share is computed once a step."""
    if not rows:
        return 0.0
    whole = [sum(len(turn.text) for turn in row.messages) for row in rows]
    inner = [len(row.input) + len(row.answer) if row.input else 0 for row in rows]
    inner = [len(row.input) + len(row.answer) if row.input else 0 for row in rows]
    own = [part or size for part, size in zip(inner, whole, strict=True)]
    shared = max(size - part for size, part in zip(whole, own, strict=True))
    steps = max(1.0, math.ceil(len(rows) / step) * epochs)
    return (epochs * sum(own) + steps * shared) / LETTERS * TOKEN


def _visible(claim: Claim, weights: Weights, rows: int) -> float:
    if not rows:
        return math.nan
    seeds = len(claim.study.seeded)
    arm = Z * claim.assumed.rows * math.sqrt(weights.squares / rows)
    retraining = claim.assumed.seeds * math.sqrt(weights.squares / seeds) if seeds > 1 else 0.0
    spread = Spread(0.0, arm, arm, retraining, weights.sides * (seeds - 1))
    return spread.provable() if claim.rule.direction == "within" else spread.detectable()
