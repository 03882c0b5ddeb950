"""Designs: which levels meet in which cells, and which cells are set against which.

A design is a function from the factors to a `Layout`; its factory's parameters are what `[design]` may set.
To add one, write such a factory with a decorator here, or name it `kind = "my_module:function"`. What is
compared is a `Contrast`: two sets of cells, over each of which rows are averaged. In a grid both sides have
the same levels of all other factors; in a screening these are balanced.

Plackett and Burman 1946 (Biometrika 33) for twelve runs; for eight and four the fractions 2^(7-4), 2^(3-1).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations, product
from typing import TypeAlias

from espalier.core.errors import RecipeError
from espalier.core.registry import Registry
from espalier.design.blocks import Cell, Read
from espalier.design.factors import Varied

MOST = 11  # factors of a screening
TWELVE = (1, 1, 0, 1, 1, 1, 0, 0, 0, 1, 0)  # the row that is turned; the twelfth has all at the first level


@dataclass(frozen=True, slots=True)
class Contrast:
    """Two sets of cells that are set against each other.

    Attributes:
        factors: the numbers of the factors whose effect it is: one, or two for an interaction.
        levels: the level of each that the effect is of; the other side has the first.
        minus: cells on the side that is compared with; none is the untuned model.
        plus: cells on the other side.
        names: of both sides, where the levels do not tell them.
        only: the level of the factor whose rows are looked at alone; None: all rows.
    """

    factors: tuple[int, ...]
    levels: tuple[int, ...]
    minus: tuple[Cell, ...]
    plus: tuple[Cell, ...]
    names: tuple[str, str] | None = None
    only: str | None = None


@dataclass(frozen=True, slots=True)
class Layout:
    """The cells of a study, each trained with every seed, what is compared, and what a reader has to know.

    Attributes:
        cells: all of them.
        contrasts: what is set against what; their effects are one family.
        notes: what a reader has to know first.
        factors: as the design takes them apart or adds to them; none: as the study has them.
        read: what the design says of the scores besides its effects.
        once: cells that are trained with one seed, which is none of the study's: they only choose.
        next: from what each cell came to, higher is better, to the layout that goes on from this one, with
            all its cells; None: this is all.
    """

    cells: tuple[Cell, ...]
    contrasts: tuple[Contrast, ...]
    notes: tuple[str, ...] = ()
    factors: tuple[Varied, ...] = ()
    read: Read = lambda _: ()
    once: frozenset[Cell] = frozenset()
    next: Callable[[Mapping[Cell, float]], Layout] | None = None


Design: TypeAlias = Callable[[Sequence[Varied]], Layout]
designs: Registry[Design] = Registry(
    "design",
    *(f"espalier.design.{name}" for name in ("source_designs", "nested", "mixtures", "halving")),
)


def only_factor(factors: Sequence[Varied], design: str) -> Varied:
    """Return the one factor that a design takes. Raises RecipeError where there are others."""
    if len(factors) > 1:
        raise RecipeError(
            f"The design '{design}' takes one factor, and there are {len(factors)}.",
            where="factor",
            hint="Set what is the same in all cells with set, or take another design.",
        )
    return factors[0]


@designs.register("grid")
def grid(*, interactions: bool = True) -> Design:
    """All levels with all; of two factors of two levels, also whether one changes what the other does."""

    def lay(factors: Sequence[Varied]) -> Layout:
        counts = [len(factor.levels) for factor in factors]
        cells = tuple(product(*map(range, counts)))
        mains = [_main(cells, f, level) for f, count in enumerate(counts) for level in range(1, count)]
        two = [f for f, count in enumerate(counts) if count == 2]
        pairs = [_interaction(cells, f, g) for f, g in combinations(two, 2)] if interactions else []
        return Layout(cells, (*mains, *pairs))

    return lay


@designs.register("screening")
def screening() -> Design:
    """Main effects of up to eleven factors of two levels, in 4, 8 or 12 settings, with their aliases."""

    def lay(factors: Sequence[Varied]) -> Layout:
        for factor in factors:
            if len(factor.levels) != 2:
                has = f"'{factor.name}' has {len(factor.levels)}"
                raise RecipeError(
                    f"A screening takes two levels of each factor, and {has}.",
                    where=f"{factor.where}.levels",
                    hint='Leave one out, or take design = "grid".',
                )
        if not 2 <= len(factors) <= MOST:
            raise RecipeError(
                f"A screening takes 2 to {MOST} factors, and there {'is' if len(factors) == 1 else 'are'} "
                f"{len(factors)}.",
                where="factor",
                hint='Take design = "grid".' if len(factors) < 2 else "Leave some out.",
            )
        cells = tuple(row[: len(factors)] for row in _runs(len(factors)))
        mains = tuple(_main(cells, f, 1) for f in range(len(factors)))
        return Layout(cells, mains, (aliases(cells, [factor.name for factor in factors]),))

    return lay


def _runs(count: int) -> list[Cell]:
    """Return an orthogonal array of two levels with at least `count` columns."""
    if count <= 2:
        return list(product((0, 1), repeat=2))
    if count <= 3:
        return [(a, b, 1 - (a ^ b)) for a, b in product((0, 1), repeat=2)]
    if count <= 7:
        return [(a, b, c, a ^ b, a ^ c, b ^ c, a ^ b ^ c) for a, b, c in product((0, 1), repeat=3)]
    return [*(TWELVE[-turn:] + TWELVE[:-turn] for turn in range(11)), (0,) * 11]


def aliases(cells: Sequence[Cell], names: Sequence[str]) -> str:
    """Return in a sentence what each main effect cannot be told from: interactions of two other factors."""
    signs = [[1 if cell[f] else -1 for cell in cells] for f in range(len(names))]
    whole: list[str] = []
    partly = 0.0
    for f, column in enumerate(signs):
        shares = {
            (g, h): abs(sum(x * y * z for x, y, z in zip(column, signs[g], signs[h], strict=True)))
            / len(cells)
            for g, h in combinations([g for g in range(len(names)) if g != f], 2)
        }
        same = [f"{names[g]} with {names[h]}" for (g, h), share in shares.items() if share == 1]
        if same:
            whole.append(f"{names[f]} ({', '.join(same)})")
        partly = max([partly, *(share for share in shares.values() if share < 1)])
    if whole:
        return (
            "A screening sees main effects only: each stands for itself and for what these pairs of factors "
            f"do together, which it cannot tell apart: {'; '.join(whole)}."
        )
    if partly:
        return (
            "A screening sees main effects only: into each, every pair of other factors that do something "
            f"together brings {partly:.2g} of that."
        )
    return "A screening of two factors is their grid without the interaction."


def _main(cells: Sequence[Cell], factor: int, level: int) -> Contrast:
    minus, plus = (tuple(cell for cell in cells if cell[factor] == which) for which in (0, level))
    return Contrast((factor,), (level,), minus, plus)


def _interaction(cells: Sequence[Cell], f: int, g: int) -> Contrast:
    """Return the cells where both are at the same level, against those where they are not."""
    plus = tuple(cell for cell in cells if cell[f] == cell[g])
    minus = tuple(cell for cell in cells if cell[f] != cell[g])
    return Contrast((f, g), (1, 1), minus, plus)
