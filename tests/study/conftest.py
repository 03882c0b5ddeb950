"""Factors that stand for any: their levels are numbers, and do nothing."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from espalier.design.factors import Varied


@pytest.fixture(scope="session")
def factors_of() -> Callable[[list[int]], list[Varied]]:
    """Makes factors of so many levels each."""

    def make(counts: list[int]) -> list[Varied]:
        levels = [tuple(map(str, range(count))) for count in counts]
        return [
            Varied(f"f{n}", one, one, "train", lambda r, *_: r, f"factor.{n}") for n, one in enumerate(levels)
        ]

    return make
