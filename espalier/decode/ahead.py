"""The attention of several tokens of a row in one step, where rows have different numbers of them.

Only these N tokens go through the model. Their products with what rows share are one matrix product each, as
ever; for those with a row's own keys they are laid out as if each row had as many as the one that has most.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from espalier.decode.cache import Run
    from espalier.encode.tree import Ints


class Held(NamedTuple):
    """What a layer holds: see `cache.RowCache`."""

    runs: Sequence[Run]
    shared_keys: Sequence[Tensor]
    shared_values: Sequence[Tensor]
    keys: Tensor
    values: Tensor


@dataclass(frozen=True, slots=True, eq=False)
class Ahead:
    """Where the N tokens of a step are held; `ahead_of` makes it.

    Attributes:
        owners: row of each token, ascending [N].
        starts: the first token of each row, and N [R + 1].
        places: of each token among `most` of each row [N].
        columns: own column of each token [N].
        mask: what is added to its own scores [N, width].
        most: tokens of the row that has most.
        before: columns at which the rows ended before the step [R].
    """

    owners: Tensor
    starts: list[int]
    places: Tensor
    columns: Tensor
    mask: Tensor
    most: int
    before: Tensor

    def attend(self, held: Held, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Write the step's keys and values, return the attention of its queries; see `RowCache.attend`."""
        count, query_heads, _, size = query.shape
        heads, width = key.shape[1], value.shape[3]
        group, own_width = query_heads // heads, self.mask.shape[1]
        held.keys[:, self.owners, :, self.columns] = key[:, :, 0]
        held.values[:, self.owners, self.columns] = value[:, :, 0].transpose(0, 1)
        queries = query.reshape(count, heads, group, size).transpose(0, 1).contiguous()
        flat_queries = queries.view(heads, count * group, size)
        shared = max((run.column + run.end - run.start for run in held.runs), default=0)
        scores = query.new_full((heads, count, group, shared + own_width), -math.inf)
        flat = scores.view(heads, count * group, -1)
        spans = [slice(self.starts[run.first] * group, self.starts[run.last] * group) for run in held.runs]
        for run, of_run, keys in zip(held.runs, spans, held.shared_keys, strict=True):
            product = torch.bmm(flat_queries[:, of_run], keys)
            flat[:, of_run, run.column : run.column + run.end - run.start] = product.mul_(scaling)
        own = torch.bmm(self._grid(queries), held.keys.flatten(0, 1)[:, :, :own_width])
        own = own.view(heads, -1, group, own_width)[:, self.places].mul_(scaling)
        scores[..., shared:] = own.add_(self.mask.to(own)[:, None])
        weights = torch.softmax(scores, dim=-1)
        result = torch.bmm(self._grid(weights[..., shared:]), held.values.flatten(0, 1)[:, :own_width])
        result = result.view(heads, -1, group, width)[:, self.places].view(heads, count * group, width)
        flat = weights.view(heads, count * group, -1)
        for run, of_run, values in zip(held.runs, spans, held.shared_values, strict=True):
            columns = slice(run.column, run.column + run.end - run.start)
            result[:, of_run] += torch.bmm(flat[:, of_run, columns], values)
        return result.view(heads, count, group, width).transpose(0, 1).reshape(count, 1, query_heads, width)

    def _grid(self, states: Tensor) -> Tensor:
        """Return the tokens' states [heads, N, group, size] as as many of each row [heads * R, …, size]."""
        heads, _, group, size = states.shape
        rows = len(self.before)
        grid = states.new_zeros(heads, rows * self.most, group, size)
        grid[:, self.places] = states
        return grid.view(heads * rows, self.most * group, size)


def ahead_of(before: Tensor, pads: Tensor, counts: Ints, *, apart: bool) -> Ahead:
    """Return where `counts` tokens of each row [R] are held, behind columns `before` and right of `pads`."""
    each = torch.from_numpy(counts)
    owners = torch.repeat_interleave(each)
    starts = torch.cat([each.new_zeros(1), each.cumsum(0)])
    offsets = torch.arange(len(owners)) - starts[owners]
    columns = before[owners] + offsets
    at = torch.arange(int((before + each).max()))
    seen = at < before[owners, None] if apart else at <= columns[:, None]
    seen = (seen & (at >= pads[owners, None])) | (at == columns[:, None])
    most = int(each.max())
    mask = torch.zeros(seen.shape).masked_fill_(~seen, -math.inf)
    return Ahead(owners, starts.tolist(), owners * most + offsets, columns, mask, most, before)
