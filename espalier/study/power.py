"""What a study could see, before it begins: spreads that are known or assumed, and what follows from them.

Rows of two trainings differ by what each training has of its own on a row, trainings by their seeds. Of both
a `Spread` is made as a comparison would find it, whose power is computed as it is judged: see
`comparison/significance.py`. What is known comes from the study's own cells that are done, or else from the
recipe's run; the rest is assumed, said, and can be told otherwise.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields, replace
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from espalier.comparison.sides import moved_by
from espalier.comparison.significance import Spread
from espalier.core.errors import RecipeError, nearest
from espalier.core.text import counted
from espalier.evaluate.statistics import Z

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.comparison.entries import Entry
    from espalier.evaluate.statistics import Floats, Ints

ENOUGH = 4  # degrees of freedom from which on earlier seeds say more than what is assumed


@dataclass(frozen=True, slots=True)
class Assumed:
    """What a promise rests on.

    Attributes:
        spread: standard deviation of the rows' scores of one training: 0.5 is a rate's largest.
        correlation: of two trainings' scores on the same rows. Where a latent 0.7 makes right and wrong
            answers at 50 %, it is 0.49.
        seeds: standard deviation of trainings that differ by seed alone, in points as shown.
        alike: correlation of the rows of one source.
        known: where a number is from, by its name; the others are assumed.
    """

    spread: float = 0.5
    correlation: float = round(2 / math.pi * math.asin(0.7), 2)
    seeds: float = 2.0
    alike: float = 0.2
    known: Mapping[str, str] = field(default_factory=dict[str, str])

    def told(self, said: Sequence[str]) -> Assumed:
        """Return it with what somebody says: "seeds=1.5". Raises RecipeError where that is none of it."""
        names = [one.name for one in fields(self) if one.name != "known"]
        found = self
        for text in said:
            name, _, value = (part.strip() for part in text.partition("="))
            if name not in names:
                raise RecipeError(
                    f"Nothing is assumed of '{name}'.", where="--assume", hint=nearest(name, names)
                )
            try:
                number = float(value)
            except ValueError:
                number = math.nan
            most = 0.999 if name in ("correlation", "alike") else math.inf
            if not 0 <= number <= most or math.isinf(number) or (name == "spread" and not number):
                raise RecipeError(
                    f"'{value}' does not fit {name}: a number from 0{' to 0.999' if most < 1 else ''} does.",
                    where="--assume",
                )
            known = {**found.known, name: "as you say"}
            found = replace(found, **{name: number}, known=known)
        return found

    def __str__(self) -> str:
        """Return what is known, and what is assumed."""
        parts = [
            ("spread", f"rows of one training spread by {self.spread:.2f}"),
            ("correlation", f"two trainings' rows correlate at {self.correlation:.2f}"),
            ("seeds", f"another seed moves a training by {self.seeds:.1f} points"),
            ("alike", f"rows of one source at {self.alike:.2f}"),
        ]
        return "; ".join(f"{said} ({self.known.get(name, 'assumed')})" for name, said in parts)


def promised(
    sizes: Sequence[int],
    seeds: int,
    trainings: int,
    assumed: Assumed,
    *,
    paired: bool = False,
    scale: float = 100.0,
) -> Spread:
    """Return the spread of a difference that is not there, as a study would find it.

    Args:
        sizes: of the sources that are scored, in rows.
        seeds: of each setting.
        trainings: different ones on either side for each seed, over which it is averaged.
        assumed: see `Assumed`.
        paired: whether both sides are answers of the same models: what a seed does to both cancels.
        scale: what a value is shown times.
    """
    own = 2 * _own(sizes, assumed) / (trainings * seeds)
    arm = Z * math.sqrt(own)
    freedom = (seeds - 1) * (1 if paired else 2)
    if not freedom:
        return Spread(0.0, arm, arm)
    lift = 0.0 if paired else 2 * (assumed.seeds / scale) ** 2 / (trainings * seeds)
    return Spread(0.0, arm, arm, math.sqrt(own + lift), freedom, 1.0)


def _own(sizes: Sequence[int], assumed: Assumed) -> float:
    """Return the variance of a training's mean by what it has of its own on the rows."""
    worth = sum(size * (1 + (size - 1) * assumed.alike) for size in sizes) / sum(sizes) ** 2
    return assumed.spread**2 * (1 - assumed.correlation) * worth


def known(entries: Sequence[tuple[str, Entry]], measure: str, where: str) -> Assumed:
    """Return what trainings say, and what has to be assumed besides.

    Args:
        entries: of trainings, each with a name of what is the same but for its seed.
        measure: by which.
        where: whose they are, in words.
    """
    found = Assumed()
    if not entries:
        return found
    first = entries[0][1].side
    ids = [one for one in first.sources if all(_has(entry, measure, one) for _, entry in entries)]
    if len(ids) < 2:
        return found
    names, sizes = np.unique([first.sources[one] for one in ids], return_counts=True)
    groups = np.searchsorted(names, np.array([first.sources[one] for one in ids])).astype(np.int64)
    table = np.array([_values(entry, measure, ids) for _, entry in entries])
    numbers: dict[str, float] = {}
    if (spread := float(np.sqrt((table**2).mean()))) > 0:
        numbers["spread"] = spread
    if spread and sizes.max() > 1:
        numbers["alike"] = float(np.mean([_alike(row, groups) for row in table]))
    pairs = [(i, j) for i, j in combinations(range(len(entries)), 2) if entries[i][0] == entries[j][0]]
    if spread and (pairs or len(entries) > 1):
        both = pairs or [*combinations(range(len(entries)), 2)]
        together = float(np.mean([(table[i] * table[j]).mean() for i, j in both])) / spread**2
        numbers["correlation"] = min(max(together, 0.0), 0.98)
    of = f"of {where}, {counted(len(entries), 'training')}"
    found = replace(found, **numbers, known=dict.fromkeys(numbers, of))
    return _with_seeds(found, entries, measure, sizes.tolist(), where)


def _with_seeds(
    found: Assumed, entries: Sequence[tuple[str, Entry]], measure: str, sizes: Sequence[int], where: str
) -> Assumed:
    """Return it with what earlier seeds differ by, less what is their own on the rows."""
    reached: dict[str, list[float]] = {}
    for name, entry in entries:
        reached.setdefault(name, []).append(_reached(entry, measure))
    freedom = sum(len(one) - 1 for one in reached.values())
    if freedom < ENOUGH:
        return found
    squares = sum(float(((np.array(one) - np.mean(one)) ** 2).sum()) for one in reached.values())
    net = math.sqrt(max(0.0, squares / freedom - _own(sizes, found)))
    scale = entries[0][1].side.metric(measure).scale
    told = {**found.known, "seeds": f"of {where}, {counted(freedom, 'degree')} of freedom"}
    return replace(found, seeds=scale * net, known=told)


def _has(entry: Entry, measure: str, row: str) -> bool:
    score = entry.side.trainings[0].scores[measure].get(row)
    return score is not None and score.scored


def _values(entry: Entry, measure: str, ids: Sequence[str]) -> Floats:
    """Return how far each row moves the whole, times the rows: of a mean what its score is off the mean."""
    scores = [entry.side.trainings[0].scores[measure][one] for one in ids]
    fold = entry.side.metric(measure).fold
    return len(ids) * moved_by(scores, np.arange(len(ids)), fold)


def _reached(entry: Entry, measure: str) -> float:
    scores = [one for one in entry.side.trainings[0].scores[measure].values() if one.scored]
    if fold := entry.side.metric(measure).fold:
        return fold([sum(part) for part in zip(*(one.parts for one in scores), strict=True)])
    return float(np.mean([one.value for one in scores if one.value is not None]))


def _alike(values: Floats, groups: Ints) -> float:
    """Return the correlation of rows of one source: pairs of them over all rows."""
    sums = np.bincount(groups, weights=values)
    sizes = np.bincount(groups)
    pairs = float((sizes * (sizes - 1)).sum())
    within = float((sums**2).sum() - (values**2).sum())
    return min(max(within / pairs / float((values**2).mean()), 0.0), 0.99)
