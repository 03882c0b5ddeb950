"""Properties of any forest of rows: what is laid out, and that attention along it equals a dense mask."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.core.records import Encoded
from espalier.encode.tree import Tree, build_tree, common_prefix, row_path, row_tokens, stats
from espalier.models import attention_plan
from espalier.models.forward import edge_logprobs
from espalier.models.tree_attention import TreeAttention

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import LlamaForCausalLM


@st.composite
def row_sets(draw: st.DrawFn) -> list[Encoded]:
    """Rows over few tokens, so that they share, branch, end inside each other, repeat and start apart."""
    rows: list[Encoded] = []
    for number in range(draw(st.integers(1, 9))):
        old = draw(st.sampled_from(rows)).ids if rows and draw(st.booleans()) else ()
        kept = old[: draw(st.integers(0, len(old)))]
        ids = kept + tuple(draw(st.lists(st.integers(0, 2), min_size=max(0, 2 - len(kept)), max_size=12)))
        marks = draw(st.lists(st.sampled_from([0.0, 1.0, 0.5]), min_size=len(ids) - 1, max_size=len(ids) - 1))
        marks[draw(st.integers(0, len(marks) - 1))] = 1.0
        rows.append(Encoded(ids, (0.0, *marks), 1, f"row-{number}"))
    return rows


def seen(tree: Tree) -> np.ndarray:
    """Return which tokens each token attends to [T, T], from the rows' paths."""
    mask = np.zeros((len(tree.ids), len(tree.ids)), bool)
    for row in range(len(tree.rows)):
        path = row_path(tree, row)
        mask[np.ix_(path, path)] |= np.tri(len(path), dtype=bool)
    return mask


@given(row_sets())
def test_rows_come_back_up_to_their_last_target(rows: list[Encoded]):
    tree = build_tree(rows)
    for number, row in enumerate(rows):
        last = max(index for index, weight in enumerate(row.weights) if weight)
        assert row_tokens(tree, number) == row.ids[: last + 1]


@given(row_sets())
def test_positions_are_depths_and_every_token_is_on_a_path(rows: list[Encoded]):
    tree = build_tree(rows)
    paths = [row_path(tree, row) for row in range(len(rows))]
    for path in paths:
        assert tree.positions[path].tolist() == list(range(len(path)))
    assert set(np.concatenate(paths).tolist()) == set(range(len(tree.ids)))


@given(st.lists(st.integers(0, 1), max_size=80), st.lists(st.integers(0, 1), max_size=80), st.integers(0, 80))
def test_rows_share_the_tokens_before_the_first_that_differs(one: list[int], two: list[int], kept: int):
    two = one[:kept] + two
    size = min(len(one), len(two))
    naive = next((at for at in range(size) if one[at] != two[at]), size)
    assert common_prefix(tuple(one), tuple(two)) == naive


@given(row_sets())
def test_no_prefix_is_laid_out_twice(rows: list[Encoded]):
    tree = build_tree(rows)
    prefixes = {
        tuple(tree.ids[row_path(tree, row)][: depth + 1])
        for row in range(len(rows))
        for depth in range(tree.positions[tree.leaves[row]] + 1)
    }
    assert stats(tree).distinct_tokens == len(prefixes)


@given(row_sets())
def test_nodes_cover_the_layout_and_what_is_below_is_contiguous(rows: list[Encoded]):
    tree = build_tree(rows)
    assert np.concatenate([np.arange(*span) for span in tree.node_spans]).tolist() == list(
        range(len(tree.ids))
    )
    mask = seen(tree)
    for span, end in zip(tree.node_spans, tree.ends, strict=True):
        below = np.flatnonzero(mask[:, span[1] - 1])
        assert below.tolist() == list(range(span[1] - 1, end))


@given(row_sets())
def test_entries_keep_order_and_weights(rows: list[Encoded]):
    tree = build_tree(rows)
    wanted = [
        (number, ids, weight)
        for number, row in enumerate(rows)
        for ids, weight in zip(row.ids, row.weights, strict=True)
        if weight
    ]
    targets = tree.targets[tree.entry_edges]
    assert list(zip(tree.entry_rows.tolist(), targets.tolist(), tree.weights.tolist(), strict=True)) == wanted
    pairs = list(zip(tree.sources.tolist(), tree.targets.tolist(), strict=True))
    assert pairs == sorted(set(pairs))


@given(row_sets(), st.randoms())
def test_the_layout_does_not_depend_on_the_order_of_rows(rows: list[Encoded], random: object):
    shuffled = list(rows)
    random.shuffle(shuffled)  # type: ignore[attr-defined]
    one, two = build_tree(rows), build_tree(shuffled)
    assert one.ids.tolist() == two.ids.tolist()
    assert one.node_spans.tolist() == two.node_spans.tolist()


@settings(max_examples=40)
@given(row_sets(), st.integers(1, 8), st.sampled_from([1, 6, 10**9]), st.integers(1, 400))
def test_attention_equals_a_dense_mask(rows: list[Encoded], longest: int, smallest: int, block: int):
    tree = build_tree(rows)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_plan, "LONGEST_NODE", longest)
        patch.setattr(attention_plan, "SMALLEST_CROSS", smallest)
        patch.setattr("espalier.models.tree_attention.BLOCK", block)
        plan = attention_plan.make_plan(tree)
        size = len(tree.ids)
        torch.manual_seed(0)
        inputs = [
            torch.randn(1, heads, size, width, dtype=torch.float64)
            for heads, width in ((4, 6), (2, 6), (2, 3))
        ]
        weight = torch.randn(1, size, 4, 3, dtype=torch.float64)
        results = []
        for attend in ("tree", "dense"):
            q, k, v = (array.clone().requires_grad_() for array in inputs)
            if attend == "tree":
                out = TreeAttention.apply(q, k, v, plan, 0.7, torch.float64)
            else:
                keys, values = (array.repeat_interleave(2, 1) for array in (k, v))
                mask = torch.from_numpy(seen(tree))
                out = torch.nn.functional.scaled_dot_product_attention(
                    q, keys, values, mask, scale=0.7
                ).transpose(1, 2)
            out.backward(weight)
            results.append((out, q.grad, k.grad, v.grad))
    for one, two in zip(*results, strict=True):
        assert torch.allclose(one, two, rtol=0, atol=1e-12)


@pytest.fixture(scope="module")
def small_model(llama: Callable[..., LlamaForCausalLM]) -> LlamaForCausalLM:
    return llama(8, hidden_size=16, intermediate_size=24, pad_token_id=None).double()


@settings(max_examples=25)
@given(row_sets(), st.sampled_from([1, 10**9]))
def test_a_model_has_the_loss_and_gradients_of_its_rows(
    small_model: LlamaForCausalLM, rows: list[Encoded], smallest: int
):
    model, tree = small_model, build_tree(rows)
    weights = torch.from_numpy(np.bincount(tree.entry_edges, tree.weights))
    results: list[tuple[torch.Tensor, ...]] = []
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(attention_plan, "SMALLEST_CROSS", smallest)
        for shared in (True, False):
            loss = -(edge_logprobs(model, tree, shared=shared).logprobs * weights).sum()
            results.append((loss.detach(), *torch.autograd.grad(loss, list(model.parameters()))))
    (loss, *grads), (wanted, *slow) = results
    assert float(loss) == pytest.approx(float(wanted), rel=1e-12)
    for one, two in zip(grads, slow, strict=True):
        assert float((one - two).norm()) <= 1e-6 * float(two.norm()) + 1e-12
