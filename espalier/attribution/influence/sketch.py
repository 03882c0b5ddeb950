"""Fewer numbers for a gradient such that inner products stay what they were, up to a stated error.

Every number goes, with a random sign, to one random place of `dims`: a sparse Johnson-Lindenstrauss
transform with one entry a column (Kane and Nelson 2014, arXiv 1012.1577; Charikar and others 2002). The inner
product of two sketches has the true one as its mean, and a standard error of at most sqrt(2 / dims) times
both norms. A dense matrix for 5 million weights and 1,024 dimensions would take 20 GB; this takes 4 bytes a
weight.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from torch import Tensor

BLOCK = 1 << 22  # numbers that are added at a time


@dataclass(frozen=True, eq=False)
class Sketch:
    """The map from vectors [size] to sketches [dims], which are the vectors themselves where `dims` is 0.

    Attributes:
        size, dims: of a vector and of its sketch.
        table: of each number its place and sign in one: twice the place, plus one for a minus [size].
    """

    size: int
    dims: int
    table: Tensor | None

    @property
    def width(self) -> int:
        """Numbers of a sketch."""
        return self.dims or self.size

    def of(self, vector: Tensor) -> Tensor:
        """Return the sketch of a vector, or of each of several [..., size]."""
        if self.table is None:
            return vector
        out = vector.new_zeros(*vector.shape[:-1], self.dims)
        for part, places, signs in self._blocks(vector):
            out.index_add_(-1, places, vector[..., part] * signs)
        return out

    def back(self, sketch: Tensor) -> Tensor:
        """Return the vector whose inner product with any vector is the sketch's with that one's sketch."""
        if self.table is None:
            return sketch
        out = sketch.new_empty(self.size)
        for part, places, signs in self._blocks(sketch):
            out[part] = sketch[places] * signs
        return out

    def _blocks(self, like: Tensor) -> Iterator[tuple[slice, Tensor, Tensor]]:
        assert self.table is not None
        for begin in range(0, self.size, BLOCK):
            part = slice(begin, begin + BLOCK)
            block = self.table[part].to(like.device)
            yield part, block >> 1, 1 - 2 * (block & 1).to(like)


def sketcher(size: int, dims: int, seed: int = 0) -> Sketch:
    """Return the sketch of vectors [size] in `dims` numbers, the same for the same seed; 0 keeps all."""
    if not dims:
        return Sketch(size, 0, None)
    generator = torch.Generator().manual_seed(seed)
    return Sketch(size, dims, torch.randint(2 * dims, (size,), generator=generator, dtype=torch.int32))
