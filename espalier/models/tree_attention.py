"""Exact tree attention, forward and backward, as batched matrix products over the parts of a plan.

The parts of a query are merged by their log-sum-exp. The backward pass takes the probabilities of every part
with the *merged* log-sum-exp, so that each part yields its exact share of the gradients (as FlashAttention-2,
arXiv 2307.08691, does over blocks).

All of it works on arrays of [key heads, tokens, queries per key head, size], so that a range of tokens is a
slice and the queries that share a key head are rows of one product: nothing is repeated, and gradients of
keys and values sum by themselves. One row more than there are tokens takes the padding of local parts.

In bf16 a product is rounded to 8 bits when it is stored. What is then subtracted from it (the log-sum-exp
from the scores, the mean of the gradient from its products) is therefore given to the product as two more
columns against a column of ones, high and low part, and is subtracted before the rounding, in the
accumulators' fp32.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Iterator

    from espalier.models.attention_plan import Cross, Local, Plan

EXTRA = 2
# Scores that one product may hold at a time: they should stay in the cache, and memory must stay bounded.
BLOCK = 4_000_000


class TreeAttention(torch.autograd.Function):
    """Attention of queries [1, H, T, D] to keys [1, K, T, D] and values [1, K, T, V] along a plan's tree."""

    @staticmethod
    def forward(
        ctx: Any,
        query: torch.Tensor,
        key: torch.Tensor,
        value: torch.Tensor,
        plan: Plan,
        scaling: float,
        dtype: torch.dtype,
    ) -> torch.Tensor:
        """Return the outputs [1, T, H, V] in `dtype`, in which the products are computed."""
        heads, size, width = key.shape[1], query.shape[3], value.shape[3]
        q = _rows(query, heads, scaling, dtype, EXTRA)
        k = _rows(key, heads, 1.0, dtype, EXTRA, fill=1.0)
        v = _rows(value, heads, 1.0, dtype, EXTRA, fill=1.0)
        exact = torch.promote_types(dtype, torch.float32)
        out = torch.empty((*q.shape[:3], width), dtype=exact, device=q.device)
        top = torch.empty((*q.shape[:3], 1), dtype=exact, device=q.device)
        total = torch.empty_like(top)
        for part in plan.local:
            rows = _gather(part, q[..., :size], k[..., :size], v[..., :width])
            result = _attend(rows[0], rows[1], rows[2], part.hidden)
            for whole, found in zip((out, top, total), result, strict=True):
                whole[:, part.queries] = found.view(heads, *part.queries.shape, *whole.shape[2:])
        for part in plan.cross:
            for start, end in _blocks(part, q):
                result = _attend(
                    q[:, start:end, :, :size].flatten(1, 2),
                    k[:, part.key_start : part.key_end, 0, :size],
                    v[:, part.key_start : part.key_end, 0, :width],
                )
                _merge(out[:, start:end], top[:, start:end], total[:, start:end], *result)
        out /= total
        _split(top.add_(total.log_()).neg_(), q[..., size:])
        result = out[:, :-1].permute(1, 0, 2, 3).to(dtype).reshape(1, plan.tokens, -1, width)
        ctx.plan, ctx.scaling, ctx.dtypes = plan, scaling, (query.dtype, key.dtype, value.dtype)
        ctx.save_for_backward(q, k, v, result)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of the queries, keys and values in their own dtypes."""
        q, k, v, out = ctx.saved_tensors
        plan: Plan = ctx.plan
        heads, size, width = k.shape[0], q.shape[3] - EXTRA, v.shape[3] - EXTRA
        exact = torch.promote_types(q.dtype, torch.float32)
        g = _rows(grads[0].transpose(1, 2), heads, 1.0, q.dtype, EXTRA)
        mean = (grads[0].to(exact) * out).sum(-1, keepdim=True)  # [1, T, H, 1]
        _split(mean.view(plan.tokens, heads, -1, 1).transpose(0, 1).neg_(), g[:, :-1, :, width:])
        dq = torch.empty((*q.shape[:3], size), dtype=exact, device=q.device)
        dk = torch.zeros((*k.shape[:3], size), dtype=exact, device=q.device)
        dv = torch.zeros((*v.shape[:3], width), dtype=exact, device=q.device)
        for part in plan.local:
            rows = _gather(part, q, k, v, g)
            parts = _differentiate(rows[0], rows[1], rows[2], rows[3], part.hidden)
            dq[:, part.queries] = parts[0].view(heads, *part.queries.shape, *dq.shape[2:]).to(exact)
            keys = part.keys.flatten()
            for whole, found in zip((dk, dv), parts[1:], strict=True):
                whole.index_add_(1, keys, found.view(heads, len(keys), 1, -1).to(exact))
        for part in plan.cross:
            keys = slice(part.key_start, part.key_end)
            for start, end in _blocks(part, q):
                parts = _differentiate(
                    q[:, start:end].flatten(1, 2), k[:, keys, 0], v[:, keys, 0], g[:, start:end].flatten(1, 2)
                )
                dq[:, start:end] += parts[0].view(dq[:, start:end].shape)
                dk[:, keys, 0] += parts[1]
                dv[:, keys, 0] += parts[2]
        dq *= ctx.scaling
        dtypes: tuple[torch.dtype, ...] = ctx.dtypes
        return (
            *(_heads(whole, dtype) for whole, dtype in zip((dq, dk, dv), dtypes, strict=True)),
            None,
            None,
            None,
        )


def _rows(
    heads_first: torch.Tensor, heads: int, scaling: float, dtype: torch.dtype, extra: int, fill: float = 0.0
) -> torch.Tensor:
    """Return [1, H, T, D] as [heads, T + 1, H / heads, D + extra], scaled before it is rounded to `dtype`."""
    _, every, tokens, size = heads_first.shape
    rows = torch.empty(
        (heads, tokens + 1, every // heads, size + extra), dtype=dtype, device=heads_first.device
    )
    rows[..., size:] = fill
    rows[:, -1, :, :size] = 0.0
    grouped = heads_first.view(heads, every // heads, tokens, size).transpose(1, 2)
    if scaling == 1.0:
        rows[:, :-1, :, :size] = grouped
    else:
        rows[:, :-1, :, :size] = grouped * scaling
    return rows


def _heads(rows: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Undo `_rows` without the extra columns: [1, H, T, D], laid out by token as projections are."""
    heads, tokens, group, size = rows.shape
    flat = torch.empty((tokens - 1, heads, group, size), dtype=dtype, device=rows.device)
    flat.copy_(rows[:, :-1].transpose(0, 1))
    return flat.view(1, tokens - 1, heads * group, size).transpose(1, 2)


def _split(values: torch.Tensor, columns: torch.Tensor) -> None:
    """Write values [..., 1] into two columns whose sum is the value to twice the columns' precision."""
    columns[..., :1] = values
    columns[..., 1:] = values - columns[..., :1]


def _blocks(part: Cross, q: torch.Tensor) -> Iterator[tuple[int, int]]:
    """Cut the queries of a cross part into equal blocks whose scores fit `BLOCK`."""
    count = part.query_end - part.key_end
    scores = count * (part.key_end - part.key_start) * q.shape[0] * q.shape[2]
    step = -(-count // -(-scores // BLOCK))
    for start in range(part.key_end, part.query_end, step):
        yield start, min(start + step, part.query_end)


def _gather(
    part: Local, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, *more: torch.Tensor
) -> list[torch.Tensor]:
    """Return the rows of a local part, [heads * B, rows, size] each; `more` is taken at the queries."""
    heads, batch = q.shape[0], len(part.queries)
    taken = [(q, part.queries), (k, part.keys), (v, part.keys), *((array, part.queries) for array in more)]
    return [array[:, index].view(heads * batch, -1, array.shape[-1]) for array, index in taken]


def _attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, hidden: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return weighted values [B, rows, V], each row's largest score and its sum of weights [B, rows, 1]."""
    scores = torch.bmm(q, k.transpose(1, 2))
    if hidden is not None:
        _hide(scores, hidden)
    top = scores.amax(-1, keepdim=True)
    weights = scores.sub_(top).exp_()
    exact = torch.promote_types(q.dtype, torch.float32)
    return torch.bmm(weights, v).to(exact), top.to(exact), weights.sum(-1, keepdim=True, dtype=exact)


def _differentiate(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, g: torch.Tensor, hidden: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the part's gradients of its scaled queries, keys and values; all inputs carry extra columns."""
    weights = torch.bmm(q, k.transpose(1, 2))
    if hidden is not None:
        _hide(weights, hidden)
    weights.exp_()
    dv = torch.bmm(weights.transpose(1, 2), g[..., :-EXTRA])
    scores = torch.bmm(g, v.transpose(1, 2)).mul_(weights)
    return torch.bmm(scores, k[..., :-EXTRA]), torch.bmm(scores.transpose(1, 2), q[..., :-EXTRA]), dv


def _hide(scores: torch.Tensor, hidden: torch.Tensor) -> None:
    """Set scores [heads * B, Q * group, K] to minus infinity in place where [B, Q, K] says so."""
    batch, queries, keys = hidden.shape
    scores.view(-1, batch, queries, scores.shape[1] // queries, keys).masked_fill_(
        hidden.unsqueeze(2), -torch.inf
    )


def _merge(
    out: torch.Tensor,
    top: torch.Tensor,
    total: torch.Tensor,
    values: torch.Tensor,
    peak: torch.Tensor,
    part: torch.Tensor,
) -> None:
    """Add a part's weighted values and sum of weights to those so far, in place, at the larger top score."""
    peak, part, values = peak.view(top.shape), part.view(top.shape), values.view(out.shape)
    high = torch.maximum(top, peak)
    old, new = (top - high).exp_(), peak.sub_(high).exp_()
    out.mul_(old).addcmul_(values, new)
    total.mul_(old).addcmul_(part, new)
    top.copy_(high)
