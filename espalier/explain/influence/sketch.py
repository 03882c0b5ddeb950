"""Fewer numbers for a gradient such that inner products stay what they were, up to a stated error.

Every number goes, with a random sign, to one random place of `dims`: a sparse Johnson-Lindenstrauss
transform with one entry a column (Kane and Nelson 2014, arXiv 1012.1577; Charikar and others 2002). The inner
product of two sketches has the true one as its mean, and a standard error of at most sqrt(2 / dims) times
both norms. A dense matrix for 5 million weights and 1,024 dimensions would take 20 GB; this takes 4 bytes a
weight.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import Tensor

BLOCK = 1 << 22  # numbers that are added at a time


def sketcher(size: int, dims: int, seed: int = 0) -> Callable[[Tensor], Tensor]:
    """Return the function from a vector [size] to its sketch [dims]; the vector itself where `dims` is 0."""
    if not dims:
        return lambda vector: vector
    generator = torch.Generator().manual_seed(seed)
    # A place and a sign in one number: twice the place, plus one for a minus.
    table = torch.randint(2 * dims, (size,), generator=generator, dtype=torch.int32)

    def sketch(vector: Tensor) -> Tensor:
        out = vector.new_zeros(dims)
        for begin in range(0, size, BLOCK):
            block = table[begin : begin + BLOCK].to(vector.device)
            signs = 1 - 2 * (block & 1).to(vector)
            out.index_add_(0, block >> 1, vector[begin : begin + BLOCK] * signs)
        return out

    return sketch
