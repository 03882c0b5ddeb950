"""The fast paths against the slow ones, on a few of the user's own rows, with the largest gap of each.

The slow path of training is each row alone, with the model's own attention, its gradients added up. In fp64
the fast path must be equal to rounding. In fp32 both round, so what counts is how far each is from fp64; in
bf16, how far each is from fp32. `decode` is not imported here: what it can do comes in as functions
(`docs/decisions/verify.md`).
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import torch
from torch.overrides import TorchFunctionMode

from espalier.encode.batches import build_trees
from espalier.encode.tree import Tree, build_tree, path_length
from espalier.models.forward import edge_logprobs
from espalier.train.loop import Forward, autocast
from espalier.train.objectives import sft

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from espalier.core.records import Encoded

# From a model, prompts and a number of tokens to the tokens that cached greedy decoding writes.
Generate: TypeAlias = "Callable[[PreTrainedModel, Sequence[tuple[int, ...]], int], list[tuple[int, ...]]]"
Gradients: TypeAlias = "dict[str, Tensor]"

ROWS, TOKENS, NEW_TOKENS = 6, 2000, 12
ROUNDING = 1.5  # how much further than naive from the more exact result the fast path may be


@dataclass(frozen=True)
class Check:
    """One comparison: the largest gap that was found, and the largest that is right."""

    name: str
    gap: float
    bound: float

    @property
    def ok(self) -> bool:
        """Whether the gap is within the bound; a gap that is not a number is not."""
        return self.gap <= self.bound


def verify(
    model: PreTrainedModel,
    rows: Sequence[Encoded],
    *,
    forward: Forward = edge_logprobs,
    generate: Generate | None = None,
    reload: Callable[[PreTrainedModel], PreTrainedModel] | None = None,
) -> Iterator[Check]:
    """Yield the checks on a few of `rows`, for the weights that `model` trains; the model is not changed.

    Args:
        model: in fp32, prepared by its method.
        rows: the training rows; `sample` says which are taken.
        forward: the fast path.
        generate: cached decoding, to be checked against full recomputation.
        reload: saves the model, loads it again, and returns what was loaded.
    """
    taken = sample(rows)
    model = copy.deepcopy(model).eval()
    _wake(model)
    yield from _training_checks(model, taken, forward)
    if generate:
        yield _decoding_check(model, taken, generate)
    if reload:
        yield _reload_check(model, taken, reload(model))


def sample(rows: Sequence[Encoded]) -> list[Encoded]:
    """Return at most `ROWS` rows, of at most `TOKENS` tokens in all: two neighbours, and others far away."""
    ordered = sorted(rows, key=lambda row: row.ids)
    spread = [ordered[len(ordered) * part // (ROWS - 1)] for part in range(ROWS - 1)]
    wanted = [*ordered[:2], *spread[::-1]]
    taken = list({id(row): row for row in wanted}.values())[:ROWS]
    while len(taken) > 2 and sum(len(row.ids) for row in taken) > TOKENS:
        taken.pop()
    return taken


def _training_checks(model: nn.Module, rows: Sequence[Encoded], forward: Forward) -> Iterator[Check]:
    alone = [build_tree([row]) for row in rows]
    together = [build_tree(rows)]
    half = max(len(together[0].ids) // 2, *(path_length(row) for row in rows))
    by_row = partial(edge_logprobs, shared=False)
    exact_model = copy.deepcopy(model).double()
    with KeepDouble():
        exact_loss, exact = _gradients(exact_model, alone, by_row)
        loss, gradients = _gradients(exact_model, together, forward)
    del exact_model
    yield Check("prefix sharing, loss, fp64", abs(loss - exact_loss) / exact_loss, 1e-12)
    yield Check("prefix sharing, each gradient, fp64", _largest_gap(gradients, exact), 1e-6)
    del gradients
    single_loss, single = _gradients(model, alone, by_row)
    own_gap = _gap(single, exact)
    for name, trees in (
        ("prefix sharing, gradient, fp32", together),
        ("accumulation, row by row, fp32", alone),
        ("accumulation, packs, fp32", build_trees([[row] for row in rows], half)),
        ("batch order, fp32", [build_tree(rows[::-1])]),
    ):
        yield Check(name, _gap(_gradients(model, trees, forward)[1], exact), ROUNDING * own_gap)
    del exact
    bf16_own_gap = _gap(_gradients(model, alone, by_row, "bf16")[1], single)
    loss, gradients = _gradients(model, together, forward, "bf16")
    yield Check("bf16 against fp32, loss", abs(loss - single_loss) / single_loss, 0.02)
    yield Check("bf16 against fp32, gradient", _gap(gradients, single), min(ROUNDING * bf16_own_gap, 0.25))


def _decoding_check(model: PreTrainedModel, rows: Sequence[Encoded], generate: Generate) -> Check:
    """Return by how much, in logits, a full forward prefers another token than cached decoding chose."""
    prompts = [row.ids[: row.prompt] for row in rows]
    worst = 0.0
    for prompt, answer in zip(prompts, generate(model, prompts, NEW_TOKENS), strict=True):
        if answer:
            logits = _logits(model, (*prompt, *answer))[len(prompt) - 1 : -1]
            chosen = logits.gather(1, torch.tensor(answer, device=logits.device)[:, None])[:, 0]
            worst = max(worst, float((logits.max(-1).values - chosen).max()))
    return Check("cached decoding, logits, fp32", worst, 1e-3)


def _reload_check(model: PreTrainedModel, rows: Sequence[Encoded], loaded: PreTrainedModel) -> Check:
    gaps = [(_logits(model, row.ids) - _logits(loaded.eval(), row.ids)).abs().max() for row in rows[:2]]
    return Check("save and load, logits", float(torch.stack(gaps).max()), 0.0)


@torch.no_grad()
def _logits(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    return model(input_ids=torch.tensor([list(ids)], device=model.device), use_cache=False).logits[0]


def _gradients(
    model: nn.Module, trees: Sequence[Tree], forward: Forward, precision: str = "fp32"
) -> tuple[float, Gradients]:
    """Return the mean loss over the trees' trained tokens, and its gradients by weight name."""
    objective = sft()
    weight = sum(float(tree.weights.sum()) for tree in trees)
    total = 0.0
    for tree in trees:
        with autocast(model, precision):
            loss = objective.loss(forward(model, tree), tree).total / weight
        loss.backward()
        total += float(loss.detach())
    gradients: Gradients = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            gradients[name], parameter.grad = parameter.grad, None
    return total, gradients


def _gap(found: Gradients, expected: Gradients) -> float:
    """Return the distance (L2) of the whole gradient, relative to what is expected, computed in fp64."""
    apart = sum(float((found[name].double() - expected[name].double()).square().sum()) for name in expected)
    return (apart / _square(expected)) ** 0.5


def _largest_gap(found: Gradients, expected: Gradients) -> float:
    """Return the largest relative distance (L2) of a weight's gradient.

    A gradient that is zero but for rounding, as a key bias has, is measured against 1e-8 of the whole.
    """
    floor = 1e-8 * _square(expected) ** 0.5
    return max(
        float((found[name] - expected[name]).norm() / max(float(expected[name].norm()), floor))
        for name in expected
    )


def _square(gradients: Gradients) -> float:
    return sum(float(gradient.double().square().sum()) for gradient in gradients.values())


def _wake(model: nn.Module) -> None:
    """Fill trained weights that are all zero, as a fresh adapter's are: behind zeros nothing could differ."""
    generator = torch.Generator().manual_seed(0)
    for weight in model.parameters():
        if weight.requires_grad and not weight.any():
            noise = torch.randn(weight.shape, generator=generator) * 0.02
            weight.data.copy_(noise)


class KeepDouble(TorchFunctionMode):
    """Leave fp64 as it is where a model's code casts to fp32, as norms and rotary embeddings do.

    Those casts are for models in bf16. In fp64 they would round to 1e-7 and hide what is compared.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: dict[str, Any] | None = None
    ) -> Any:
        """Run `func`, unless it would only round."""
        given = kwargs or {}
        rounds = func is torch.Tensor.float or (
            func is torch.Tensor.to and torch.float32 in (*args[1:], *given.values())
        )
        if rounds and cast("Tensor", args[0]).dtype is torch.float64:
            return args[0]
        return func(*args, **given)
