"""Log-probabilities of edges: the tree against the rows one by one, in all precisions, and with adapters."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from peft import LoraConfig, get_peft_model

from espalier.core.records import Encoded
from espalier.encode.tokens import encode
from espalier.encode.tree import build_tree
from espalier.models.adapters import peft_as_it_is
from espalier.models.forward import _Logprobs, edge_logprobs
from espalier.models.load import load_model
from espalier.tasks.task_files import load_task
from espalier.tasks.templates import Show, to_examples

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import LlamaForCausalLM, PreTrainedModel

    from espalier.encode.tree import Tree

    Gradients = dict[str, torch.Tensor]


def loss_of(model: PreTrainedModel, tree: Tree, *, shared: bool) -> tuple[float, Gradients]:
    model.zero_grad()
    weights = torch.from_numpy(np.bincount(tree.entry_edges, tree.weights))
    loss = -(edge_logprobs(model, tree, shared=shared).logprobs * weights).sum()
    loss.backward()
    grads = {name: part.grad.double() for name, part in model.named_parameters() if part.grad is not None}
    return loss.item(), grads


def distance(one: Gradients, two: Gradients) -> float:
    """Relative L2 distance of two whole gradients."""
    gap = sum(float((one[name] - two[name]).square().sum()) for name in two)
    return (gap / sum(float(grad.square().sum()) for grad in two.values())) ** 0.5


def check_exact(model: PreTrainedModel, tree: Tree) -> None:
    """Assert the bounds of fp64: 1e-12 for the loss and 1e-6 for each parameter's gradient."""
    loss, grads = loss_of(model, tree, shared=True)
    wanted, slow = loss_of(model, tree, shared=False)
    assert loss == pytest.approx(wanted, rel=1e-12)
    assert grads.keys() == slow.keys()
    for name, grad in slow.items():
        assert float((grads[name] - grad).norm()) <= 1e-6 * float(grad.norm()), name


def test_fp64_is_exact(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded]):
    check_exact(tiny_llama.double(), build_tree(tiny_rows))


def test_adapters_are_exact(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded]):
    settings = LoraConfig(
        r=2, target_modules=["q_proj", "v_proj", "down_proj", "lm_head"], init_lora_weights=False
    )
    with peft_as_it_is():
        model = get_peft_model(tiny_llama, settings).double()
    check_exact(model, build_tree(tiny_rows))


def test_fp32_is_as_near_to_fp64_as_naive_is(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded]):
    tree = build_tree(tiny_rows)
    single = {shared: loss_of(tiny_llama, tree, shared=shared)[1] for shared in (True, False)}
    exact = loss_of(tiny_llama.double(), tree, shared=False)[1]
    assert distance(single[True], exact) <= 1.5 * distance(single[False], exact)


@pytest.mark.parametrize("pure", [True, False], ids=["pure", "autocast"])
def test_bf16_errs_as_naive_does(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded], pure: bool):
    tree = build_tree(tiny_rows)
    exact = loss_of(tiny_llama, tree, shared=False)[1]
    model = tiny_llama.to(torch.bfloat16) if pure else tiny_llama
    with torch.autocast("cpu", torch.bfloat16, enabled=not pure):
        rough = {shared: loss_of(model, tree, shared=shared)[1] for shared in (True, False)}
    assert distance(rough[True], exact) <= 1.25 * distance(rough[False], exact)


def test_edges_are_those_of_the_model_itself(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded]):
    tree = build_tree(tiny_rows)
    for shared in (True, False):
        edges = edge_logprobs(tiny_llama, tree, shared=shared)
        found = edges.logprobs.double().detach().numpy()[tree.entry_edges]
        for number, row in enumerate(tiny_rows):
            logits = tiny_llama(torch.tensor([row.ids])).logits[0].double().log_softmax(-1)
            wanted = [logits[at - 1, row.ids[at]].item() for at in np.flatnonzero(row.weights)]
            assert found[tree.entry_rows == number] == pytest.approx(wanted, abs=1e-5)


def test_the_head_runs_at_sources_only(tiny_llama: LlamaForCausalLM, tiny_rows: list[Encoded]):
    tree = build_tree(tiny_rows)
    seen: list[torch.Size] = []
    tiny_llama.lm_head.register_forward_hook(lambda *parts: seen.append(parts[2].shape))
    edge_logprobs(tiny_llama, tree)
    assert seen == [torch.Size((1, len(set(tree.sources.tolist())), 64))]


# Distinct pairs of a row of logits and a token; some rows have several and some none.
PAIRS = torch.tensor([0, 0, 3, 6, 6]), torch.tensor([1, 8, 0, 2, 3])


@pytest.fixture
def logits(monkeypatch: pytest.MonkeyPatch) -> torch.Tensor:
    """Logits [7, 9] that are taken two rows at a time."""
    monkeypatch.setattr("espalier.models.forward.CHUNK", 20)
    torch.manual_seed(0)
    return torch.randn(7, 9, dtype=torch.float64, requires_grad=True)


def test_logprobs_have_the_gradients_of_log_softmax(logits: torch.Tensor):
    def chosen(values: torch.Tensor) -> torch.Tensor:
        return _Logprobs.apply(values, *PAIRS)[0]

    assert torch.allclose(chosen(logits), logits.log_softmax(-1)[PAIRS])
    assert torch.autograd.gradcheck(chosen, logits)


def test_means_have_the_gradients_of_log_softmax(logits: torch.Tensor):
    both, means = (lambda x: _Logprobs.apply(x, *PAIRS)), (lambda x: _Logprobs.apply(x, *PAIRS)[1])
    assert torch.allclose(means(logits), logits.log_softmax(-1).mean(-1)[PAIRS[0]])
    assert torch.autograd.gradcheck(means, logits)
    assert torch.autograd.gradcheck(both, logits)


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.9])
def test_label_smoothing_is_that_of_cross_entropy(logits: torch.Tensor, smoothing: float):
    rows, targets = PAIRS
    wanted = torch.nn.functional.cross_entropy(logits[rows], targets, label_smoothing=smoothing)
    chosen, means = _Logprobs.apply(logits, rows, targets)
    found = -((1 - smoothing) * chosen + smoothing * means).mean()
    assert found.item() == pytest.approx(wanted.item(), rel=1e-14)
    grads = [torch.autograd.grad(loss, logits)[0] for loss in (found, wanted)]
    assert torch.allclose(*grads, rtol=1e-12, atol=1e-15)


def test_both_are_exact_in_fp32_for_logits_in_bf16():
    logits = torch.randn(7, 9, dtype=torch.bfloat16)
    chosen, means = _Logprobs.apply(logits, *PAIRS)
    exact = logits.double().log_softmax(-1)
    assert chosen.dtype == means.dtype == torch.float32
    assert torch.allclose(chosen.double(), exact[PAIRS], atol=1e-6)
    assert torch.allclose(means.double(), exact.mean(-1)[PAIRS[0]], atol=1e-6)


@pytest.mark.model
def test_the_bundled_model_is_exact_on_real_rows(shared_data: Path, bundled_model: Path):
    loaded = load_model(str(bundled_model))
    loaded.model.config.num_hidden_layers = 3  # of 30: fp64 is slow
    loaded.model.model.layers = loaded.model.model.layers[:3]
    task = load_task(next(shared_data.glob("natural-instructions-v2/tasks/task003*.json")))
    examples = to_examples(task, Show(cautions=False, positive=0, negative=0))[:2]
    check_exact(loaded.model.double(), build_tree([encode(example, loaded.template) for example in examples]))
