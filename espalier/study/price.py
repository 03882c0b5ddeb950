"""What a study will take: one training of each cost is begun and thrown away, and a few answers are timed.

Trainings cost alike where they move the same weights of one model in the same steps; what they learn from may
be more or less text, and costs in proportion. What is done is not counted.
"""

from __future__ import annotations

import math
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from espalier.core.files import content_hash
from espalier.runs.events import say
from espalier.runs.plan import chosen
from espalier.runs.prepare import prepare

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from espalier.core.recipe import Recipe
    from espalier.core.records import Example
    from espalier.runs.prepare import Prepared
    from espalier.study.cells import Planned, Training

ASKED = 16  # answers that are timed
FREE = {"rate", "epochs", "warmup", "schedule", "clip", "decay", "noise", "checkpoint", "data"}


@dataclass(frozen=True, slots=True)
class Price:
    """Seconds of a study that are still to be spent.

    Attributes:
        training: of all trainings.
        answering: of all answers, base models' too.
        loading: of reading models.
        probed: how many trainings were begun for it.
    """

    training: float
    answering: float
    loading: float
    probed: int

    @property
    def seconds(self) -> float:
        """All of it."""
        return self.training + self.answering + self.loading


@dataclass
class _Probed:
    """What a training of one cost takes: for each letter that it learns, for an answer, for loading."""

    letter: float
    answer: float
    own: float
    load: float


@dataclass
class _Known:
    """Rows by what they are of, read once."""

    rows: dict[str, Prepared] = field(default_factory=dict[str, "Prepared"])

    def of(self, recipe: Recipe) -> Prepared:
        told = [recipe.task.model_dump(), recipe.data.model_dump(), recipe.split_seed]
        key = content_hash(told)
        if key not in self.rows:
            self.rows[key] = prepare(recipe)
        return self.rows[key]


def price(plan: Planned, left: Sequence[Training], done: Collection[str], cache: Path) -> Price:
    """Return what is left to spend.

    Args:
        plan: the study.
        left: trainings with something to do.
        done: names of the trainings and the cells that are.
        cache: folder of converted models.

    Raises:
        EspalierError: a training cannot be begun.
    """
    rows, found = _Known(), dict[str, _Probed]()
    training = answering = loading = 0.0
    bases: set[str] = set()
    for one in left:
        key = _cost(one.recipe)
        if key not in found:
            say(f"Probing {one.name}: two steps and a few answers, of which nothing is kept.")
            found[key] = _probe(one.recipe, rows.of(one.recipe), cache)
        probed = found[key]
        if one.name not in done:
            training += probed.letter * _letters(one.recipe, rows.of(one.recipe))
            made = rows.of(one.recipe)
            loading += 2 * probed.load
            prompts = content_hash([[turn.text for turn in row.prompt] for row in made.test])
            if prompts not in bases:
                answering += probed.answer * len(made.test)
            bases.add(prompts)
            answering += probed.own * len(made.test)
        cells = [cell for cell in one.cells if not cell.run and cell.name not in done]
        answering += probed.own * sum(len(rows.of(cell.recipe).test) for cell in cells)
        loading += probed.load * bool(cells)
    return Price(training, answering, loading, len(found))


def _cost(recipe: Recipe) -> str:
    """Return a name of what a training costs for each letter."""
    stages = [stage.model_dump(mode="json", exclude=FREE) for stage in recipe.train]
    return content_hash([stages, recipe.model.model_dump(mode="json"), recipe.decode.kind])


def _letters(recipe: Recipe, made: Prepared) -> float:
    """Return how many letters are learned from, over all epochs and stages."""
    epochs = sum(stage.epochs for stage in recipe.train)
    return epochs * sum(len(turn.text) for row in made.train for turn in row.messages)


def _probe(recipe: Recipe, made: Prepared, cache: Path) -> _Probed:
    """Begin a training, and time a few answers of its model as it is."""
    from espalier.runs.answers import answers_of
    from espalier.runs.forecast import forecasts
    from espalier.trials.evaluation import local_model

    ahead = [one.seconds for _, one, _ in forecasts(chosen(recipe, made), cache)]
    begun = time.monotonic()
    local = local_model(recipe, None, cache)
    load = time.monotonic() - begun
    some = made.test[:: max(1, math.ceil(len(made.test) / ASKED))]
    answers_of(local, some[:1], recipe.decode, lambda: None)  # in a cold process
    begun = time.monotonic()
    answers = answers_of(local, some, recipe.decode, lambda: None)
    answer = (time.monotonic() - begun) / len(some)
    written = sum(len(one.text) for one in answers if one.sample == 0)
    return _Probed(sum(ahead) / _letters(recipe, made), answer, answer * _shorter(some, written), load)


def _shorter(rows: Sequence[Example], written: int) -> float:
    """Return how much shorter answers will be once they are learned: as references are, or not at all."""
    wanted = sum(len(row.answer) for row in rows)
    return min(1.0, wanted / written) if written else 1.0
