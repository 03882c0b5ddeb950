"""Learning from rewards: the model answers each prompt several times, and its better answers become likelier.

    round:  `group` answers to each prompt, sampled from the weights as they are   (decode, by Resources)
            a reward for each, and its advantage over the other answers to its prompt
    step:   prompt and answers in one tree; the clipped policy gradient, and the KL to the reference

Answers are drawn at temperature 1 from the whole vocabulary, so that what they were drawn from is what is
trained. A round is in the journal before it is learned from: a run that was killed goes on with the same
answers.
"""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import torch

from espalier.core.errors import RecipeError
from espalier.core.files import content_hash
from espalier.core.records import ALONE, Encoded, Ranks
from espalier.core.text import folded
from espalier.train.objectives import LossSum, Objective, Part, Sampled, objectives, of_role
from espalier.train.parallel import gathered, on_first

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from torch import Tensor

    from espalier.core.journal import Journal
    from espalier.encode.tokens import Unit
    from espalier.encode.tree import Tree
    from espalier.models.forward import Edges
    from espalier.train.objectives import Begun, Loss, Resources, Sampler

Level = Literal["token", "sequence"]
Average = Literal["answer", "token", "constant"]
Scale = Literal["group", "step", "none"]


@objectives.register("grpo")
def grpo(
    *,
    rewards: dict[str, float],
    group: int = 8,
    limit: int = 64,
    clip: float = 0.2,
    clip_high: float | None = None,
    kl: float = 0.0,
    ratio: Level = "token",
    average: Average = "token",
    scale: Scale = "group",
    updates: int = 1,
) -> Objective:
    """Group-relative policy optimisation on rewards: checks, scorers, "diversity" and "module:function".

    Shao et al. 2024 (arXiv 2402.03300) is `average = "answer"`; DAPO (arXiv 2503.14476) is "token" with
    `clip_high = 0.28`; Dr. GRPO (arXiv 2503.20783) is "constant" with `scale = "none"`; GSPO (arXiv
    2507.18071) is `ratio = "sequence"` with "answer" and a clip of about 4e-4. `updates` steps learn from
    each round; with one, nothing is clipped, as the weights are still those that sampled.
    """
    _check(group, limit, updates, rewards)
    high = clip if clip_high is None else clip_high

    def surrogate(logprobs: Tensor, old: Tensor, advantages: Tensor, rows: Tensor, counts: Tensor) -> Tensor:
        """Return the clipped objective of each token [M]; all but `counts` [R] are of tokens."""
        log_ratio = logprobs - old
        if ratio == "sequence":
            means = log_ratio.new_zeros(len(counts)).index_add(0, rows, log_ratio) / counts
            log_ratio = means[rows]
        ratios = log_ratio.exp()
        return torch.minimum(ratios * advantages, ratios.clamp(1 - clip, 1 + high) * advantages)

    def begin(units: Sequence[Unit], resources: Resources) -> Begun:
        sampler = resources.sampler(rewards)
        reference = resources.reference() if kl else None
        rounds: dict[int, Round] = {}

        def part(number: int, taken: Sequence[Unit]) -> Part:
            turn = number // updates
            if turn not in rounds:
                rounds.clear()
                rounds[turn] = Round(taken, sampler(turn, taken, group, limit), scale, reference)
            here = rounds[turn]
            loss = _loss(here, surrogate, kl, average)
            divisor = {"answer": len(here.rows), "token": here.tokens, "constant": len(here.rows) * limit}
            return Part(here.rows, loss, float(divisor[average]), here.log)

        return part

    return Objective(begin, lambda unit: (), rewards=rewards, hold=updates, limit=limit)


class Round:
    """The answers of one round as rows, and what the loss needs to know of each.

    An answer that no reward could judge has no advantage and does not count in its group's mean.
    """

    def __init__(
        self,
        units: Sequence[Unit],
        answers: Sequence[Sequence[Sampled]],
        scale: Scale,
        reference: Callable[[Sequence[Encoded]], list[tuple[float, ...]]] | None,
    ) -> None:
        self.rows = [
            _row(unit, answer, number)
            for unit, group in zip(units, answers, strict=True)
            for number, answer in enumerate(group)
        ]
        flat = [answer for group in answers for answer in group]
        old = [answer.logprobs for answer in flat]
        rewards = np.array([[answer.reward for answer in group] for group in answers])
        gains = advantages(rewards, scale).reshape(-1).tolist()
        base = reference(self.rows) if reference else old
        # Of each row its tokens' log-probabilities when sampled and under the reference, and its advantage.
        self._known = {
            (row.example, row.number): np.array([old, base, [gain] * len(old)])
            for row, old, base, gain in zip(self.rows, old, base, gains, strict=True)
        }
        self.tokens = sum(map(len, old))
        self.log = _summary(answers, rewards)

    def of_entries(self, tree: Tree, like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return what is known of the tokens [M] of the tree's samples: sampled, reference, advantage."""
        known = [self._known[row.example, row.number] for row in tree.rows if row.role == "sample"]
        old, base, gains = np.concatenate(known, axis=1) if known else np.empty((3, 0))
        return like.new_tensor(old), like.new_tensor(base), like.new_tensor(gains)


def _row(unit: Unit, answer: Sampled, number: int) -> Encoded:
    size = len(unit.prompt)
    weights = (0.0,) * size + (1.0,) * len(answer.ids)
    return Encoded((*unit.prompt, *answer.ids), weights, size, unit.example, "sample", number)


def advantages(rewards: np.ndarray, scale: Scale) -> np.ndarray:
    """Return by how much each reward [P, G] is above its group's mean, in standard deviations if scaled.

    nan (not judged) is left out of means and deviations, and gains nothing.
    """
    known = ~np.isnan(rewards)
    counts = known.sum(1, keepdims=True)
    filled = np.where(known, rewards, 0.0)
    gains = np.where(known, filled - filled.sum(1, keepdims=True) / np.maximum(counts, 1), 0.0)
    if scale == "group":
        spread = np.sqrt((gains**2).sum(1, keepdims=True) / np.maximum(counts - 1, 1))
        return gains / (spread + 1e-4)
    if scale == "step":
        spread = rewards[known].std(ddof=1) if known.sum() > 1 else 0.0
        return gains / (spread + 1e-4)
    return gains


def _loss(
    here: Round,
    surrogate: Callable[[Tensor, Tensor, Tensor, Tensor, Tensor], Tensor],
    kl: float,
    average: Average,
) -> Loss:
    def loss(edges: Edges, tree: Tree) -> LossSum:
        sampled = of_role(tree, "sample")
        mine = sampled[tree.entry_rows]
        device = edges.logprobs.device
        owners = tree.entry_rows[mine]
        logprobs = edges.logprobs[torch.from_numpy(tree.entry_edges[mine]).to(device)]
        old, base, gains = here.of_entries(tree, logprobs)
        counts = np.maximum(np.bincount(owners, minlength=len(tree.rows)), 1)
        rows, sizes = torch.from_numpy(owners).to(device), torch.from_numpy(counts).to(logprobs)
        values = surrogate(logprobs, old, gains, rows, sizes)
        gap = base - logprobs
        divergence = gap.exp() - gap - 1  # the k3 estimate of the KL (Schulman 2020): never negative
        if kl:
            values = values - kl * divergence
        # Means over tokens in the log, whatever the loss is a mean of.
        share = sampled.sum() / max(len(owners), 1) if average == "answer" else 1.0
        parts = {
            "ratio": float((logprobs.detach() - old).exp().sum() * share),
            "kl" if kl else "kl to the sampler": float(divergence.detach().sum() * share),
        }
        if average == "answer":
            values = values / sizes[rows]
        return LossSum(-values.sum(), float(sampled.sum() if average == "answer" else len(owners)), parts)

    return loss


def journaled(
    store: Journal,
    key: str,
    sampler: Sampler,
    ranks: Ranks = ALONE,
    tell: Callable[[dict[str, Any]], object] = lambda _: None,
) -> Sampler:
    """Return the sampler with every round kept in the journal; one that is there is taken from it.

    On several ranks rank 0 reads and writes the journal, and what it has is every rank's.

    Args:
        store: the journal.
        key: hash of all that determines the answers besides what is asked for.
        sampler: that writes and rewards them.
        ranks: that share the writing.
        tell: is told every round, without its tokens.
    """

    def kept(turn: int, units: Sequence[Unit], samples: int, limit: int) -> list[list[Sampled]]:
        names = [unit.example for unit in units]
        entry = f"samples:{content_hash([key, turn, names, samples, limit])}"
        known = on_first(lambda: store.find([entry]).get(entry), ranks)
        if known is None:
            answers = gathered(sampler(turn, units, samples, limit), ranks)[0]
            made = {"answers": [[asdict(answer) for answer in group] for group in answers]}
            on_first(lambda: store.add({entry: made}), ranks)
        else:
            answers = [[_sampled(fields) for fields in group] for group in known["answers"]]
        on_first(lambda: tell(_round_event(turn, names, answers)), ranks)
        return answers

    return kept


def _sampled(fields: Mapping[str, Any]) -> Sampled:
    return Sampled(**{**fields, "ids": tuple(fields["ids"]), "logprobs": tuple(fields["logprobs"])})


def _round_event(turn: int, names: Sequence[str], answers: Sequence[Sequence[Sampled]]) -> dict[str, Any]:
    """Return a round as an event for people, who read no tokens."""
    lines = [
        {
            "example": name,
            "number": number,
            "text": answer.text,
            "finish": answer.finish,
            "rewards": dict(answer.rewards),
            "reward": answer.reward,
        }
        for name, group in zip(names, answers, strict=True)
        for number, answer in enumerate(group)
    ]
    return {"event": "samples", "round": turn, "answers": lines}


def _summary(answers: Sequence[Sequence[Sampled]], rewards: np.ndarray) -> dict[str, float]:
    """Return what there is to say of a round: rewards, lengths, spread, how many answers are different."""
    flat = [answer for group in answers for answer in group]
    known = ~np.isnan(rewards)
    spread = np.where(known, rewards, -np.inf).max(1) > np.where(known, rewards, np.inf).min(1)
    log = {
        "reward": float(rewards[known].mean()) if known.any() else 0.0,
        "length": float(np.mean([len(answer.ids) for answer in flat])),
        "stopped": float(np.mean([answer.finish == "stop" for answer in flat])),
        "distinct": len({folded(answer.text) for answer in flat}) / len(flat),
        "groups_with_a_difference": float(spread.mean()),
    }
    for name in flat[0].rewards:
        judged = [value for answer in flat if (value := answer.rewards[name]) is not None]
        if judged:
            log[f"reward {name}"] = float(np.mean(judged))
    return log


def _check(group: int, limit: int, updates: int, rewards: Mapping[str, float]) -> None:
    for key, value, least in (("group", group, 2), ("limit", limit, 1), ("updates", updates, 1)):
        if value < least:
            raise RecipeError(f"{key} = {value} does not fit: it must be at least {least}.")
    if not rewards:
        raise RecipeError(
            "grpo has no reward.", hint="Name some: rewards = {asks_duration = 1.0, diversity = 0.5}."
        )
