"""A study before it begins: what it will take, and what it could see; a blind one is refused.

`plan_study` tells all of it. Of each effect there is the smallest true difference that would be found in 80
of 100 repetitions, and the smallest margin within which no difference would be shown to lie as often, both
held to all effects together as Holm's first step is. That is what `comparison/sides.py` will judge by.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.comparison.entries import entry_of
from espalier.core.errors import EspalierError, RecipeError
from espalier.core.recipe import as_recipe
from espalier.core.run import RunFolder
from espalier.core.text import counted, spelt
from espalier.evaluate.facts import expected, of_references
from espalier.evaluate.measures import ALL, metric_of
from espalier.evaluate.sheet import in_columns
from espalier.runs.events import say, working
from espalier.runs.plan import chosen
from espalier.runs.prepare import prepare
from espalier.study.carrying_out import is_complete, read_book, stands
from espalier.study.cells import planned
from espalier.study.power import Assumed, known, promised
from espalier.study.price import foreseen, price, sizes_said
from espalier.tasks.once import reading_once

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Sequence

    from espalier.comparison.entries import Entry
    from espalier.comparison.significance import Spread
    from espalier.core.records import Metric
    from espalier.design.designs import Contrast
    from espalier.design.recipe import StudyRecipe
    from espalier.study.carrying_out import Book
    from espalier.study.cells import Planned
    from espalier.study.price import Price

SURE = 0.05
MOST_SEEDS, MOST_ROWS = 30, 1_000  # seeds, and times the rows, up to which a way out is looked for
GROWS = "Which of them go on, its results say; what is priced stands for as many others."
CHOSEN = "what is chosen against what was not halved"
ALONE = "One training each: says nothing about retraining, only about these models."


@dataclass(frozen=True, slots=True)
class Promise:
    """What a study could say of one effect, in points as they are shown.

    Attributes:
        name: of the effect.
        sort: "main" or "interaction".
        detectable: the smallest true difference that is found in 80 of 100 repetitions.
        provable: the smallest margin within which no difference is shown to lie as often; NaN of one seed.
        same: whether both sides are answers of the same models.
    """

    name: str
    sort: str
    detectable: float
    provable: float
    same: bool


@dataclass(frozen=True, slots=True, repr=False)
class Ahead:
    """A study's price, and what it could see.

    Attributes:
        name: of the study.
        measure: by which it is judged; "" for what its runs will lead with.
        cells, trainings, done: how many there are, and how many trainings with all of their cells are done.
        rows, sources: that are scored.
        seeds: of each setting.
        promises: of each effect.
        assumed: what they rest on.
        price: what is left to spend; None where nobody asked.
        margin, budget: of the study, in points and in minutes.
        spent: seconds that it took so far.
        ways: what would let it see its margin.
        notes: sentences on what its cells share, and on what is not known of them before.
    """

    name: str
    measure: str
    cells: int
    trainings: int
    done: int
    rows: int
    sources: int
    seeds: int
    promises: tuple[Promise, ...]
    assumed: Assumed
    price: Price | None
    margin: float | None
    budget: float | None
    spent: float
    ways: str
    notes: tuple[str, ...] = ()

    @property
    def worst(self) -> Promise:
        """The main effect that is seen least."""
        return max((one for one in self.promises if one.sort == "main"), key=lambda one: one.detectable)

    @property
    def blind(self) -> str:
        """Why the study cannot see its margin, and what would do; '' where it can, or has none."""
        if self.margin is None or self.worst.provable <= self.margin:
            return ""
        return (
            f"The study cannot see its margin of {self.margin:g} points: of {self.worst.name}, equality "
            f"could mostly be shown within {self.worst.provable:.1f} points only, {self._on}, with "
            f"{counted(self.seeds, 'seed')}."
        )

    @property
    def _on(self) -> str:
        return f"on {counted(self.rows, 'row')} of {counted(self.sources, 'source')}"

    @property
    def dear(self) -> str:
        """What the budget does not hold, in a sentence; '' where it does."""
        if self.price is None or self.budget is None or self.price.seconds <= 60 * self.budget - self.spent:
            return ""
        left = spelt(max(0.0, 60 * self.budget - self.spent))
        needed = spelt(self.price.seconds)
        return f"The budget will not hold the study: {left} are left of it, and about {needed} needed."

    @property
    def sentences(self) -> list[str]:
        """All of it in words."""
        took = f"; {self.done} of them are done" if self.done else ""
        told = [
            f"{counted(self.cells, 'cell')} of {counted(self.trainings, 'training')}{took}. Scored "
            f"{self._on}, with {counted(self.seeds, 'seed')}, by {self.measure}."
        ]
        if self.price is not None:
            told.append(
                f"It will take about {spelt(self.price.seconds)}: {spelt(self.price.training)} of training, "
                f"{spelt(self.price.answering)} of answers, {spelt(self.price.besides)} of all else."
            )
        if self.seeds == 1:
            told.append(ALONE)
        return [
            *told,
            *self.notes,
            f"Assumed: {self.assumed}.",
            *filter(None, (self.dear, self.blind, self.ways)),
        ]

    def table(self) -> list[list[str]]:
        """Return the columns' names, then a row for each effect, in points."""
        head = ["", "visible at 80 % power", "equality within"]
        return [head, *([one.name, _points(one.detectable), _points(one.provable)] for one in self.promises)]

    @property
    def footing(self) -> str:
        """What the numbers are."""
        family = len(self.promises)
        holm = f", held to {family} effects together (Holm)" if family > 1 else ""
        return (
            f"In points: the true difference, and the margin, that 80 of 100 such studies would show{holm}."
        )

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it; what is not known is null."""
        keys = (
            "name",
            "measure",
            "cells",
            "trainings",
            "done",
            "rows",
            "sources",
            "seeds",
            "margin",
            "budget",
        )
        told = {key: self.__getattribute__(key) for key in keys}
        cost = self.price
        if cost is not None:
            parts = {
                key: cost.__getattribute__(key) for key in ("training", "answering", "besides", "probed")
            }
            told["price"] = {"minutes": cost.seconds / 60, **parts}
        names = ("name", "sort", "same")
        promises = [
            {
                **{key: one.__getattribute__(key) for key in names},
                "detectable": _finite(one.detectable),
                "provable": _finite(one.provable),
            }
            for one in self.promises
        ]
        numbers = {
            key: self.assumed.__getattribute__(key) for key in ("spread", "correlation", "seeds", "alike")
        }
        assumed = {**numbers, "known": dict(self.assumed.known)}
        return {**told, "power": 0.8, "effects": promises, "assumed": assumed, "sentences": self.sentences}

    def __str__(self) -> str:
        """Return the sentences and the table."""
        return "\n".join([*self.sentences, "", in_columns(self.table()), "", self.footing])

    __repr__ = __str__


@reading_once()
def plan_study(asked: StudyRecipe, cache: Path, assume: Sequence[str] = ()) -> Ahead:
    """Return what a study will take and could see; a training of each cost is begun, and nothing is kept.

    Args:
        asked: the study.
        cache: folder of converted models.
        assume: what to assume otherwise: "seeds=1.5"; see `Assumed`.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    book = read_book(asked.path)
    with working("Planning", aloud=False):
        plan = planned(asked, book.folders)
        whole = foreseen(plan, book)
    return ahead(whole, book, assume, cache=cache, grows=whole is not plan)


@reading_once()
def ahead(
    plan: Planned, book: Book, assume: Sequence[str] = (), *, cache: Path | None = None, grows: bool = False
) -> Ahead:
    """Return what a study could see, and with a cache of models what it will take; see `foreseen`."""
    left = [one for one in plan.trainings if not is_complete(plan, book, one)]
    done = {one.name for one in plan.trainings if stands(plan, book, one.name, one.content, one.recipe)}
    done |= {one.name for one in plan.cells if stands(plan, book, one.name, one.key, one.recipe)}
    cost = None if cache is None else price(plan, left, done, cache)
    seen = plan.layout.contrasts[0]
    judged = (*seen.minus, *seen.plus)[0]
    made = prepare(next(cell.recipe for cell in plan.cells if cell.levels == judged))
    sizes = [*Counter(row.source for row in made.test).values()]
    measure, metric = _measure(plan)
    assumed = _known(plan, done, measure).told(assume)
    seeds = len(plan.study.seeded)
    promises = tuple(_promise(plan, one, sizes, seeds, assumed, metric) for one in plan.layout.contrasts)
    promises = tuple(replace(one, name=CHOSEN) if grows else one for one in promises)
    found = Ahead(
        name=plan.study.name,
        measure=measure,
        cells=len(plan.cells),
        trainings=len(plan.trainings),
        done=len(plan.trainings) - len(left),
        rows=len(made.test),
        sources=len(sizes),
        seeds=seeds,
        promises=promises,
        assumed=assumed,
        price=cost,
        margin=plan.study.margin,
        budget=plan.study.budget,
        spent=book.seconds,
        ways="",
        notes=tuple(filter(None, (sizes_said(plan), GROWS if grows else ""))),
    )
    return replace(found, ways=_ways(plan, found, sizes, metric)) if found.blind else found


def check_ahead(plan: Planned, book: Book, cache: Path, assume: Sequence[str], *, anyway: bool) -> None:
    """Refuse a study that cannot see its margin, unless anyway, and tell of a budget that is too small.

    Raises:
        RecipeError: it cannot.
    """
    if all(is_complete(plan, book, one) for one in plan.trainings):
        return
    whole = foreseen(plan, book)
    priced = cache if plan.study.budget is not None else None
    found = ahead(whole, book, assume, cache=priced, grows=whole is not plan)
    if found.dear:
        say(f"Note: {found.dear}")
    if found.blind and not anyway:
        raise RecipeError(
            f"{found.blind} {found.ways}", where="margin", hint="--anyway begins it all the same."
        )


def _measure(plan: Planned) -> tuple[str, Metric]:
    """Return what the study is judged by, or what its runs will probably lead with, and what that is."""
    made = prepare(plan.cells[0].recipe)
    choices = chosen(plan.cells[0].recipe, made)
    closed = of_references(made.test, expected(made.test, made.train)).closed
    leading = "exact_match" if closed and "exact_match" in choices.scorers else next(iter(choices.scorers))
    name = plan.study.metric or (ALL if choices.checks else leading)
    return name, metric_of(name, choices.scorers.get(name))


def _known(plan: Planned, done: Collection[str], measure: str) -> Assumed:
    """Return what the study's own cells say that are done, or else the recipe's run."""
    firsts = [next((cell for cell in one.cells if cell.name in done), None) for one in plan.trainings]
    read = [(str(cell.levels), _entry(plan.folder(cell.name).path, measure)) for cell in firsts if cell]
    if own := [(name, one) for name, one in read if one]:
        return known(own, measure, "this study")
    recipe = as_recipe(plan.study.recipe)
    one = _entry(RunFolder(Path(recipe.folder) / recipe.name).path, measure)
    return known([("", one)] if one else [], measure, "the recipe's run")


def _entry(path: Path, measure: str) -> Entry | None:
    """Return a run that was scored by a measure, or None."""
    try:
        found = entry_of(path)
    except EspalierError:
        return None
    return found if measure in found.measures else None


def _promise(
    plan: Planned, contrast: Contrast, sizes: Sequence[int], seeds: int, assumed: Assumed, metric: Metric
) -> Promise:
    chosen_factors = [plan.factors[number] for number in contrast.factors]
    main = len(chosen_factors) == 1
    scale = metric.scale * (1 if main else 2)
    spread, same = _spread(plan, contrast, sizes, seeds, assumed, metric)
    level = SURE / len(plan.layout.contrasts)
    name = " × ".join(factor.name for factor in chosen_factors)
    if contrast.names:
        against, level_name = contrast.names
        name = f"{level_name} against {against}"
    elif main:
        factor, level_of = chosen_factors[0], contrast.levels[0]
        name = f"{name}: {factor.labels[level_of]} against {factor.labels[0]}"
    provable = spread.provable(level) if seeds > 1 else math.nan
    return Promise(
        name, "main" if main else "interaction", scale * spread.detectable(level), scale * provable, same
    )


def _spread(
    plan: Planned, contrast: Contrast, sizes: Sequence[int], seeds: int, assumed: Assumed, metric: Metric
) -> tuple[Spread, bool]:
    """Return the spread of an effect, and whether both its sides are answers of the same models."""
    seed = plan.study.seeded[0]
    keys = {cell.levels: cell.training for cell in plan.cells if cell.seed == seed}
    plus, minus = ([keys[cell] for cell in cells] for cells in (contrast.plus, contrast.minus))
    same = sorted(plus) == sorted(minus)
    trained = [len({*side}) for side in (plus, minus) if side]  # the untuned model is no training
    count = len(plus) if same else min(trained)
    return promised(sizes, seeds, count, assumed, paired=same, scale=metric.scale), same


def _ways(plan: Planned, found: Ahead, sizes: Sequence[int], metric: Metric) -> str:
    """Return what would let the study see its margin, in a sentence."""
    contrast = next(
        one for one, said in zip(plan.layout.contrasts, found.promises, strict=True) if said is found.worst
    )
    level, margin = SURE / len(found.promises), (found.margin or 0.0) / metric.scale

    def sees(times: float, seeds: int) -> bool:
        assumed = replace(found.assumed, spread=found.assumed.spread / math.sqrt(times))
        return _spread(plan, contrast, sizes, seeds, assumed, metric)[0].provable(level) <= margin

    seeds = _least(partial(sees, 1.0), found.seeds + 1, MOST_SEEDS)
    rows = _least(lambda times: sees(times, found.seeds), 2, MOST_ROWS)
    ways = [
        f"{found.rows * rows:,} test rows" if rows else "",
        f"{seeds} seeds" if seeds else "",
        "a metric that is no rate but continuous, such as the log-probability of the reference",
    ]
    told = [one for one in ways if one]
    none = "" if rows else " No number of rows would do with so few seeds."
    return f"What would do: {', or '.join(told)}.{none}"


def _least(fits: Callable[[int], bool], low: int, high: int) -> int:
    """Return the least number that fits, or 0; what is larger than one that fits does too."""
    if low > high or not fits(high):
        return 0
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if fits(middle) else (middle + 1, high)
    return low


def _points(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.1f}"


def _finite(value: float) -> float | None:
    return None if math.isnan(value) else value
