"""The fast paths against the slow ones, on a few of the user's own rows, with the largest gap of each.

The slow path of training is each row alone, with the model's own attention, its gradients added up. In fp64
the fast path must be equal to rounding. In fp32 both round, so what counts is how far each is from fp64; in
bf16, how far each is from fp32. `decode` is not imported here: what it can do comes in as functions
(`docs/decisions/verify.md`).
"""

from __future__ import annotations

import copy
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from operator import ne
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

import numpy as np
import torch
from torch.overrides import TorchFunctionMode

from espalier.encode.batches import build_trees, group_size, groups_of
from espalier.encode.media import FIRST
from espalier.encode.tree import Tree, build_tree
from espalier.media.kinds import WORDS
from espalier.models.call import call_model
from espalier.models.exact import in_fp64
from espalier.models.forward import edge_logprobs
from espalier.models.media import never_written
from espalier.train.loop import Forward, Settings, backward, train
from espalier.train.parallel import dealt
from espalier.train.steps import Step, Term

if TYPE_CHECKING:
    from torch import Tensor, nn
    from transformers import PreTrainedModel

    from espalier.core.records import Encoded
    from espalier.media.kinds import Kind
    from espalier.models.precision import Format

# From a model, prompts and a number of tokens to the tokens that cached greedy decoding writes.
Generate: TypeAlias = "Callable[[PreTrainedModel, Sequence[tuple[int, ...]], int], list[tuple[int, ...]]]"
Gradients: TypeAlias = "dict[str, Tensor]"
Work: TypeAlias = tuple[Tree, Sequence[Term]]

TOKENS, NEW_TOKENS = 2000, 12
PLACED = 1e-6  # of the largest logit: a product may add up in another order where its weights lie elsewhere
MERGED = 1e-4  # of the largest logit: folding an adapter in rounds every weight once
ROUNDING = 1.5  # how much further than naive from the more exact result the fast path may be
ROUGH = 2.0  # the same in bf16, where each way is one draw of a coarse rounding (docs/decisions/verify.md)
SEEN = 1e-9  # nats in fp64 by which another medium changes an answer at least
STEPS, STOPPED = 3, 1  # optimizer steps of the resume check, and after which of them it is interrupted
BY_ROW: Forward = partial(edge_logprobs, shared=False)


@dataclass(frozen=True)
class Check:
    """One comparison: the largest gap that was found, and the largest that is right.

    Attributes:
        why: what a gap that is too large means, where the name does not tell.
    """

    name: str
    gap: float
    bound: float
    why: str = ""

    @property
    def ok(self) -> bool:
        """Whether the gap is within the bound; a gap that is not a number is not."""
        return self.gap <= self.bound


@dataclass(frozen=True)
class VerifyHooks:
    """What the checks need of rooms that this one does not know; each takes a model and leaves it as it is.

    Attributes:
        generate: cached decoding, to be checked against full recomputation; None for a reward model.
        reload: saves the model as a run does, loads it again, and returns what was loaded.
        merge: folds a copy's adapter into its weights, where it has one.
        export: writes a copy as a plain Hugging Face folder and returns what plain transformers loads.
        swapped: rows by their kind of media, each beside itself with another one's medium.
    """

    generate: Generate | None
    reload: Callable[[PreTrainedModel], PreTrainedModel]
    merge: Callable[[PreTrainedModel], PreTrainedModel]
    export: Callable[[PreTrainedModel], PreTrainedModel] | None
    swapped: Mapping[Kind, Sequence[tuple[Encoded, Encoded]]] = field(
        default_factory=dict["Kind", Sequence[tuple["Encoded", "Encoded"]]]
    )


def verify(
    model: PreTrainedModel,
    step: Step,
    *,
    hooks: VerifyHooks,
    forward: Forward = edge_logprobs,
    by_row: Forward = BY_ROW,
    settings: Settings,
) -> Iterator[Check]:
    """Yield the checks on a few rows of a step, for the weights that `model` trains; it is not changed.

    Args:
        model: in fp32, prepared by its method.
        step: of a few units, with the terms of the stage's objectives; see `few` for which rows are taken.
        hooks: see `VerifyHooks`.
        forward: the fast path, and `by_row` the slow one.
        settings: of the stage; the resume check takes its optimizer.
    """
    groups = few(groups_of(step.rows))
    terms = step.work[0][1]
    model = copy.deepcopy(model).eval()
    yield _resume_check(model, groups, terms, forward, settings)
    _wake(model)
    yield from _training_checks(model, groups, terms, forward, by_row)
    for kind, pairs in hooks.swapped.items():
        yield _sight_check(model, kind, pairs, by_row)
    rows = [group[0] for group in groups]
    if hooks.generate:
        yield _decoding_check(model, rows, hooks.generate)
    reloaded = hooks.reload(model)
    yield _weights_check("save and load, weights", model, reloaded)
    yield _logits_check("save and load, logits", model, reloaded, rows, PLACED)
    del reloaded
    merged = hooks.merge(model)
    yield _logits_check("merged adapter, logits, fp32", model, merged, rows, MERGED)
    if hooks.generate:
        yield _text_check(model, merged, rows, hooks.generate)
    if hooks.export:
        yield _logits_check("exported, logits", merged, hooks.export(model), rows, PLACED)


def few(groups: Sequence[Sequence[Encoded]]) -> list[list[Encoded]]:
    """Return some groups, of at most `TOKENS` tokens row by row: two neighbours, and others far away.

    The neighbours are rows with media, where there are such.
    """
    ordered = sorted(groups, key=lambda group: (no_media(group[0].ids), [row.ids for row in group]))
    spread = [ordered[len(ordered) * part // 5] for part in range(5)]
    taken: dict[int, list[Encoded]] = {}
    size = 0
    for group in (*ordered[:2], *spread[::-1]):
        size += sum(len(row.ids) for row in group) if id(group) not in taken else 0
        if len(taken) < 2 or size <= TOKENS:
            taken[id(group)] = list(group)
    return list(taken.values())


def no_media(ids: Sequence[int]) -> bool:
    """Say whether a row has none, for such rows to come last."""
    return max(ids, default=0) < FIRST


def _training_checks(
    model: nn.Module,
    groups: Sequence[Sequence[Encoded]],
    terms: Sequence[Term],
    forward: Forward,
    by_row: Forward,
) -> Iterator[Check]:
    def work(trees: Sequence[Tree]) -> list[Work]:
        return [(tree, terms) for tree in trees]

    rows = [row for group in groups for row in group]
    alone, together = work([build_tree(group) for group in groups]), work([build_tree(rows)])
    packs = work(build_trees(groups, max(len(together[0][0].ids) // 2, *map(group_size, groups))))
    exact_model = in_fp64(model)
    with KeepDouble():
        exact_loss, exact = _gradients(exact_model, alone, by_row)
        loss, gradients = _gradients(exact_model, together, forward)
    del exact_model
    yield Check("prefix sharing, loss, fp64", abs(loss - exact_loss) / max(1.0, abs(exact_loss)), 1e-12)
    yield Check("prefix sharing, each gradient, fp64", _largest_gap(gradients, exact), 1e-6)
    del gradients
    single_loss, single = _gradients(model, alone, by_row)
    own_gap = _gap(single, exact)
    for name, parts in (
        ("prefix sharing, gradient, fp32", together),
        ("accumulation, row by row, fp32", alone),
        ("accumulation, packs, fp32", packs),
        ("batch order, fp32", work([build_tree(rows[::-1])])),
    ):
        yield Check(name, _gap(_gradients(model, parts, forward)[1], exact), ROUNDING * own_gap)
    ranks = [_gradients(model, share, forward)[1] for share in dealt(Step(rows, packs), 2) if share]
    yield Check("two ranks, gradient, fp32", _gap(_added(ranks), exact), ROUNDING * own_gap)
    del exact, ranks
    bf16_own_gap = _gap(_gradients(model, alone, by_row, "bf16")[1], single)
    loss, gradients = _gradients(model, together, forward, "bf16")
    yield Check("bf16 against fp32, loss", abs(loss - single_loss) / max(1.0, abs(single_loss)), 0.02)
    yield Check("bf16 against fp32, gradient", _gap(gradients, single), ROUGH * bf16_own_gap)


def _resume_check(
    model: PreTrainedModel,
    groups: Sequence[Sequence[Encoded]],
    terms: Sequence[Term],
    forward: Forward,
    settings: Settings,
) -> Check:
    """Return by how much a training that was stopped and went on differs from one that was not."""
    rows = [row for group in groups for row in group]
    step = Step(rows, [(build_tree(rows), terms)])
    short = replace(settings, steps=STEPS, checkpoint=1)

    def trained(folder: Path, *stops: int) -> PreTrainedModel:
        torch.manual_seed(0)  # as every training begins: what a model drops at random is the same then
        for stop in (*stops, STEPS):
            tuned = copy.deepcopy(model)
            events = train(tuned, lambda number: step, short, folder, recipe={}, forward=forward)
            for event in events:
                if event["event"] == "checkpoint" and event["step"] == stop:
                    break
        return tuned

    with tempfile.TemporaryDirectory(prefix="espalier-verify-") as folder:
        straight = trained(Path(folder) / "straight")
        stopped = trained(Path(folder) / "stopped", STOPPED)
    gaps = [
        float((one - two).detach().abs().max())
        for one, two in zip(straight.parameters(), stopped.parameters(), strict=True)
        if one.requires_grad
    ]
    return Check(f"stopped after step {STOPPED} of {STEPS}, weights", max(gaps), 0.0)


def _sight_check(
    model: nn.Module, kind: Kind, pairs: Sequence[tuple[Encoded, Encoded]], by_row: Forward
) -> Check:
    """Return for how many rows, in fp64, another one's medium leaves all log-probabilities as they are."""
    exact_model = in_fp64(model)
    same = 0
    with KeepDouble(), torch.no_grad():
        for pair in pairs:
            one, two = (by_row(exact_model, build_tree([row])).logprobs for row in pair)
            same += one.shape == two.shape and float((one - two).abs().max()) <= SEEN
    why = (
        f"The model does not see its media: with {WORDS[kind]} of another row in the place of its own, "
        f"{same} of {len(pairs)} rows have the same log-probabilities. Look at what the encoder makes of the "
        "files."
    )
    return Check(f"rows that another one's {kind} leaves as they are", float(same), 0.0, why)


def _decoding_check(model: PreTrainedModel, rows: Sequence[Encoded], generate: Generate) -> Check:
    """Return by how much, in logits, a full forward prefers another token than cached decoding chose."""
    prompts = [row.ids[: row.prompt] for row in rows]
    worst = 0.0
    for prompt, answer in zip(prompts, generate(model, prompts, NEW_TOKENS), strict=True):
        if answer:
            logits = _logits(model, (*prompt, *answer))[len(prompt) - 1 : -1]
            logits[:, never_written(model)] = -torch.inf
            chosen = logits.gather(1, torch.tensor(answer, device=logits.device)[:, None])[:, 0]
            worst = max(worst, float((logits.max(-1).values - chosen).max()))
    return Check("cached decoding, logits, fp32", worst, 1e-3)


def _weights_check(name: str, model: nn.Module, other: nn.Module) -> Check:
    """Return the largest difference of two models' weights; it is infinite where one has other weights."""
    own, found = dict(model.named_parameters()), dict(other.named_parameters())
    if own.keys() != found.keys():
        return Check(name, float("inf"), 0.0)
    gaps = (float((own[key] - found[key]).detach().abs().max()) for key in own)
    return Check(name, max(gaps), 0.0)


def _logits_check(
    name: str, model: PreTrainedModel, other: PreTrainedModel, rows: Sequence[Encoded], bound: float
) -> Check:
    """Return the largest gap of two models' logits, relative to the largest logit."""
    gaps: list[float] = []
    for row in rows[:2]:
        one, two = _logits(model, row.ids), _logits(other.eval(), row.ids)
        gaps.append(float((one - two).abs().max() / one.abs().max()))
    return Check(name, max(gaps), bound)


def _text_check(
    model: PreTrainedModel, other: PreTrainedModel, rows: Sequence[Encoded], generate: Generate
) -> Check:
    """Return how many of the models' greedy answers differ."""
    prompts = [row.ids[: row.prompt] for row in rows]
    answers = [generate(side, prompts, NEW_TOKENS) for side in (model, other)]
    return Check("merged adapter, greedy answers that differ", float(sum(map(ne, *answers))), 0.0)


@torch.no_grad()
def _logits(model: PreTrainedModel, ids: Sequence[int]) -> Tensor:
    return call_model(model, np.array([ids]))[0]


def _gradients(
    model: nn.Module, work: Sequence[Work], forward: Forward, precision: Format = "fp32"
) -> tuple[float, Gradients]:
    """Return the loss of some trees' terms, and its gradients by weight name."""
    sums = backward(model, Step([], work), forward, precision)
    gradients: Gradients = {}
    for name, parameter in model.named_parameters():
        if parameter.grad is not None:
            gradients[name], parameter.grad = parameter.grad, None
    return sum(term.share * float(loss.total) / term.divisor for term, loss in sums.items()), gradients


def _added(parts: Sequence[Gradients]) -> Gradients:
    return {
        name: torch.stack([part[name] for part in parts if name in part]).sum(0)
        for name in {name: None for part in parts for name in part}
    }


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
