"""Exact tree attention, forward and backward, as batched matrix products over the parts of a plan.

The softmax of a query is cut into parts, and every part takes the exponential of (score - shift) with the
same shift, so that sums of weights and of weighted values simply add up. Backward the shift is the
logarithm of that sum, and each part yields its exact share of the gradients (as FlashAttention-2, arXiv
2307.08691, does over blocks). Forward any shift near the query's largest score will do. The larger of the
scores with the path's first token, to which trained models attend when they attend to nothing, and with the
query's own token is near enough and costs nothing; the largest score is computed only if a sum overflows.

All of it works on arrays of [key heads, tokens, queries per key head, size], so that a range of tokens is a
slice and the queries that share a key head are rows of one product: nothing is repeated, and gradients of
keys and values sum by themselves. One row more than there are tokens takes the padding of local parts.

In bf16 a product is rounded to 8 bits when it is stored. What is then subtracted from it (the shift from
the scores, the mean of the gradient from its products) is therefore given to the product as two more
columns against columns of ones, high and low part, and is subtracted before the rounding, in the
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
BLOCK = 2_000_000
# Up to so many products of a batch are computed one after the other: as many key heads as models have.
FEW = 16


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
        heads, width = key.shape[1], value.shape[3]
        q = _rows(query, heads, dtype, scaling=scaling)
        k = _rows(key, heads, dtype, fill=1.0)
        v = _rows(value, heads, dtype, fill=1.0)
        shift = _near_top(plan, q, k)
        out, total = _sums(plan, q, k, v, shift)
        if not bool(total.isfinite().all()):
            shift = _top(plan, q, k)
            out, total = _sums(plan, q, k, v, shift)
        out /= total
        _split(shift.add_(total.log_()).neg_(), q)
        result = out[:, :-1].permute(1, 0, 2, 3).to(dtype).reshape(1, plan.tokens, -1, width)
        ctx.plan, ctx.scaling, ctx.dtypes = plan, scaling, (query.dtype, key.dtype, value.dtype)
        ctx.save_for_backward(q, k, v, result)
        return result

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> tuple[torch.Tensor | None, ...]:
        """Return the gradients of the queries, keys and values in their own dtypes."""
        q, k, v, out = ctx.saved_tensors
        plan: Plan = ctx.plan
        heads = len(k)
        exact = torch.promote_types(q.dtype, torch.float32)
        g = _rows(grads[0].transpose(1, 2), heads, q.dtype)
        mean = (grads[0].to(exact) * out).sum(-1).view(plan.tokens, heads, -1, 1)
        _split(mean.transpose(0, 1).neg_(), g[:, :-1])
        dq, dk, dv = (
            torch.zeros((*rows.shape[:3], rows.shape[3] - EXTRA), dtype=exact, device=q.device)
            for rows in (q, k, v)
        )
        for part in plan.local:
            queries, keys = part.queries.flatten(), part.keys.flatten()
            rows = _gather(part, q, k, v, g)
            found = _gradients(rows[0], rows[1], rows[2], rows[3], part.hidden)
            dq.index_copy_(1, queries, found[0].view(heads, len(queries), *dq.shape[2:]).to(exact))
            dk.index_add_(1, keys, found[1].view(heads, len(keys), 1, -1).to(exact))
            dv.index_add_(1, keys, found[2].view(heads, len(keys), 1, -1).to(exact))
        for part in plan.cross:
            for start, end in _blocks(part, q):
                keys = slice(part.key_start, part.key_end)
                found = _gradients(
                    _merge(q[:, start:end]), k[:, keys, 0], v[:, keys, 0], _merge(g[:, start:end])
                )
                dq[:, start:end] += found[0].view(dq[:, start:end].shape)
                dk[:, keys, 0] += found[1]
                dv[:, keys, 0] += found[2]
        dq *= ctx.scaling
        dtypes: tuple[torch.dtype, ...] = ctx.dtypes
        return (
            *(_heads(rows, dtype) for rows, dtype in zip((dq, dk, dv), dtypes, strict=True)),
            None,
            None,
            None,
        )


def _sums(
    plan: Plan, q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, shift: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor]:
    """Return each query's weighted values [K, T + 1, G, V] and its sum of weights [K, T + 1, G, 1]."""
    _split(-shift, q)
    values = v[..., :-EXTRA]
    out = torch.empty((*q.shape[:3], values.shape[3]), dtype=shift.dtype, device=q.device)
    total = torch.empty_like(shift)
    total[:, -1] = 1.0  # the padding's, where there may be none: what lay there must decide nothing
    for part in plan.local:
        rows, keys, taken = _gather(part, q, k, values)
        weights = _weights(rows, keys, part.hidden)
        queries = part.queries.flatten()
        sums = weights.sum(-1, dtype=shift.dtype)
        total.index_copy_(1, queries, sums.view(len(q), len(queries), -1, 1))
        found = _product(weights, taken).to(out.dtype)
        out.index_copy_(1, queries, found.view(len(q), len(queries), *out.shape[2:]))
    for part in plan.cross:
        keys = slice(part.key_start, part.key_end)
        for start, end in _blocks(part, q):
            weights = _weights(_merge(q[:, start:end]), k[:, keys, 0])
            total[:, start:end] += weights.sum(-1, dtype=shift.dtype).view(total[:, start:end].shape)
            out[:, start:end] += _product(weights, values[:, keys, 0]).view(out[:, start:end].shape)
    return out, total


def _weights(q: torch.Tensor, k: torch.Tensor, hidden: torch.Tensor | None = None) -> torch.Tensor:
    """Return exp(score - shift) of a part [B, rows, keys]; the queries' extra columns hold the shift."""
    scores = _product(q, k.transpose(1, 2))
    return (scores if hidden is None else _hide(scores, hidden)).exp_()


def _gradients(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, g: torch.Tensor, hidden: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Return the part's gradients of its scaled queries, keys and values; all inputs carry extra columns."""
    weights = _weights(q, k, hidden)
    dv = _product(weights.transpose(1, 2), g[..., :-EXTRA])
    scores = _product(g, v.transpose(1, 2)).mul_(weights)
    return _product(scores, k[..., :-EXTRA]), _product(scores.transpose(1, 2), q[..., :-EXTRA]), dv


def _product(left: torch.Tensor, right: torch.Tensor) -> torch.Tensor:
    """Return the products [B, rows, columns] of two batches.

    A batched product deals whole products to the threads, so that three of them on two threads leave one idle
    for a third of the time. Few large ones are computed in turn, each by all threads, to the same bits; in
    bf16 the batched kernel shares out better and is the faster one.
    """
    if left.device.type != "cpu" or left.dtype == torch.bfloat16 or len(left) > FEW:
        return torch.bmm(left, right)
    out = left.new_empty((len(left), left.shape[1], right.shape[2]))
    for one, other, into in zip(left, right, out, strict=True):
        torch.mm(one, other, out=into)
    return out


def _near_top(plan: Plan, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Return each query's larger score of two: with its path's first token, and itself [K, T + 1, G, 1]."""
    exact = torch.promote_types(q.dtype, torch.float32)
    queries, keys = q[..., :-EXTRA], k[..., :-EXTRA]
    shift = (queries * keys).sum(-1, keepdim=True, dtype=exact)
    for start, end in plan.roots:
        first = _product(_merge(queries[:, start:end]), keys[:, start : start + 1, 0].transpose(1, 2))
        torch.maximum(shift[:, start:end], first.view(shift[:, start:end].shape), out=shift[:, start:end])
    return shift


def _top(plan: Plan, q: torch.Tensor, k: torch.Tensor) -> torch.Tensor:
    """Return each query's largest score [K, T + 1, G, 1]: the safe shift, at the price of another pass."""
    exact = torch.promote_types(q.dtype, torch.float32)
    queries, keys = q[..., :-EXTRA], k[..., :-EXTRA]
    shift = torch.zeros((*q.shape[:3], 1), dtype=exact, device=q.device)
    for part in plan.local:
        rows, taken = _gather(part, queries, keys)
        top = _hide(_product(rows, taken.transpose(1, 2)), part.hidden).amax(-1)
        index = part.queries.flatten()
        shift.index_copy_(1, index, top.view(len(q), len(index), -1, 1).to(exact))
    for part in plan.cross:
        for start, end in _blocks(part, q):
            taken = keys[:, part.key_start : part.key_end, 0]
            top = _product(_merge(queries[:, start:end]), taken.transpose(1, 2)).amax(-1)
            shift[:, start:end] = torch.maximum(shift[:, start:end], top.view(shift[:, start:end].shape))
    return shift


def _rows(
    heads_first: torch.Tensor, heads: int, dtype: torch.dtype, *, scaling: float = 1.0, fill: float = 0.0
) -> torch.Tensor:
    """Return [1, H, T, D] as [heads, T + 1, H / heads, D + EXTRA], scaled before it is rounded to `dtype`."""
    _, every, tokens, size = heads_first.shape
    rows = torch.empty(
        (heads, tokens + 1, every // heads, size + EXTRA), dtype=dtype, device=heads_first.device
    )
    rows[..., size:] = fill
    rows[:, -1, :, :size] = 0.0
    grouped = heads_first.view(heads, every // heads, tokens, size).transpose(1, 2)
    rows[:, :-1, :, :size] = grouped if scaling == 1.0 else grouped * scaling
    return rows


def _heads(rows: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Undo `_rows` without the extra columns: [1, H, T, D], laid out by token as projections are."""
    heads, tokens, group, size = rows.shape
    flat = torch.empty((tokens - 1, heads, group, size), dtype=dtype, device=rows.device)
    flat.copy_(rows[:, :-1].transpose(0, 1))
    return flat.view(1, tokens - 1, heads * group, size).transpose(1, 2)


def _split(values: torch.Tensor, rows: torch.Tensor) -> None:
    """Write values [..., 1] into the extra columns of rows, whose sum has twice the columns' precision."""
    rows[..., -2:-1] = values
    rows[..., -1:] = values - rows[..., -2:-1]


def _merge(rows: torch.Tensor) -> torch.Tensor:
    """Make [K, T, G, D] the rows of one product per key head, [K, T * G, D]."""
    return rows.flatten(1, 2)


def _blocks(part: Cross, q: torch.Tensor) -> Iterator[tuple[int, int]]:
    """Cut the queries of a cross part into equal blocks whose scores fit `BLOCK`."""
    count = part.query_end - part.key_end
    scores = count * (part.key_end - part.key_start) * q.shape[0] * q.shape[2]
    step = -(-count // -(-scores // BLOCK))
    for start in range(part.key_end, part.query_end, step):
        yield start, min(start + step, part.query_end)


def _gather(part: Local, q: torch.Tensor, *arrays: torch.Tensor) -> list[torch.Tensor]:
    """Return the rows of a local part [heads * B, rows, size] for q, keys, values and gradients of q."""
    indices = (part.queries, part.keys, part.keys, part.queries)
    taken = [
        array.index_select(1, index.flatten()) for array, index in zip((q, *arrays), indices, strict=False)
    ]
    return [rows.view(len(q) * len(part.queries), -1, rows.shape[-1]) for rows in taken]


def _hide(scores: torch.Tensor, hidden: torch.Tensor) -> torch.Tensor:
    """Set scores [heads * B, Q * group, K] to minus infinity, in place, where [B, Q, K] says so."""
    batch, queries, keys = hidden.shape
    scores.view(-1, batch, queries, scores.shape[1] // queries, keys).masked_fill_(
        hidden.unsqueeze(2), -torch.inf
    )
    return scores
