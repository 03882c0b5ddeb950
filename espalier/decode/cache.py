"""Keys and values of the rows being decoded: what rows share is held once, the rest in columns of each row.

A run of tokens that many rows have above them is a `Run`: its keys are multiplied with the queries of all
these rows in one matrix product, and never copied per row. What is left of a row's prompt, and what it
generates, is its own. A row's scores are [shared columns | own columns], and one softmax is taken over them.

Own columns are aligned at the right end of the prompt, so that each step writes one column for all rows; what
is left of a short prompt is masked. A step may also run several tokens of a row, of which only some then stay
(`advance`, `keep`): from then on rows end at columns of their own. Heads come first in every buffer, because
then the queries of a group of heads and of all rows are one matrix and need no copy. Own keys are held
transposed, [heads, R, head size, columns]: in bf16 their product with the queries then takes 0.28 ms where it
took 0.55 (100 rows, 80 columns).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch.nn.functional import pad, scaled_dot_product_attention
from transformers import AttentionInterface

from espalier.decode.ahead import Ahead, Held, ahead_of
from espalier.encode.tree import row_path
from espalier.models.attention import plan_for, tree_attention

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor, nn

    from espalier.encode.tree import Ints, Tree

ATTENTION = "espalier_decode"

# A shared run costs a few kernel launches per layer and step, a copied token the reading of its key and
# value: below this many copies a run is not worth its launches.
MIN_SAVED = 1024


@dataclass(frozen=True, slots=True)
class Run:
    """Tokens `start` to `end` of the tree, shared by rows `first` to `last`, at the columns from `column`."""

    start: int
    end: int
    first: int
    last: int
    column: int


@dataclass(frozen=True, slots=True, eq=False)
class Layout:
    """Where each token of the prompts is held.

    Attributes:
        order: rows of the tree, in the order in which they are held [R].
        runs: what is held once; a row's runs fill its columns from 0 without a gap.
        own: tokens of the tree that each row holds itself, right aligned, -1 at the left [R, S].
        lengths: number of tokens of each row's prompt [R].
    """

    order: NDArray[np.int64]
    runs: tuple[Run, ...]
    own: NDArray[np.int64]
    lengths: NDArray[np.int64]


def plan_layout(tree: Tree, least: int = MIN_SAVED, *, copies: int = 1) -> Layout:
    """Return the layout that holds a run once where this saves at least `least` copies of a token.

    `copies` is how many rows each row of the tree may become (`RowCache.take`).
    """
    order = np.argsort(tree.leaves, kind="stable")
    leaves = tree.leaves[order]
    runs: list[Run] = []
    columns = np.zeros(len(order), np.int64)
    shared = np.zeros(len(tree.ids), bool)
    above = np.ones(len(tree.parents), bool)
    for node, (start, end) in enumerate(tree.node_spans.tolist()):
        # Rows that end inside the node hold its beginning themselves. Columns stay without a gap
        # because a node is shared only if all above it is.
        first, last = np.searchsorted(leaves, [end - 1, tree.ends[node]]).tolist()
        parent = int(tree.parents[node])
        worth = ((last - first) * copies - 1) * (end - start) >= least
        above[node] = worth and (parent < 0 or above[parent])
        if above[node]:
            runs.append(Run(start, end, first, last, int(columns[first])))
            columns[first:last] += end - start
            shared[start:end] = True
    paths = [row_path(tree, int(row)) for row in order]
    own = [path[columns[row] :] for row, path in enumerate(paths)]
    width = max(len(path) for path in own)
    table = np.full((len(order), width), -1, np.int64)
    for row, path in enumerate(own):
        table[row, width - len(path) :] = path
    return Layout(order, tuple(runs), table, np.array([len(path) for path in paths], np.int64))


def staying(parents: NDArray[np.int64]) -> NDArray[np.int64]:
    """Return an order of rows that continue others, which are ascending [R]: copied is then what has to be.

    The first that continues a row takes its place; the others get those of rows that nothing continues.
    """
    first = np.diff(parents, prepend=-1) > 0
    order, free = np.empty_like(parents), np.ones(len(parents), bool)
    free[parents] = False
    order[parents[first]] = np.flatnonzero(first)
    order[free] = np.flatnonzero(~first)
    return order


class RowCache:
    """Keys and values of every layer for a batch of rows, and the attention of their next tokens to them.

    Filled by `put` (once per layer, from the forward pass over the prompts' tree), then advanced by `advance`
    before each step. Between steps `take` drops and repeats rows, and `join` adds those of another cache. It
    travels to the attention as a model keyword argument.
    """

    def __init__(self, layout: Layout, limit: int) -> None:
        self.rows = len(layout.order)
        self.width = layout.own.shape[1]
        self._capacity = self.width + limit
        self._runs = layout.runs
        self._own = torch.from_numpy(layout.own)
        self._pads = (self._own < 0).sum(1)  # columns at the left that a row does not have [R]
        self._ends: Tensor | None = (
            None  # columns up to the last of each row [R]; None where all have `width`
        )
        self._ahead: Ahead | None = None
        self._shared_keys: dict[int, list[Tensor]] = {}
        self._shared_values: dict[int, list[Tensor]] = {}
        self._keys: dict[int, Tensor] = {}
        self._values: dict[int, Tensor] = {}
        # By the heads of a layer, in which a model's layers may differ.
        self._masks: dict[int, Tensor] = {}
        self._scores: dict[tuple[int, int], Tensor] = {}

    def put(self, layer: int, keys: Tensor, values: Tensor) -> None:
        """Take a layer's keys and values [heads, T, head size] of the tree's tokens."""
        self._shared_keys[layer] = [keys[:, run.start : run.end].mT.contiguous() for run in self._runs]
        self._shared_values[layer] = [values[:, run.start : run.end].contiguous() for run in self._runs]
        self._keys[layer] = self._spread(keys).mT.contiguous()
        self._values[layer] = self._spread(values)

    @property
    def ragged(self) -> bool:
        """Whether rows end at columns of their own."""
        return self._ends is not None

    def advance(self, counts: Ints | None = None, *, apart: bool = False) -> None:
        """Make room for one more token of each row, or for `counts` of them [R], which are at least 1.

        Each follows the one before it, or with `apart` all follow what is there: tokens of which one will
        stay. All do that `keep` does not drop before anything else is done.
        """
        self._scores = {}
        if counts is None and self._ends is None:
            self.width += 1
            return
        before = torch.full((self.rows,), self.width) if self._ends is None else self._ends
        counts = np.ones(self.rows, np.int64) if counts is None else counts
        self._ahead = ahead_of(before, self._pads, counts, apart=apart)
        self._ends = before + torch.from_numpy(counts)

    def keep(self, counts: Ints, first: Ints | None = None) -> None:
        """Drop the last step's tokens but `counts` of each row [R], or of those run apart the one `first`."""
        assert self._ahead is not None
        before = self._ahead.before
        if first is not None:
            rows, chosen = torch.arange(self.rows), before + torch.from_numpy(first)
            for layer, keys in self._keys.items():
                keys[:, rows, :, before] = keys[:, rows, :, chosen]
                self._values[layer][:, rows, before] = self._values[layer][:, rows, chosen]
        self._ends = before + torch.from_numpy(counts)

    def take(self, parents: NDArray[np.int64]) -> None:
        """Let these rows be the rows [R']: some not at all, some several times.

        They come in ascending order, or in that of `staying` where no request has more rows or fewer than
        before. What is shared stays where it is, for those of its rows that are left.
        """
        inside = [(parents >= run.first) & (parents < run.last) for run in self._runs]
        alive = [number for number, rows in enumerate(inside) if rows.any()]
        firsts = [int(inside[number].argmax()) for number in alive]
        self._runs = tuple(
            replace(self._runs[number], first=first, last=first + int(inside[number].sum()))
            for number, first in zip(alive, firsts, strict=True)
        )
        for layer in self._keys:
            self._shared_keys[layer] = [self._shared_keys[layer][number] for number in alive]
            self._shared_values[layer] = [self._shared_values[layer][number] for number in alive]
        index = torch.from_numpy(parents)
        moved = np.flatnonzero(parents != np.arange(len(parents)))
        if len(parents) == self.rows and (parents[parents[moved]] == parents[moved]).all():
            self._copy(torch.from_numpy(moved), index[moved])
            return
        for layer in self._keys:
            on_device = index.to(self._keys[layer].device)
            self._keys[layer] = self._keys[layer].index_select(1, on_device)
            self._values[layer] = self._values[layer].index_select(1, on_device)
        self._pads = self._pads[index]
        self._ends = None if self._ends is None else self._ends[index]
        self.rows = len(parents)
        self._masks, self._scores = {}, {}

    def _copy(self, rows: Tensor, sources: Tensor) -> None:
        """Let rows hold what others do, which are none of them."""
        for layer, keys in self._keys.items():
            to, source = rows.to(keys.device), sources.to(keys.device)
            for held in (keys, self._values[layer]):
                held.index_copy_(1, to, held.index_select(1, source))
        self._pads[rows] = self._pads[sources]
        self._masks = {}

    def join(self, other: RowCache) -> None:
        """Add the rows of another cache behind these; it is not to be used any more.

        Own columns stay aligned at the right end, and those at the left that no row has are left out.
        """
        for cache in (self, other):
            cache._align()
        width = max(self.width, other.width)
        room = max(cache._capacity - cache.width for cache in (self, other))
        pads = torch.cat([cache._pads + width - cache.width for cache in (self, other)])
        spare = int(pads.min())
        self._runs += tuple(
            replace(run, first=run.first + self.rows, last=run.last + self.rows) for run in other._runs
        )
        for layer, keys in self._keys.items():
            self._shared_keys[layer] += other._shared_keys[layer]
            self._shared_values[layer] += other._shared_values[layer]
            both = [(keys.mT, self.width), (other._keys[layer].mT, other.width)]
            self._keys[layer] = _right_aligned(both, width - spare, room).mT.contiguous()
            both = [(self._values[layer], self.width), (other._values[layer], other.width)]
            self._values[layer] = _right_aligned(both, width - spare, room)
        self._pads = pads - spare
        self.rows += other.rows
        self.width = width - spare
        self._capacity = self.width + room
        self._masks, self._scores = {}, {}

    def attend(self, layer: int, query: Tensor, key: Tensor, value: Tensor, scaling: float) -> Tensor:
        """Write the step's keys and values, and return the attention of its queries.

        Args:
            layer: index of the layer.
            query: [R, query heads, 1, head size]; where `advance` was given counts, [N, …] here and below.
            key: [R, heads, 1, head size].
            value: [R, heads, 1, value size].
            scaling: factor of the scores.

        Returns:
            [R, 1, query heads, value size].
        """
        if self._ahead is not None:
            shared = self._shared_keys[layer], self._shared_values[layer]
            held = Held(self._runs, *shared, self._keys[layer], self._values[layer])
            return self._ahead.attend(held, query, key, value, scaling)
        rows, query_heads, _, size = query.shape
        heads, width = key.shape[1], value.shape[3]
        group = query_heads // heads
        keys, values = self._keys[layer], self._values[layer]
        keys[..., self.width - 1] = key[:, :, 0].transpose(0, 1)
        values[:, :, self.width - 1] = value[:, :, 0].transpose(0, 1)
        # Of one query per key head a reshape would be a view, which the next one could not be taken of.
        queries = query.reshape(rows, heads, group, size).transpose(0, 1).contiguous()
        queries = queries.view(heads, rows * group, size)
        scores = self._score_buffer(heads, group, query)
        shared = scores.shape[3] - self.width
        flat = scores.view(heads, rows * group, -1)
        for run, run_keys in zip(self._runs, self._shared_keys[layer], strict=True):
            of_run = slice(run.first * group, run.last * group)
            product = torch.bmm(queries[:, of_run], run_keys)
            flat[:, of_run, run.column : run.column + run.end - run.start] = product.mul_(scaling)
        own = torch.baddbmm(
            self._own_mask(heads, query),
            queries.view(heads * rows, group, size),
            keys.flatten(0, 1)[:, :, : self.width],
            alpha=scaling,
        )
        scores[..., shared:] = own.view(heads, rows, group, self.width)
        weights = torch.softmax(scores, dim=-1).view(heads, rows * group, -1)
        own_weights = weights.view(heads * rows, group, -1)[:, :, shared:]
        result = torch.bmm(own_weights, values.flatten(0, 1)[:, : self.width])
        result = result.view(heads, rows * group, width)
        for run, run_values in zip(self._runs, self._shared_values[layer], strict=True):
            of_run = slice(run.first * group, run.last * group)
            columns = slice(run.column, run.column + run.end - run.start)
            result[:, of_run] += torch.bmm(weights[:, of_run, columns], run_values)
        return result.view(heads, rows, group, width).transpose(0, 1).reshape(rows, 1, query_heads, width)

    def _align(self) -> None:
        """Let all rows end at one column again."""
        if self._ends is None:
            return
        self.width = int(self._ends.max())
        room = self._capacity - int(self._ends.min())
        source = (torch.arange(self.width) - (self.width - self._ends)[:, None]).clamp(min=0)
        rows = torch.arange(self.rows)[:, None]
        for layer, keys in self._keys.items():
            self._keys[layer] = pad(keys.mT[:, rows, source], (0, 0, 0, room)).mT.contiguous()
            self._values[layer] = pad(self._values[layer][:, rows, source], (0, 0, 0, room))
        self._pads = self._pads + self.width - self._ends
        self._ends, self._ahead, self._capacity = None, None, self.width + room
        self._masks, self._scores = {}, {}

    def _spread(self, states: Tensor) -> Tensor:
        """Return each row's own tokens [heads, R, capacity, head size]; masked ones are any finite values."""
        heads, _, size = states.shape
        block = states.new_zeros(heads, self.rows, self._capacity, size)
        block[:, :, : self._own.shape[1]] = states[:, self._own.clamp(min=0).to(states.device)]
        return block

    def _score_buffer(self, heads: int, group: int, like: Tensor) -> Tensor:
        """Return the scores of a step, for all layers: columns that a row does not have stay at -inf."""
        if (heads, group) not in self._scores:
            shared = max((run.column + run.end - run.start for run in self._runs), default=0)
            shape = (heads, self.rows, group, shared + self.width)
            self._scores[heads, group] = like.new_full(shape, -math.inf)
        return self._scores[heads, group]

    def _own_mask(self, heads: int, like: Tensor) -> Tensor:
        """Return what is added to the own scores [heads * R, 1, width]: -inf at the pads left of a prompt."""
        if heads not in self._masks:
            mask = like.new_zeros(self.rows, self._capacity)
            absent = torch.arange(self._capacity) < self._pads[:, None]
            mask.masked_fill_(absent.to(like.device), -math.inf)
            self._masks[heads] = mask.repeat(heads, 1)[:, None]
        return self._masks[heads][..., : self.width]


def _right_aligned(parts: Sequence[tuple[Tensor, int]], width: int, room: int) -> Tensor:
    """Return the rows of all parts, as `width` columns before `room` empty ones.

    A part is [heads, R, columns, head size], of whose columns the first so many are in use.
    """
    first = parts[0][0]
    rows = sum(states.shape[1] for states, _ in parts)
    block = first.new_zeros(first.shape[0], rows, width + room, first.shape[3])
    start = 0
    for states, used in parts:
        size = min(used, width)
        block[:, start : start + states.shape[1], width - size : width] = states[:, :, used - size : used]
        start += states.shape[1]
    return block


def _decode_attention(
    module: nn.Module,
    query: Tensor,
    key: Tensor,
    value: Tensor,
    attention_mask: Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **settings: Any,
) -> tuple[Tensor, None]:
    """Attend with the model's keyword argument `row_cache`, or along the tree while the cache is filled.

    transformers fixes the signature; shapes as in `tree_attention` and `RowCache.attend`.
    """
    cache: RowCache = settings["row_cache"]
    layer: Any = module.layer_idx
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    if "tree_plan" in settings:
        cache.put(layer, key[0], value[0])
        plan = plan_for(dropout, attention_mask, settings)
        if plan.depth == plan.tokens:  # one path: a plain row, whose first token a person waits for
            out = scaled_dot_product_attention(
                query, key, value, is_causal=True, scale=scale, enable_gqa=True
            )
            return out.transpose(1, 2), None
        return tree_attention(module, query, key, value, attention_mask, scaling, dropout, **settings)
    return cache.attend(layer, query, key, value, scale), None


# No mask function is registered under this name, so that transformers builds no mask.
AttentionInterface.register(ATTENTION, _decode_attention)
