"""The design of nested sizes: how a score grows with the rows, and from which size on it hardly does.

Sizes are levels of `data.size`: each set is within the next, by the hash of the source. Two arms: as many
epochs for all, and as many steps for all as the largest takes. To each arm a power law a - b N^-c and a
straight line in log N are fitted; both are shown with their corrected AIC and with what they miss of a size
that they have not seen.

For a given c the law is linear in a and b, so that c is searched for on a grid and the rest is least squares.
Rosenfeld et al. 2020 (arXiv 1909.12673); Hurvich and Tsai 1989 (Biometrika 76) for the AIC of few points.
"""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass, replace
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.errors import RecipeError
from espalier.design.blocks import Block
from espalier.design.designs import Contrast, Design, Layout, designs, only_factor
from espalier.design.source_designs import ARMS, arms_of
from espalier.design.sources import Setting, arranged

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.design.blocks import Cell, Floats, Reading
    from espalier.design.factors import Varied

POWERS = np.geomspace(0.05, 3.0, 60)
DRAWS = 400  # of the bootstrap
FEWEST = 4  # sizes that a law of three numbers needs
LAWS = {"power": "a − b·N^−c", "log": "a + b·log N"}


@dataclass(frozen=True)
class Fit:
    """A law fitted to sizes and what they came to.

    Attributes:
        a, b, c: its numbers; c is 0 of a straight line in log N.
        aicc: corrected Akaike criterion, lower is better; infinite where points are too few for it.
        missed: root mean square of what it misses of a size that it has not seen, in the values' own unit.
    """

    a: float
    b: float
    c: float
    aicc: float
    missed: float

    def saturation(self, within: float) -> float:
        """Return the size from which on the power law is within so much of its end."""
        return (abs(self.b) / within) ** (1 / self.c) if self.b else 0.0


@designs.register("nested")
def nested(*, arms: str | tuple[str, ...] = "both", within: float = 1.0) -> Design:
    """Sizes of one data set, each within the next, with a law of growth and the size where it levels off.

    Args:
        arms: equal "epochs", equal "steps" (those of the largest), or "both".
        within: in points, how near to its end a curve has levelled off.
    """
    chosen = arms_of(arms)
    if within <= 0:
        raise RecipeError(f"{within} does not fit: it must be above 0.", where="design.within")

    def lay(factors: Sequence[Varied]) -> Layout:
        factor = only_factor(factors, "nested")
        sizes = [level for level in factor.levels if isinstance(level, int) and level > 0]
        if len(sizes) < len(factor.levels) or len(sizes) < 2:
            raise RecipeError(
                "The design 'nested' takes whole numbers of rows as levels.",
                where=f"{factor.where}.levels",
                hint='Such as kind = "data.size", levels = [32, 64, 128, 256, 512].',
            )
        sizes.sort()
        settings, places = _settings(sizes, chosen)
        contrasts = tuple(
            Contrast((0,), (cell[0],), (own[0],), (cell,), _names(settings, own[0], cell))
            for own in places.values()
            for cell in own[1:]
        )
        return Layout(
            tuple((number,) for number in range(len(settings))),
            contrasts,
            (),
            (arranged(factor, settings),),
            lambda reading: [
                _grown(_of_arm(reading, n, len(sizes)), arm, sizes, places[arm], within)
                for n, arm in enumerate(chosen)
            ],
        )

    return lay


def _settings(sizes: Sequence[int], arms: Sequence[str]) -> tuple[list[Setting], dict[str, list[Cell]]]:
    """Return the settings of all arms, which share the largest size, and where each arm's sizes are."""
    largest = sizes[-1]
    settings = [Setting(f"{largest} rows", largest)]
    places: dict[str, list[Cell]] = {}
    for arm in arms:
        told = f", {ARMS[arm]}" if len(arms) > 1 else ""
        own = [
            Setting(f"{size} rows{told}", size, largest if arm == "steps" else None) for size in sizes[:-1]
        ]
        places[arm] = [*((len(settings) + n,) for n in range(len(own))), (0,)]
        settings += own
    return settings, places


def _names(settings: Sequence[Setting], first: Cell, other: Cell) -> tuple[str, str]:
    return settings[first[0]].label, settings[other[0]].label


def fitted(sizes: Sequence[int], values: Floats, law: str) -> Fit:
    """Return a law fitted by least squares.

    Args:
        sizes: of the data, smallest first.
        values: what they came to [trainings, sizes].
        law: one of `LAWS`.
    """
    a, b, c, rest = (each[0] for each in _solved(sizes, values.mean(0)[None], law))
    n, free = values.size, (4 if law == "power" else 3)  # with the variance
    within = float(((values - values.mean(0)) ** 2).sum())
    squares = max(within + len(values) * float(rest), 1e-12)
    aicc = math.inf
    if n > free + 1:
        aicc = n * math.log(squares / n) + 2 * free + 2 * free * (free + 1) / (n - free - 1)
    return Fit(float(a), float(b), float(c), aicc, left_out(sizes, values.mean(0), law))


def left_out(sizes: Sequence[int], means: Floats, law: str) -> float:
    """Return the root mean square of what a law misses of each size that it is not fitted to.

    NaN where the sizes that are left do not determine it; `law` may be "mean", too.
    """
    missed: list[float] = []
    for out in range(len(sizes)):
        rest = [n for n in range(len(sizes)) if n != out]
        if law == "mean":
            told = float(means[rest].mean())
        elif len(rest) < (3 if law == "power" else 2):
            return math.nan
        else:
            a, b, c, _ = (each[0] for each in _solved([sizes[n] for n in rest], means[rest][None], law))
            told = float(a + b * _regressor(np.array([sizes[out]], float), float(c), law)[0])
        missed.append((told - float(means[out])) ** 2)
    return math.sqrt(sum(missed) / len(missed))


def _regressor(sizes: Floats, power: float, law: str) -> Floats:
    return -(sizes**-power) if law == "power" else np.log(sizes)


def _solved(sizes: Sequence[int], means: Floats, law: str) -> tuple[Floats, Floats, Floats, Floats]:
    """Return a, b, c and the sum of squares of the best law for each row of means [draws, sizes]."""
    known = np.array(sizes, float)
    centred = means - means.mean(1, keepdims=True)
    powers = POWERS if law == "power" else np.zeros(1)
    found: list[tuple[Floats, Floats, Floats]] = []
    for power in powers.tolist():
        x = _regressor(known, power, law)
        x_centred = x - x.mean()
        b = centred @ x_centred / (x_centred @ x_centred)
        rest = ((centred - b[:, None] * x_centred) ** 2).sum(1)
        found.append((means.mean(1) - b * x.mean(), b, rest))
    best = np.array([rest for _, _, rest in found]).argmin(0)
    rows = np.arange(len(means))
    a, b, rest = (np.array(each)[best, rows] for each in zip(*found, strict=True))
    return a, b, powers[best], rest


def _of_arm(reading: Reading, number: int, sizes: int) -> Reading:
    """Return the reading with the effects of one arm."""
    count = sizes - 1
    return replace(reading, effects=reading.effects[number * count : (number + 1) * count])


def _resampled(reading: Reading, cells: Sequence[Cell], seed: int = 0) -> Floats | None:
    """Return means of the cells [draws, sizes] over sources and trainings drawn anew; None: no such rows."""
    rows, sources = reading.rows(cells)
    table = np.array([rows[cell] for cell in cells])  # [sizes, seeds, rows]
    if not table.size or np.isnan(table).any() or reading.metric.fold:
        return None
    _, groups = np.unique(np.array(sources), return_inverse=True)
    count = int(groups.max()) + 1
    rng = np.random.Generator(np.random.PCG64(seed))
    weights = rng.multinomial(count, np.full(count, 1 / count), DRAWS)[:, groups].astype(float)
    weights /= weights.sum(1, keepdims=True)
    seeds = rng.integers(0, table.shape[1], (DRAWS, table.shape[0], table.shape[1]))
    per_seed = np.einsum("dr,nsr->dns", weights, table)
    return np.take_along_axis(per_seed, seeds, 2).mean(2)


def _grown(reading: Reading, arm: str, sizes: Sequence[int], cells: Sequence[Cell], within: float) -> Block:
    """Return how one arm grows: both laws, and where it levels off."""
    scale = reading.metric.scale
    values = np.array([reading.reached[cell] for cell in cells]).T * scale  # [seeds, sizes]
    laws = {law: fitted(sizes, values, law) for law in LAWS}
    flat = left_out(sizes, values.mean(0), "mean")
    levels, numbers = _levels_off(reading, sizes, cells, laws, within)
    said = [levels, _better(laws, flat)]
    table = tuple(
        (str(size), f"{values[:, n].mean():.1f}", *(f"{_told(laws[law], size, law):.1f}" for law in LAWS))
        for n, size in enumerate(sizes)
    )
    told = {
        "missed of a size left out": [fit.missed for fit in laws.values()],
        "AICc": [f.aicc for f in laws.values()],
    }
    table += tuple(
        (name, f"{flat:.1f} (mean)" if name[0] == "m" else "", *(_number(each) for each in row))
        for name, row in told.items()
    )
    numbers |= {
        "arm": arm,
        "sizes": list(sizes),
        "reached": values.mean(0).tolist(),
        "fits": {law: {k: _finite(v) for k, v in asdict(fit).items()} for law, fit in laws.items()},
        "missed by the mean": flat,
    }
    head = ("rows", reading.metric.title, *LAWS.values())
    return Block(f"How does it grow with the rows, at {ARMS[arm]}?", tuple(said), head, table, (), numbers)


def _told(fit: Fit, size: int, law: str) -> float:
    return fit.a + fit.b * float(_regressor(np.array([size], float), fit.c, law)[0])


def _better(laws: Mapping[str, Fit], flat: float) -> str:
    """Return in a sentence which law fits better, and whether either beats the mean."""
    power, line = laws["power"], laws["log"]
    known = [fit.missed for fit in laws.values() if fit.missed == fit.missed]
    if known and min(known) >= flat:
        return "Of a size that is left out neither law tells more than the mean of the others."
    if not (math.isfinite(power.aicc) and math.isfinite(line.aicc)):
        return "The points are too few to choose between the law of growth and a straight line in log N."
    gap = line.aicc - power.aicc
    if abs(gap) < 2:
        return "The power law and a straight line in log N fit as well as each other (AICc)."
    name, other = (
        ("power law", "straight line in log N") if gap > 0 else ("straight line in log N", "power law")
    )
    return f"A {name} fits better than a {other}, by {abs(gap):.1f} in AICc."


def _levels_off(
    reading: Reading, sizes: Sequence[int], cells: Sequence[Cell], laws: Mapping[str, Fit], within: float
) -> tuple[str, dict[str, object]]:
    """Return from which size on the curve is within so much of its end, or why that cannot be said."""
    cannot = "From which size on more rows hardly help cannot be said"
    nothing: dict[str, object] = {"saturation": None}
    if len(sizes) < FEWEST:
        return f"{cannot}: there are fewer than {FEWEST} sizes.", nothing
    if not any(effect.compared.verdict == "better" for effect in reading.effects):
        return f"{cannot}: no size is seen to be better than the smallest.", nothing
    if not laws["power"].aicc + 2 < laws["log"].aicc:
        return f"{cannot}: a straight line, which never levels off, fits no worse.", nothing
    means = _resampled(reading, cells)
    if means is None:
        return f"{cannot}: the measure is no mean over rows that all have.", nothing
    scale = reading.metric.scale
    _, b, c, _ = _solved(sizes, means * scale, "power")
    with np.errstate(over="ignore", divide="ignore"):
        drawn = np.exp(np.log(np.maximum(np.abs(b), 1e-12) / within) / c)
    low, high = np.quantile(drawn, (0.025, 0.975)).tolist()
    value = laws["power"].saturation(within)
    if high > sizes[-1]:
        beyond = f"the interval of that size begins at {low:.0f} and ends beyond the largest, {sizes[-1]}"
        return f"{cannot}: {beyond}.", {"saturation": None, "low": low}
    said = f"It is within {within:g} points of its end from {value:.0f} rows on ({low:.0f} to {high:.0f})."
    return said, {"saturation": value, "low": low, "high": high}


def _finite(value: float) -> float | None:
    return value if math.isfinite(value) else None


def _number(value: float) -> str:
    return f"{value:.1f}" if math.isfinite(value) else "–"
