"""NEFTune (Jain et al. 2023, arXiv 2310.05914): noise on the embeddings while training, for less overfitting.

Each number of a token's embedding gets noise that is uniform in ±alpha / sqrt(L * d): d is the embedding's
size, L the tokens of the row; where rows share a token, those of the longest row of the step that does.

The noise is a pure function of the seed, the step and the tokens up to and including its own. So it is the
same whether rows are computed in one tree, in several, one by one or on several ranks, and the same after an
interruption: with noise too, all of these train the same. What rows share gets the same noise in each.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from espalier.encode.tree import path_length

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor
    from transformers import PreTrainedModel

    from espalier.core.records import Encoded
    from espalier.train.steps import Source, Step


@contextmanager
def noisy(model: PreTrainedModel, source: Source, alpha: float, seed: int) -> Iterator[Source]:
    """Put noise of size `alpha` on the embeddings inside the block, at the steps of the source it yields.

    There is none where no gradient is computed, in evaluation mode, and while a source samples; none at all
    if `alpha` is 0.
    """
    if not alpha:
        yield source
        return
    noise = _Noise(alpha, seed)

    def step(number: int) -> Step:
        noise.keys_from = None
        found = source(number)
        noise.begin(number, found.rows)
        return found

    hooks = (
        model.register_forward_pre_hook(noise.read, with_kwargs=True),
        model.get_input_embeddings().register_forward_hook(noise.add),
    )
    try:
        yield step
    finally:
        for hook in hooks:
            hook.remove()


class _Noise:
    """The noise of one step. A token's key stands for the seed, the step and the tokens up to its own."""

    def __init__(self, alpha: float, seed: int) -> None:
        self.alpha = alpha
        self.seed = seed
        self.keys_from: int | None = None
        self._lengths: dict[int, int] = {}
        self._keys: list[int] = []

    def begin(self, number: int, rows: Sequence[Encoded]) -> None:
        """Learn a step's rows."""
        self.keys_from = hash((self.seed, number))
        self._lengths = {}
        for row in rows:
            size = path_length(row)
            for key in _keys(self.keys_from, row.ids[:size], range(size)):
                self._lengths[key] = max(size, self._lengths.get(key, 0))

    def read(self, model: torch.nn.Module, args: object, inputs: dict[str, Any]) -> None:
        """Before a forward: note its tokens. Without positions it is a row, with them a tree."""
        self._keys = []
        if self.keys_from is None or not (model.training and torch.is_grad_enabled()):
            return
        ids = inputs["input_ids"][0].tolist()
        positions = inputs["position_ids"][0].tolist() if "position_ids" in inputs else range(len(ids))
        self._keys = _keys(self.keys_from, ids, positions)

    def add(self, embedding: torch.nn.Module, args: object, output: Tensor) -> Tensor:
        """After the embedding of [1, T] tokens: return [1, T, d] with noise."""
        if not self._keys:
            return output
        width = output.shape[-1]
        lengths = np.array([self._lengths.get(key, len(self._keys)) for key in self._keys])
        sizes = (self.alpha / np.sqrt(lengths * width)).astype(np.float32)
        return output + torch.from_numpy(_uniform(self._keys, width) * sizes[:, None]).to(output)


def _keys(start: int, ids: Sequence[int], positions: Sequence[int]) -> list[int]:
    """Return the key of each token of a tree in depth-first order. Hashes of integers are not salted."""
    path = [start]
    found: list[int] = []
    for token, position in zip(ids, positions, strict=True):
        del path[position + 1 :]
        path.append(hash((path[position], token)))
        found.append(path[-1])
    return found


def _uniform(keys: Sequence[int], width: int) -> NDArray[np.float32]:
    """Return `width` numbers in [-1, 1) for each key: splitmix64 (Steele et al. 2014) from the key on."""
    counter = np.arange(1, width + 1, dtype=np.uint64) * np.uint64(0x9E3779B97F4A7C15)
    words = np.array(keys, np.int64).view(np.uint64)[:, None] + counter
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        words ^= words >> np.uint64(shift)
        words *= np.uint64(factor)
    words ^= words >> np.uint64(31)
    return (words >> np.uint64(40)).astype(np.float32) * np.float32(2**-23) - np.float32(1)
