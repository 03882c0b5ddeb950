"""Do a study's numbers hold what they say? Simulated studies, through the code that judges real ones.

`python -m bench studies` draws answers of trainings: right or wrong by what all trainings share of a row, by
what a training has of its own on it, and by its seed, which lifts all its rows. `compare_pairs` judges them
as it judges a study's sides, and what is counted is: how often the 95 % interval of a difference holds the
truth; how often a study of several effects, none of which is there, finds one; and how often what
`study/power.py` promises is found.
"""

from __future__ import annotations

import math
from functools import partial
from itertools import product
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.special import ndtr, ndtri

from bench.coverage import ALIKE, TOGETHER, sources
from espalier.comparison.records import Side, Training
from espalier.comparison.sides import compare_pairs
from espalier.core.records import Metric, Score
from espalier.study.power import Assumed, promised

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from espalier.comparison.records import Compared

SEEDS = (2, 3, 5, 10)
SPREADS = (0.0, 2.0, 5.0)  # points
ROWS = ((60, "1"), (100, "1-10"), (300, "1"), (300, "10"), (1_000, "1-10"))
ASKED = (93.0, 97.0)
SLOPE = 1 / math.sqrt(2 * math.pi)  # of a rate at 50 %, by latent units
METRIC = Metric("Right", unit="%")
WON = ("better", "worse")


def alike(groups: np.ndarray, shape: tuple[int, ...], rng: np.random.Generator) -> np.ndarray:
    """Return standard normal numbers, alike within a source, along the last axis."""
    shared = rng.normal(size=(*shape, int(groups.max()) + 1))[..., groups]
    return math.sqrt(ALIKE) * shared + math.sqrt(1 - ALIKE) * rng.normal(size=(*shape, groups.size))


def answers(
    groups: np.ndarray, shifts: np.ndarray, seeds: int, spread: float, rng: np.random.Generator
) -> np.ndarray:
    """Return who is right where: (sides, seeds, rows), at `shifts` in latent units."""
    sides = shifts.size
    lift = shifts[:, None, None] + rng.normal(size=(sides, seeds, 1)) * spread / 100 / SLOPE
    easy, own = alike(groups, (), rng), alike(groups, (sides, seeds), rng)
    return math.sqrt(TOGETHER) * easy + math.sqrt(1 - TOGETHER) * own + lift > 0


def judged(right: np.ndarray, groups: np.ndarray, margin: float | None = None) -> list[Compared]:
    """Return what the comparison of each other side with the first says."""
    names = [str(row) for row in range(groups.size)]
    clusters = dict(zip(names, groups.astype(str).tolist(), strict=True))
    told = Score(0.0), Score(1.0)
    sides = [
        Side(
            str(number),
            tuple(
                Training(str(seed), {"m": dict(zip(names, [told[one] for one in row], strict=True))})
                for seed, row in enumerate(side.astype(int).tolist())
            ),
            clusters,
            {"m": METRIC},
        )
        for number, side in enumerate(right)
    ]
    found = compare_pairs([(sides[0], other) for other in sides[1:]], ["m"], margin=margin)
    return [pair.measures["m"] for pair in found.pairs]


def truth(shift: float, spread: float) -> float:
    """Return the difference of two recipes' rates over all their seeds."""
    return float(ndtr(shift / math.sqrt(1 + (spread / 100 / SLOPE) ** 2)) - 0.5)


def coverage(repetitions: int, seed: int = 0) -> dict[str, float]:
    """Return in how many of 100 repetitions the interval holds the truth, by setting."""
    found = {}
    for many, spread, (rows, size) in product(SEEDS, SPREADS, ROWS):
        rng = np.random.default_rng([seed, many, rows, int(spread)])
        shift, inside = float(ndtri(0.56)), 0
        for _ in range(repetitions):
            groups = sources(rows, size, rng)
            one = judged(answers(groups, np.array([0.0, shift]), many, spread, rng), groups)[0].difference
            inside += one.low <= truth(shift, spread) <= one.high
        name = f"{many} seeds, {spread:g} points, {rows} rows, {size} a source"
        found[name] = round(100 * inside / repetitions, 1)
    return found


def alarms(repetitions: int, seeds: int, *, effects: int = 3, spread: float = 4.0) -> float:
    """Return how many of 100 studies of effects that are not there name a winner."""
    rng = np.random.default_rng([seeds, effects])
    found = 0
    for _ in range(repetitions):
        groups = sources(300, "1", rng)
        right = answers(groups, np.zeros(effects + 1), seeds, spread, rng)
        found += any(one.verdict in WON for one in judged(right, groups))
    return round(100 * found / repetitions, 1)


def powers(repetitions: int) -> dict[str, dict[str, float]]:
    """Return, of promised differences and margins, in how many of 100 repetitions they are found: 80 is said.

    And of a difference of 8 points, how often it is promised to be found, and is.
    """
    found = {}
    for seeds, spread, (rows, size) in product((2, 3, 5), (1.0, 4.0), ((100, "1"), (300, "3"))):
        rng = np.random.default_rng([seeds, rows, int(spread)])
        groups = sources(rows, size, rng)
        assumed = Assumed(seeds=spread, alike=ALIKE * 2 / math.pi)  # of right and wrong, near 50 %
        said = promised(np.bincount(groups).tolist(), seeds, 1, assumed)
        share = partial(_share, groups, seeds, spread, repetitions, rng)
        least, margin = said.detectable(), said.provable()
        found[f"{seeds} seeds, {spread:g} points, {rows} rows, {size} a source"] = {
            "smallest difference": round(100 * least, 1),
            "found": share(least, WON),
            "smallest margin": round(100 * margin, 1),
            "shown": share(0.0, ("as good",), 100 * margin),
            "8 points, promised": round(100 * said.power(0.08), 1),
            "8 points, found": share(0.08, WON),
        }
    return found


def _share(
    groups: np.ndarray,
    seeds: int,
    spread: float,
    repetitions: int,
    rng: np.random.Generator,
    gap: float,
    verdict: Sequence[str],
    margin: float | None = None,
) -> float:
    """Return in how many of 100 repetitions a true difference, around 50 %, is judged so."""
    shift = float(ndtri(0.5 + min(gap / 2, 0.49))) * math.sqrt(1 + (spread / 100 / SLOPE) ** 2)
    made = 0
    for _ in range(repetitions):
        right = answers(groups, np.array([-shift, shift]), seeds, spread, rng)
        made += judged(right, groups, margin)[0].verdict in verdict
    return round(100 * made / repetitions, 1)


def main(say: Callable[[str], None], *, repetitions: int = 16) -> dict[str, Any]:
    """Measure all of it, by seeds: few repetitions of each setting are many of all."""
    reached = coverage(repetitions)
    for name, share in reached.items():
        if not ASKED[0] - _noise(share, repetitions) <= share <= ASKED[1] + _noise(share, repetitions):
            say(f"coverage: {name}: {share}")
    for many in SEEDS:
        own = np.array([share for name, share in reached.items() if name.startswith(f"{many} seeds")])
        told = f"{own.mean():.1f} ± {_noise(95, repetitions * own.size):.1f}"
        say(f"coverage, {many} seeds: {own.min()} to {own.max()}, all together {told}")
    wrong = {many: alarms(4 * repetitions, many) for many in SEEDS}
    say(f"studies of three effects that are not there, spread 4 points, that name one: {wrong}")
    kept = powers(2 * repetitions)
    for name, one in kept.items():
        say(f"promised: {name}: {one}")
    found = {key: round(float(np.mean([one[key] for one in kept.values()])), 1) for key in kept[name]}
    say(f"promised, all together: {found}; 80 is said of found and shown")
    return {"repetitions": repetitions, "coverage": reached, "false": wrong, "promised": kept}


def _noise(share: float, repetitions: int) -> float:
    """Return how far a share of so many repetitions may be off, in points."""
    share = min(max(share, 95.0), 99.0)
    return 1.96 * math.sqrt(share * (100 - share) / repetitions)
