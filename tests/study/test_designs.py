"""Designs: which cells there are, and which are set against which."""

from __future__ import annotations

from collections.abc import Callable
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.core.errors import RecipeError
from espalier.design.designs import aliases, designs
from espalier.design.factors import Varied

Make = Callable[[list[int]], list[Varied]]


@settings(max_examples=30)
@given(st.lists(st.integers(2, 4), min_size=1, max_size=4))
def test_a_grid_sets_cells_against_those_with_the_same_other_levels(
    factors_of: Make, counts: list[int]
) -> None:
    layout = designs.build("grid", {})(factors_of(counts))
    assert len({*layout.cells}) == len(layout.cells)
    mains = [one for one in layout.contrasts if len(one.factors) == 1]
    assert len(mains) == sum(count - 1 for count in counts)
    for one in mains:
        (factor,), (level,) = one.factors, one.levels
        assert [(*cell[:factor], level, *cell[factor + 1 :]) for cell in one.minus] == [*one.plus]
    two = [n for n, count in enumerate(counts) if count == 2]
    crossed = [one.factors for one in layout.contrasts if len(one.factors) == 2]
    assert crossed == [*combinations(two, 2)]


@pytest.mark.parametrize("count", range(2, 12))
def test_a_screening_is_balanced_and_orthogonal(factors_of: Make, count: int) -> None:
    layout = designs.build("screening", {})(factors_of([2] * count))
    assert len(layout.cells) == len({*layout.cells}) == (4 if count <= 3 else 8 if count <= 7 else 12)
    signs = [[2 * cell[f] - 1 for cell in layout.cells] for f in range(count)]
    assert all(sum(column) == 0 for column in signs)
    assert all(sum(a * b for a, b in zip(x, y, strict=True)) == 0 for x, y in combinations(signs, 2))
    assert len(layout.contrasts) == count
    assert layout.notes


def test_aliases_are_named(factors_of: Make) -> None:
    layout = designs.build("screening", {})(factors_of([2] * 3))
    assert "a (b with c); b (a with c); c (a with b)" in aliases(layout.cells, ["a", "b", "c"])
    twelve = designs.build("screening", {})(factors_of([2] * 11))
    assert "brings 0.33 of that" in aliases(twelve.cells, list("abcdefghijk"))


@pytest.mark.parametrize(
    ("counts", "said"), [([2, 3], "'f1' has 3"), ([2] * 12, "there are 12"), ([2], "there is 1")]
)
def test_what_no_screening_takes_is_refused(factors_of: Make, counts: list[int], said: str) -> None:
    with pytest.raises(RecipeError, match=said):
        designs.build("screening", {})(factors_of(counts))
