"""Several processes, one training: who computes which trees, and how gradients and losses become one.

Every rank knows the whole step. Its trees are dealt by cost, each rank computes its own, and what they found
is added up: sums with divisors that are known before the forward need no averaging, so that ranks,
accumulation and packing train the same. With `ddp` each rank holds all weights and gradients are summed once
a step; with `fsdp` each holds a share of every weight (torch's FSDP2), and torch sums the gradients block by
block. Why not torch's own DDP is in `docs/decisions/parallel.md`.

One process is the case without a process group: nothing here then does anything.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, TypeVar, cast

import torch
from torch import distributed
from torch.distributed.tensor import DTensor

from espalier.core.errors import EspalierError
from espalier.encode.batches import build_trees, group_size, groups_of
from espalier.train.objectives import LossSum
from espalier.train.steps import Step, Term

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from typing import TypeAlias

    from torch import Tensor, nn

    from espalier.core.records import Ranks
    from espalier.encode.tree import Tree

    Work: TypeAlias = tuple[Tree, Sequence[Term]]

T = TypeVar("T")

# What the output head costs at a token, and attention for a pair of tokens, in tokens through the blocks of
# the bundled model, by the count of multiplications. A larger model spends less on both: they then count for
# a little too much.
HEAD, PAIR = 1 / 4, 1 / 3000
# Budgets to try when a step is split, relative to an equal share of its tokens.
BUDGETS = (2.5, 2.0, 1.5, 1.2, 1.1, 1.0)
# Numbers that are summed over the ranks in one call: 128 MB in fp32.
BUCKET = 2**25


def gathered(value: T, ranks: Ranks) -> list[T]:
    """Return what each rank gave, in the order of ranks. Every rank has to call it."""
    values: list[T | None] = [value] * ranks.size
    if ranks.size > 1:
        distributed.all_gather_object(values, value)
    return cast("list[T]", values)


def on_all(act: Callable[[], T], ranks: Ranks) -> T:
    """Do something on every rank; where it fails on one, every rank raises the first one's error."""
    result: T | None = None
    failure: EspalierError | None = None
    try:
        result = act()
    except EspalierError as error:
        failure = error
    for error in gathered(failure, ranks):
        if error:
            raise error
    return cast("T", result)


def on_first(act: Callable[[], T], ranks: Ranks) -> T:
    """Do something on rank 0 alone and return its result on every rank; its error is every rank's."""
    return gathered(on_all(lambda: act() if ranks.rank == 0 else cast("T", None), ranks), ranks)[0]


def cost(tree: Tree) -> float:
    """Return what a tree costs to compute, in tokens that attend to nothing."""
    pairs = int(tree.positions.sum()) + len(tree.ids)
    sources = len(set(tree.sources.tolist()))
    return len(tree.ids) + HEAD * sources + PAIR * pairs


def split(step: Step, size: int) -> Step:
    """Return the step in trees that `size` ranks can share: those with which the busiest has least to do.

    A cut computes a shared prefix twice, so more trees are more work; a step stays as it is where that costs
    more than the ranks save. Rows that a loss compares stay in one tree.
    """
    if size == 1:
        return step
    total = sum(len(tree.ids) for tree, _ in step.work)
    options = [step, *(_under(step, int(total / size * share)) for share in BUDGETS)]
    return min(options, key=lambda option: max(map(_load, dealt(option, size))))


def dealt(step: Step, size: int) -> list[list[Work]]:
    """Return each rank's trees, the costliest first: each tree goes to the rank that has least to do.

    A pure function of the step: every rank comes to the same result by itself.
    """
    shares: list[list[Work]] = [[] for _ in range(size)]
    loads = [0.0] * size
    for work in sorted(step.work, key=_own_cost, reverse=True):
        rank = loads.index(min(loads))
        shares[rank].append(work)
        loads[rank] += _own_cost(work)
    return shares


def share_of(step: Step, ranks: Ranks) -> Step:
    """Return the step with the trees that this rank computes.

    With sharded weights every forward is one of all ranks, so that a rank with fewer trees than another
    computes its cheapest again, for nothing.
    """
    if ranks.size == 1:
        return step
    shares = dealt(step, ranks.size)
    own = shares[ranks.rank]
    missing = max(map(len, shares)) - len(own) if ranks.sharded else 0
    tree, terms = min(own or step.work, key=_own_cost)
    idle = (tree, [replace(term, share=0.0) for term in terms])
    return replace(step, work=[*own, *[idle] * missing])


def place(model: nn.Module, ranks: Ranks) -> None:
    """Make the ranks begin with rank 0's weights, or share them out; each draws its own random numbers.

    Call it before the optimizer is made: sharing replaces the weights.
    """
    if ranks.size == 1:
        return
    for weight in model.parameters():
        if weight.requires_grad:
            distributed.broadcast(weight.detach(), 0)
    if ranks.sharded:
        _shard(model)
    if ranks.rank:
        torch.manual_seed(torch.initial_seed() + ranks.rank)


def add_up(model: nn.Module, sums: dict[Term, LossSum], step: Step, ranks: Ranks) -> dict[Term, LossSum]:
    """Add up the ranks' gradients in place, and return the loss of each of the step's terms over all ranks.

    Sharded gradients have been added up in the backward.
    """
    if ranks.size == 1:
        return sums
    if not ranks.sharded:
        _sum_gradients(model)
    return sum_losses(sums, step, ranks)


def whole(tensor: Tensor) -> Tensor:
    """Return a tensor in full. Where it lies in shares on all ranks, all of them have to call."""
    return tensor.full_tensor() if isinstance(tensor, DTensor) else tensor


def full_weights(model: nn.Module, ranks: Ranks) -> dict[str, Tensor]:
    """Return a model's state in full on rank 0's CPU, and {} on the others; gathered one weight at a time."""
    state: dict[str, Tensor] = {}
    for name, value in model.state_dict().items():
        full = whole(value.detach())
        if ranks.rank == 0:
            state[name] = full.cpu()
    return state


def _sum_gradients(model: nn.Module) -> None:
    trained = [weight for weight in model.parameters() if weight.requires_grad]
    # A weight that no rank used has no gradient, and the optimizer leaves it alone.
    used = torch.tensor([weight.grad is not None for weight in trained], dtype=torch.int32)
    used = used.to(trained[0].device)
    distributed.all_reduce(used)
    for weight, count in zip(trained, used.tolist(), strict=True):
        if count and weight.grad is None:
            weight.grad = torch.zeros_like(weight)
    for bucket in _buckets([weight.grad for weight in trained if weight.grad is not None]):
        flat = torch.cat([gradient.flatten() for gradient in bucket])
        distributed.all_reduce(flat)
        parts = flat.split([gradient.numel() for gradient in bucket])
        for gradient, part in zip(bucket, parts, strict=True):
            gradient.copy_(part.view_as(gradient))


def reshard(model: nn.Module) -> None:
    """Let go of the weights that a forward without a backward has gathered, where they are shared out."""
    from torch.distributed.fsdp import FSDPModule

    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.reshard()


def sum_losses(sums: dict[Term, LossSum], step: Step, ranks: Ranks) -> dict[Term, LossSum]:
    """Return the loss of each of a step's terms over all ranks; every rank has to call it."""
    terms = list(dict.fromkeys(term for _, terms in step.work for term in terms))
    mine = [
        (place, replace(sums[term], total=sums[term].total.cpu()))
        for place, term in enumerate(terms)
        if term in sums
    ]
    found: dict[Term, LossSum] = {}
    for theirs in gathered(mine, ranks):
        for place, loss in theirs:
            found[terms[place]] = found[terms[place]] + loss if terms[place] in found else loss
    return found


def _own_cost(work: Work) -> float:
    return cost(work[0])


def _load(share: Sequence[Work]) -> float:
    return sum(map(_own_cost, share))


def _under(step: Step, tokens: int) -> Step:
    """Return the step with its trees split under a budget, or under the largest of their groups."""
    work: list[Work] = []
    for tree, terms in step.work:
        groups = groups_of(tree.rows)
        budget = max(tokens, *map(group_size, groups))
        work += [(part, terms) for part in build_trees(groups, budget)]
    return replace(step, work=work)


def _shard(model: nn.Module) -> None:
    """Share out each transformer block by itself, so that one block at a time is whole, and then the rest."""
    from torch.distributed.device_mesh import init_device_mesh
    from torch.distributed.fsdp import FSDPModule, fully_shard
    from transformers import PreTrainedModel

    mesh = init_device_mesh(next(model.parameters()).device.type, (distributed.get_world_size(),))
    kinds = {
        name
        for part in model.modules()
        if isinstance(part, PreTrainedModel)
        for name in part._no_split_modules or ()
    }
    for block in [part for part in model.modules() if type(part).__name__ in kinds]:
        fully_shard(block, mesh=mesh)
    fully_shard(model, mesh=mesh)
    for part in model.modules():
        if isinstance(part, FSDPModule):
            part.set_gradient_divide_factor(1.0)
            part.set_force_sum_reduction_for_comms(True)


def _buckets(gradients: Sequence[Tensor]) -> Iterator[list[Tensor]]:
    bucket: list[Tensor] = []
    for gradient in gradients:
        if bucket and sum(map(torch.numel, bucket)) + gradient.numel() > BUCKET:
            yield bucket
            bucket = []
        bucket.append(gradient)
    if bucket:
        yield bucket
