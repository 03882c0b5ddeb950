"""What a recipe would train on, before any training: rows, the trees of the first step, what is left out."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from dataclasses import dataclass
from itertools import accumulate, groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.run import RunFolder
from espalier.encode.batches import build_trees, schedule
from espalier.models.load import load_template
from espalier.models.places import find_model
from espalier.runs.events import working
from espalier.runs.in_tokens import once_each
from espalier.runs.judging import answer_limit, try_judges
from espalier.runs.load import dated_as, rendering_of
from espalier.runs.overview import learned, overview, visible
from espalier.runs.plan import stages_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.core.records import Encoded
    from espalier.encode.template import Template
    from espalier.encode.tree import Tree
    from espalier.evaluate.score_records import Limit
    from espalier.runs.plan import Choices, Stage

PARTED = "·"  # inside the name of a special token that is text


@dataclass(frozen=True)
class Look:
    """A stage as it would be trained.

    Attributes:
        rows: as a person may see them.
        trees: of its first step.
        numbers: of one epoch; see `overview`.
        size: rows of a step.
        rewards: what its own answers are rewarded for, with the weights.
    """

    rows: Sequence[Encoded]
    trees: Sequence[Tree]
    numbers: Mapping[str, Any]
    size: int
    rewards: Mapping[str, float]


@dataclass(frozen=True)
class Inspection:
    """All that a recipe would train on.

    Attributes:
        template: of the model.
        notes: what is said of the rows.
        stages: in their order.
        rejects: the rows that are left out, each with where and why.
        limit: of answers; see `answer_limit`. None where the model rates and writes none.
    """

    template: Template
    notes: Sequence[str]
    stages: Sequence[Look]
    rejects: Sequence[Mapping[str, str]]
    limit: Limit | None


@dataclass(frozen=True)
class Branch:
    """A node of a tree: how many tokens it has, their text, and what goes on from it."""

    tokens: int
    text: str
    children: Sequence[Branch]

    @property
    def whole(self) -> int:
        """Its tokens with those of all that goes on from it."""
        return self.tokens + sum(child.whole for child in self.children)


def inspect_recipe(choices: Choices, cache: Path) -> Inspection:
    """Turn the rows into tokens as a run would, with the model's tokenizer alone.

    Raises:
        ModelError: the model cannot be found.
        DataError, RecipeError, TemplateError: the run would be refused for it.
    """
    recipe, prepared = choices.recipe, choices.prepared
    with working("Getting ready") as tell:
        if not choices.rates:
            try_judges(choices)
        place = find_model(recipe.model.name, cache, tell)
        run = RunFolder(Path(recipe.folder) / recipe.name)
        template = load_template(place, recipe.model.encoders, recipe.model.pixels)
        template = template.under(dated_as(run, rendering_of(recipe)))
        stages = stages_of(choices, template, Path())
    limit = None if choices.rates else answer_limit(prepared.test, template, choices.strategy.limit)
    rejects = once_each(
        [*prepared.rejects, *(reject for stage in stages for reject in stage.encoded.rejects)]
    )
    looks = [_look(stage, recipe.seed, template) for stage in stages]
    return Inspection(template, prepared.notes, looks, rejects, limit)


def _look(stage: Stage, seed: int, template: Template) -> Look:
    units, size = learned(stage), stage.section.rows
    return Look(
        rows=[visible(stage, row) for unit in units for row in unit.rows],
        trees=build_trees([unit.rows for unit in schedule(units, size, seed)(0)], stage.section.tokens),
        numbers=overview(stage, seed, template),
        size=size,
        rewards={name: weight for objective, _ in stage.shared for name, weight in objective.rewards.items()},
    )


def stretches(row: Encoded, template: Template) -> list[tuple[str, bool]]:
    """Return a row's text in stretches, and of each whether it is trained."""
    pieces = zip(parted(template.pieces(row.ids), template.control), row.weights, strict=True)
    found = groupby(pieces, key=lambda piece: piece[1] > 0)
    return [("".join(piece for piece, _ in stretch), trained) for trained, stretch in found]


def parted(pieces: list[str], names: re.Pattern[str]) -> list[str]:
    """Return the pieces of a text with a dot in every name of a special token where two tokens meet in it."""
    ends = list(accumulate(map(len, pieces)))
    marked = [*pieces]
    for name in names.finditer("".join(pieces)):
        for at in range(bisect_right(ends, name.start()), bisect_left(ends, name.end())):
            marked[at] += PARTED
    return marked


def branches(tree: Tree, template: Template) -> list[Branch]:
    """Return what begins at the root of a tree."""
    below: dict[int, list[int]] = {}
    for node, parent in enumerate(tree.parents.tolist()):
        below.setdefault(parent, []).append(node)

    def grown(node: int) -> list[Branch]:
        return [
            Branch(end - start, "".join(template.pieces(tree.ids[start:end].tolist())), grown(child))
            for child in below.get(node, [])
            for start, end in [tree.node_spans[child].tolist()]
        ]

    return grown(-1)
