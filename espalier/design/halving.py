"""Sequential halving over many settings: the better half goes on with twice the epochs, round after round.

Settings are all levels with all, or so many drawn at random. What chooses is not what is scored in the end:
rounds learn from a part of the training rows and are scored on the rest, with a seed of their own, and never
see the test set. Two settings drawn at random are not halved but trained in full from the first round on:
they show what halving missed. The chosen setting and the better of these two are then trained on all training
rows with the study's seeds, and scored on the test set once.

Karnin et al. 2013 (ICML); Jamieson and Talwalkar 2016 (arXiv 1502.07943).
"""

from __future__ import annotations

import math
import random
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING

from espalier.core.errors import RecipeError
from espalier.design.blocks import Block
from espalier.design.designs import Contrast, Design, Layout, designs
from espalier.design.factors import Varied
from espalier.design.files import with_tasks
from espalier.runs.prepare import prepare
from espalier.tasks.templates import Show, to_examples

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.core.recipe import Recipe
    from espalier.core.records import Task
    from espalier.design.blocks import Cell, Reading
    from espalier.design.files import Files

CONTROLS = 2
FEWEST = 4  # settings that are worth halving
TEST = -1


@dataclass(frozen=True)
class Search:
    """A halving as far as it is known.

    Attributes:
        factors: the study's, with the rounds as one more.
        rounds: settings that are in each round.
        controls: settings that are trained in full from the first round on.
        last: the number of the last round.
    """

    factors: tuple[Varied, ...]
    rounds: tuple[tuple[Cell, ...], ...]
    controls: tuple[Cell, ...]
    last: int


@designs.register("halving")
def halving(*, settings: int = 16, seed: int = 0) -> Design:
    """Many settings, halved round by round on rows held out of training; the chosen one is tested once.

    Args:
        settings: how many; where the factors' levels make more, so many are drawn.
        seed: of what is drawn.
    """

    def lay(factors: Sequence[Varied]) -> Layout:
        every = list(product(*(range(len(factor.levels)) for factor in factors)))
        rng = random.Random(seed)
        chosen = sorted(rng.sample(every, settings)) if len(every) > settings else every
        if len(chosen) < FEWEST:
            raise RecipeError(
                f"There are {len(chosen)} settings to halve, fewer than {FEWEST}.",
                where="factor",
                hint='Give more levels, or take design = "grid".',
            )
        last = math.ceil(math.log2(len(chosen))) - 1
        controls = tuple(sorted(rng.sample(chosen, CONTROLS)))
        rounds = _rounds(last)
        return _round(Search((*factors, rounds), (tuple(chosen),), controls, last))

    return lay


def _round(search: Search) -> Layout:
    """Return the layout of all rounds so far, which goes on by what the newest comes to."""
    number = len(search.rounds) - 1
    done = [(*one, at) for at, alive in enumerate(search.rounds) for one in alive]
    cells = tuple(dict.fromkeys([*done, *((*one, search.last) for one in search.controls)]))

    def go_on(reached: Mapping[Cell, float]) -> Layout:
        alive = search.rounds[-1]
        ranked = sorted(alive, key=lambda one: -_known(reached[(*one, number)]))
        if number == search.last:
            return _tested(search, cells, ranked[0], reached)
        kept = tuple(sorted(ranked[: math.ceil(len(alive) / 2)]))
        return _round(replace(search, rounds=(*search.rounds, kept)))

    return Layout(cells, (), (), search.factors, once=frozenset(cells), next=go_on)


def _tested(search: Search, cells: tuple[Cell, ...], chosen: Cell, reached: Mapping[Cell, float]) -> Layout:
    """Return the layout with the chosen setting and a control on the test set."""
    others = [one for one in search.controls if one != chosen]
    control = max(others, key=lambda one: _known(reached[(*one, search.last)]))
    tests = tuple((*one, search.last + 1) for one in (control, chosen))
    names = tuple(_named(search, one) for one in (control, chosen))
    number = len(search.factors) - 1
    return Layout(
        (*cells, *tests),
        (Contrast((number,), (search.last + 1,), tests[:1], tests[1:], (names[0], names[1])),),
        (
            "The effect sets the chosen setting against the better of two that were not halved: "
            "both trained anew, with other seeds, and scored on rows that chose nothing.",
        ),
        search.factors,
        lambda reading: [_history(search, chosen, reading)],
        frozenset(cells),
    )


def _history(search: Search, chosen: Cell, reading: Reading) -> Block:
    """Return what each setting came to round by round."""
    scale, sign = reading.metric.scale, reading.metric.sign

    def value(setting: Cell, number: int) -> float:
        own = reading.reached.get((*setting, number))
        return scale * sum(own) / len(own) if own else math.nan

    last = search.last
    controls = {one: value(one, last) for one in search.controls}
    mine = value(chosen, last)
    better = [one for one, own in controls.items() if one != chosen and sign * (own - mine) > 0]
    said = [f"Chosen: {_named(search, chosen)}, {mine:.1f} on rows held out of training."]
    if better:
        told = " and ".join(f"{_named(search, one)} ({controls[one]:.1f})" for one in better)
        said.append(f"Halving missed a setting that did better there when trained in full: {told}.")
    else:
        said.append(
            f"Neither of the {CONTROLS} settings that were not halved did better there: "
            + ", ".join(f"{_named(search, one)} ({own:.1f})" for one, own in controls.items())
            + "."
        )
    said.append(
        "These numbers chose, so they flatter the chosen one; the effect above does not rest on them."
    )
    order = sorted(
        search.rounds[0],
        key=lambda one: (-max(n for n, alive in enumerate(search.rounds) if one in alive), one),
    )
    table = tuple(
        (
            _named(search, one) + (" (not halved)" if one in search.controls else ""),
            *("" if math.isnan(own := value(one, n)) else f"{own:.1f}" for n in range(last + 1)),
            f"{value(one, last + 1):.1f}" if (*one, last + 1) in reading.reached else "",
        )
        for one in order
    )
    head = ("setting", *search.factors[-1].labels[:-1], "test")
    numbers = {
        "chosen": _named(search, chosen),
        "controls": {_named(search, one): own for one, own in controls.items()},
        "missed": [_named(search, one) for one in better],
    }
    return Block("How was it chosen?", tuple(said), head, table, (), numbers)


def _named(search: Search, setting: Cell) -> str:
    told = zip(search.factors[:-1], setting, strict=True)
    return ", ".join(f"{factor.name} {factor.labels[level]}" for factor, level in told)


def _known(value: float) -> float:
    return -math.inf if math.isnan(value) else value


def _rounds(last: int) -> Varied:
    """Return the factor of the rounds: a share of the epochs each, on training rows; and the test."""
    levels = (*range(last + 1), TEST)
    labels = (*(f"{2.0 ** (number - last):.3g} of the epochs" for number in range(last + 1)), "test")

    def apply(recipe: Recipe, level: object, files: Files) -> Recipe:
        if level == TEST:
            return recipe
        assert isinstance(level, int)
        share = 2.0 ** (level - last)
        stages = [one.model_copy(update={"epochs": share * one.epochs}) for one in recipe.train]
        whole = recipe.data.model_copy(update={"test_limit": None})
        tested = {e.id for e in prepare(recipe.model_copy(update={"data": whole})).test}
        inner = with_tasks(recipe, files, "which rows choose", lambda task: _without(task, tested))
        # Another seed, or all that is left would be on the side that was trained on before.
        data = inner.data.model_copy(update={"seed": recipe.split_seed + 1, "sealed": False})
        return inner.model_copy(update={"train": tuple(stages), "data": data})

    return Varied("round", levels, labels, "both", apply, "design")


def _without(task: Task, out: set[str]) -> Task:
    made = to_examples(task, Show(positive=0, negative=0))
    rows = zip(task.rows, made, strict=True)
    return replace(task, rows=tuple(row for row, example in rows if example.id not in out))
