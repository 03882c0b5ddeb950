"""The design of mixtures: shares of sources drawn from a Dirichlet distribution, and a surface over them.

All mixtures have as many rows. The surface is linear or quadratic in the shares (Scheffé 1958), by ridge
regression; what it misses of a mixture that it has not seen stands beside what the mean of the others misses.
Whether it tells more than chance is a permutation of the scores over the mixtures, and where it does not,
nothing is said of a best mixture. Liu et al. 2024 (arXiv 2407.01492).
"""

from __future__ import annotations

import math
from functools import partial
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from espalier.core.errors import RecipeError
from espalier.design.blocks import Block
from espalier.design.designs import Contrast, Design, Layout, designs, only_factor
from espalier.design.sources import Setting, arranged
from espalier.evaluate.statistics import Floats

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.design.blocks import Reading
    from espalier.design.factors import Varied

RIDGES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)
SURFACES = ("linear", "quadratic")
TURNS = 999  # permutations
TRIED = 2_000  # shares among which the best is looked for
SURE = 0.05


@designs.register("mixtures")
def mixtures(*, count: int = 8, seed: int = 0, concentration: float = 1.0) -> Design:
    """Mixtures of sources by shares that are drawn, beside an even one, with a surface over the shares.

    Args:
        count: how many are drawn.
        seed: of the draw.
        concentration: of the Dirichlet distribution: below 1 few sources have most, above 1 all are alike.
    """
    if count < 3 or concentration <= 0:
        raise RecipeError("Mixtures need a count of 3 or more, and a concentration above 0.", where="design")

    def lay(factors: Sequence[Varied]) -> Layout:
        factor = only_factor(factors, "mixtures")
        if factor.group is None:
            raise RecipeError(
                f"The design 'mixtures' takes sources, and '{factor.name}' has none.",
                where=factor.where,
                hint='Take kind = "sources".',
            )
        names = [str(level) for level in factor.levels]
        drawn = np.random.Generator(np.random.PCG64(seed)).dirichlet([concentration] * len(names), count)
        even = np.full(len(names), 1 / len(names))
        shares: Floats = np.round(np.vstack([even, drawn]), 3).astype(np.float64)
        told = ["even", *(f"mix {number}" for number in range(1, count + 1))]
        settings = [
            Setting(name, dict(zip(names, row, strict=True)))
            for name, row in zip(told, shares.tolist(), strict=True)
        ]
        return Layout(
            tuple((number,) for number in range(count + 1)),
            tuple(Contrast((0,), (number,), ((0,),), ((number,),)) for number in range(1, count + 1)),
            ("All mixtures have as many rows and epochs.",),
            (arranged(factor, settings),),
            lambda reading: [_surface(reading, factor.labels, told, shares)],
        )

    return lay


def regressors(shares: Floats, surface: str) -> Floats:
    """Return what a surface is linear in: the shares [mixtures, sources], and the products of two of them."""
    if surface == "linear":
        return shares
    pairs = [shares[:, i] * shares[:, j] for i, j in combinations(range(shares.shape[1]), 2)]
    return np.column_stack([shares, *pairs])


def _weights(x: Floats, new: Floats, ridge: float) -> Floats:
    """Return by what weights of the values [mixtures] the ridge tells the value of each new mixture."""
    mean = x.mean(0)
    centred = x - mean
    spread = centred.T @ centred + ridge * np.eye(x.shape[1])
    return 1 / len(x) + (new - mean) @ np.linalg.solve(spread, centred.T)


def left_out(shares: Floats, surface: str) -> list[tuple[list[int], list[Floats], Floats]]:
    """Return, of each mixture left out, the others, what chooses the ridge by them, and what tells it.

    All of it depends on the shares alone, so that values can be permuted at little cost.
    """
    x = regressors(shares, surface)
    found: list[tuple[list[int], list[Floats], Floats]] = []
    for out in range(len(x)):
        rest = [n for n in range(len(x)) if n != out]
        inner = [_residuals(x[rest], ridge) for ridge in RIDGES]
        outer = np.vstack([_weights(x[rest], x[[out]], ridge) for ridge in RIDGES])
        found.append((rest, inner, outer))
    return found


def _residuals(x: Floats, ridge: float) -> Floats:
    """Return the matrix from values to what the ridge misses of each, fitted to the others (Allen 1974)."""
    hat = _weights(x, x, ridge)
    return (np.eye(len(x)) - hat) / (1 - np.diag(hat))[:, None]


def missed(values: Floats, made: Sequence[tuple[list[int], list[Floats], Floats]]) -> Floats:
    """Return the root mean square of what a surface misses of mixtures left out, by draw of the values."""
    squares = np.zeros(len(values))
    for out, (rest, inner, outer) in enumerate(made):
        own = values[:, rest]
        best = np.array([((own @ each.T) ** 2).sum(1) for each in inner]).argmin(0)
        told = (own @ outer.T)[np.arange(len(values)), best]
        squares += (told - values[:, out]) ** 2
    return np.sqrt(squares / len(made))


def chance(values: Floats, shares: Floats, surface: str) -> tuple[float, float]:
    """Return what a surface misses of mixtures left out, and how often as little if shares told nothing."""
    made = left_out(shares, surface)
    rng = np.random.Generator(np.random.PCG64(0))
    turned = np.array([values, *(rng.permutation(values) for _ in range(TURNS))])
    found = missed(turned, made)
    return float(found[0]), float((found <= found[0] * (1 + 1e-9)).mean())


def _surface(reading: Reading, names: Sequence[str], told: Sequence[str], shares: Floats) -> Block:
    """Return the surface, what it misses, and the best mixture if it tells anything."""
    scale, sign = reading.metric.scale, reading.metric.sign
    values = np.array([sum(reading.reached[(n,)]) / len(reading.reached[(n,)]) for n in range(len(shares))])
    values = values * scale
    flat = float(np.sqrt((((values - values.mean()) * len(values) / (len(values) - 1)) ** 2).mean()))
    found = {surface: chance(values, shares, surface) for surface in SURFACES}
    best = min(SURFACES, key=lambda one: found[one][0])
    error, p = found[best]
    errors = ", ".join(f"{found[one][0]:.1f} by a {one} surface" for one in SURFACES)
    said = [f"Of a mixture left out, the mean of the others misses {flat:.1f} points, {errors}."]
    numbers = {
        "sources": list(names),
        "shares": shares.tolist(),
        "reached": values.tolist(),
        "missed by the mean": flat,
        "surfaces": {one: {"missed": found[one][0], "p": found[one][1]} for one in SURFACES},
        "best": None,
    }
    if error >= flat or min(1.0, p * len(SURFACES)) >= SURE:
        more = "no surface is better" if error >= flat else f"chance does as well in {100 * p:.0f} % of draws"
        said.insert(
            0, f"The shares tell no more of the score than its mean does ({more}): no mixture is named."
        )
    else:
        x = regressors(shares, best)
        ridge = min(RIDGES, key=partial(_ridge_error, x, values))
        tried = np.random.Generator(np.random.PCG64(1)).dirichlet(np.ones(len(names)), TRIED)
        each = _weights(x, regressors(np.vstack([tried, np.eye(len(names))]), best), ridge) @ values
        tried = np.vstack([tried, np.eye(len(names))])
        at = int((sign * each).argmax())
        mix = ", ".join(f"{name} {share:.0%}" for name, share in zip(names, tried[at], strict=True))
        said.insert(
            0,
            f"By a {best} surface {mix} would do best, {each[at]:.1f} (it misses {error:.1f} of a mixture "
            "that it has not seen); train it to know.",
        )
        numbers["best"] = {"shares": tried[at].tolist(), "value": float(each[at]), "surface": best}
    table = tuple(
        (name, *(f"{share:.0%}" for share in row), f"{value:.1f}")
        for name, row, value in zip(told, shares.tolist(), values.tolist(), strict=True)
    )
    head = ("mixture", *names, reading.metric.title)
    return Block("How does the score follow the shares?", tuple(said), head, table, (), numbers)


def _ridge_error(x: Floats, values: Floats, ridge: float) -> float:
    error = float(((_residuals(x, ridge) @ values) ** 2).sum())
    return error if math.isfinite(error) else math.inf
