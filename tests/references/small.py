"""What slow twins of strategies are tried on: prompts of two families, and the tokens of their answers."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Iterable

    from espalier.decode.batch import Token

SIZE = 24  # tokens of the vocabulary
STOPS = frozenset({3, 7})


def prompts(count: int) -> list[tuple[int, ...]]:
    """Return prompts that begin in one of two ways."""
    draw = np.random.default_rng(0)
    heads = [draw.integers(SIZE, size=size).tolist() for size in (40, 9)]
    return [(*heads[n % 2], *draw.integers(SIZE, size=n % 5).tolist()) for n in range(count)]


def answers(tokens: Iterable[Token]) -> dict[int, list[int]]:
    """Return the ids of each row's answer."""
    found: dict[int, list[int]] = {}
    for token in tokens:
        found.setdefault(token.row, []).append(token.id)
    return found
