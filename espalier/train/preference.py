"""Learning from what people prefer: pairs of a better and a worse answer (DPO), or single thumbs (KTO).

Both compare the model with itself as the stage found it: the reference. Its log-probabilities are computed
once, before the first step, and kept (`train/reference.py`). The two answers of a pair share their prompt in
one tree, so it is computed once. From pairs a model can also learn to rate answers, without a reference
(`reward`).
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch
from torch.nn.functional import logsigmoid

from espalier.models.reward import as_rated
from espalier.train.objectives import LossSum, Objective, Part, objectives, row_sums, rows_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from espalier.core.records import Encoded
    from espalier.encode.tokens import Unit
    from espalier.encode.tree import Tree
    from espalier.models.forward import Edges
    from espalier.train.objectives import Begun, Resources

PAIR = "both an answer and a rejected one"
Variant = Literal["sigmoid", "ipo", "hinge"]
# From the margin of the log-ratios (IPO: per token) and beta to a pair's loss.
VARIANTS: Mapping[Variant, Callable[[Tensor, float], Tensor]] = {
    "sigmoid": lambda margin, beta: -logsigmoid(beta * margin),
    "ipo": lambda margin, beta: (margin - 1 / (2 * beta)).square(),
    "hinge": lambda margin, beta: torch.relu(1 - beta * margin),
}


@objectives.register("dpo")
def dpo(*, beta: float = 0.1, variant: Variant = "sigmoid") -> Objective:
    """Direct preference optimisation: the chosen answer over the rejected one, beyond the reference.

    Rafailov et al. 2023 (arXiv 2305.18290); `variant` "ipo" is Azar et al. 2023 (arXiv 2310.12036), with
    log-ratios per token as its authors use them, "hinge" Zhao et al. 2023 (arXiv 2305.10425). For a term
    that holds the chosen answer's likelihood up (RPO, arXiv 2404.19733), add the objective `sft`.
    An example with several rejected answers is as many pairs.
    """

    def begin(units: Sequence[Unit], resources: Resources) -> Begun:
        rows = [row for unit in units for row in _pairs(unit)]
        kept = _by_key(rows, resources.kept(rows))
        divisor = resources.divisor(_pair_count, units)

        def loss(edges: Edges, tree: Tree) -> LossSum:
            chosen, rejected = _paired(tree)
            ratios = row_sums(edges, tree) - _kept_logprobs(kept, tree, edges.logprobs)
            if variant == "ipo":
                ratios = ratios / _row_weights(tree, ratios)
            margins = ratios[chosen] - ratios[rejected]
            parts = {
                "accuracy": float((margins > 0).sum()),
                "margin": beta * float(margins.detach().sum()),
            }
            return LossSum(VARIANTS[variant](margins, beta).sum(), float(len(chosen)), parts)

        return lambda number, taken: Part(
            [row for unit in taken for row in _pairs(unit)], loss, divisor(taken)
        )

    return Objective(begin, _pairs, PAIR)


@objectives.register("kto")
def kto(*, beta: float = 0.1, desirable: float = 1.0, undesirable: float = 1.0) -> Objective:
    """Kahneman-Tversky optimisation: single answers that people liked or did not.

    Ethayarajh et al. 2024 (arXiv 2402.01306). The point that a good answer has to beat is the mean log-ratio
    of mismatched rows, each prompt with the next unit's answer, over the step; it carries no gradient.
    """

    def begin(units: Sequence[Unit], resources: Resources) -> Begun:
        rows = [row for unit in units for row in unit.rows]
        kept = _by_key(rows, resources.kept(rows))
        strangers = dict(zip(map(_key, rows), _mismatched(units), strict=True))
        kept_strangers = dict(zip(strangers, resources.kept(list(strangers.values())), strict=True))
        weights = {"answer": desirable, "rejected": undesirable}
        divisor = resources.divisor(lambda some: sum(len(unit.rows) for unit in some), units)

        def part(number: int, taken: Sequence[Unit]) -> Part:
            here = [row for unit in taken for row in unit.rows]
            now = resources.policy([strangers[_key(row)] for row in here])
            then = [kept_strangers[_key(row)] for row in here]
            point = max(0.0, float(np.mean(np.subtract(now, then)))) if here else 0.0

            def loss(edges: Edges, tree: Tree) -> LossSum:
                own = torch.tensor([row.role != "sample" for row in tree.rows])
                known = _kept_logprobs(kept, tree, edges.logprobs)
                ratios = row_sums(edges, tree) - known
                signs = ratios.new_tensor([1.0 if row.role == "answer" else -1.0 for row in tree.rows])
                weighed = ratios.new_tensor([weights.get(row.role, 0.0) for row in tree.rows])
                losses = weighed * (1 - torch.sigmoid(beta * signs * (ratios - point)))
                count = float(own.sum())
                return LossSum(losses.sum(), count, {"kl": point * count})

            return Part(here, loss, divisor(taken))

        return part

    # The rows that it is mismatched with are other units'.
    return Objective(begin, lambda unit: unit.rows, "an answer or a rejected one", apart=False)


@objectives.register("reward")
def reward(*, center: float = 0.0) -> Objective:
    """A reward model: the number of a chosen answer above that of the rejected one (Bradley-Terry).

    Ouyang et al. 2022 (arXiv 2203.02155). Only differences are learned; `center`, such as 0.01, draws the
    sums of a pair's numbers to 0 (Eisenstein et al. 2023, arXiv 2312.09244).
    """

    def loss(edges: Edges, tree: Tree) -> LossSum:
        chosen, rejected = _paired(tree)
        numbers = row_sums(edges, tree)
        margins = numbers[chosen] - numbers[rejected]
        total = -logsigmoid(margins).sum()
        if center:
            total = total + center * (numbers[chosen] + numbers[rejected]).square().sum()
        parts = {"accuracy": float((margins > 0).sum()), "margin": float(margins.detach().sum())}
        return LossSum(total, float(len(chosen)), parts)

    def begin(units: Sequence[Unit], resources: Resources) -> Begun:
        divisor = resources.divisor(_pair_count, units)
        return lambda number, taken: Part(
            [as_rated(row) for unit in taken for row in _pairs(unit)], loss, divisor(taken)
        )

    return Objective(begin, _pairs, PAIR, rates=True)


def _pair_count(units: Sequence[Unit]) -> float:
    return sum(row.role == "rejected" for unit in units for row in _pairs(unit))


def _pairs(unit: Unit) -> list[Encoded]:
    rows = rows_of(unit, "answer", "rejected")
    return rows if {row.role for row in rows} == {"answer", "rejected"} else []


def _paired(tree: Tree) -> tuple[Tensor, Tensor]:
    """Return the places of the chosen and of the rejected row of every pair in a tree [P] each."""
    answers = {row.example: place for place, row in enumerate(tree.rows) if row.role == "answer"}
    pairs = [
        (answers[row.example], place)
        for place, row in enumerate(tree.rows)
        if row.role == "rejected" and row.example in answers
    ]
    places = torch.tensor(pairs, dtype=torch.long).reshape(-1, 2)
    return places[:, 0], places[:, 1]


def _mismatched(units: Sequence[Unit]) -> list[Encoded]:
    """Return each row's prompt with an answer of the next unit that has any, as rows of their own."""
    given = [unit.rows for unit in units if unit.rows]
    found: list[Encoded] = []
    for rows, others in zip(given, [*given[1:], given[0]], strict=True):
        for place, row in enumerate(rows):
            other = others[place % len(others)]
            ids = (*row.ids[: row.prompt], *other.ids[other.prompt :])
            weights = (*[0.0] * row.prompt, *other.weights[other.prompt :])
            found.append(replace(row, ids=ids, weights=weights))
    return found


def _key(row: Encoded) -> tuple[str, str, int]:
    return row.example, row.role, row.number


def _by_key(rows: Sequence[Encoded], values: Sequence[float]) -> dict[tuple[str, str, int], float]:
    return dict(zip(map(_key, rows), values, strict=True))


def _kept_logprobs(kept: Mapping[tuple[str, str, int], float], tree: Tree, like: Tensor) -> Tensor:
    """Return what the reference gives each row of a tree [R]; 0 for a row of another objective."""
    return like.new_tensor([kept.get(_key(row), 0.0) for row in tree.rows])


def _row_weights(tree: Tree, like: Tensor) -> Tensor:
    weights = np.bincount(tree.entry_rows, weights=tree.weights, minlength=len(tree.rows))
    return torch.from_numpy(weights).to(like)
