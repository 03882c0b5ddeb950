"""Several samples of an answer, of which one is taken: the best by some measure, or what most of them say."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from espalier.core.errors import RecipeError, nearest
from espalier.core.registry import imported
from espalier.core.text import folded
from espalier.decode.draws import USUAL, Draw
from espalier.decode.strategies.sampling import sample
from espalier.decode.strategy import Pick, Strategy, require
from espalier.evaluate.rewards import MODEL, reward_of

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from espalier.core.records import Completion

LIKELIHOOD = "likelihood"
COOLER = Draw(temperature=0.7)
NUMBER = re.compile(r"(?<![\w.])[-+]?\$?\d[\d,]*(?:\.\d+)?")


def best_of(
    *,
    limit: int = 64,
    n: int = 8,
    by: str = LIKELIHOOD,
    draw: Draw = USUAL,
) -> Strategy:
    """Sample `n` answers and take the best by likelihood, a check, a scorer or a reward model.

    `by` is "likelihood" (the mean log-probability of a token), or a reward by its name, as in the rewards of
    a training: a check of the task, a scorer that needs no reference, "module:function", or "model:FOLDER",
    the reward model of a run. Of equals the likelier is taken, and what cannot be judged where nothing can.
    """
    if by != LIKELIHOOD and not by.startswith(MODEL):
        reward_of(by, "decode.by")

    def choose(answers: Sequence[Completion], values: Sequence[float | None]) -> Completion:
        ranks = ((-float("inf") if value is None else value) for value in values)
        return max(zip(ranks, map(_likelihood, answers), answers, strict=True), key=lambda one: one[:2])[2]

    pick = Pick(_samples(n, limit, draw), choose, "" if by == LIKELIHOOD else by)
    return _strategy("best_of", pick, {"n": n, "by": by})


def self_consistency(
    *,
    limit: int = 256,
    n: int = 8,
    answer: str = "numeric",
    draw: Draw = COOLER,
) -> Strategy:
    """Sample `n` answers, and take what most of them come to (Wang et al. 2023, arXiv 2203.11171).

    `answer` is how that is read: "numeric", the last number; "exact", the whole text but for case and spaces;
    or "module:function", from a text to what it answers, or None. Of as many votes the likelier together win.
    """
    if answer not in ANSWERS and ":" not in answer:
        hint = nearest(answer, [*ANSWERS, "module:function"])
        raise RecipeError(f"No way to read an answer is named '{answer}'.", where="decode.answer", hint=hint)
    reads = ANSWERS.get(answer) or cast("Callable[[str], str | None]", imported(answer, "decode.answer"))

    def choose(answers: Sequence[Completion], values: Sequence[float | None]) -> Completion:
        votes: defaultdict[str | None, list[Completion]] = defaultdict(list)
        for one in answers:
            votes[reads(one.text)].append(one)
        unread = votes.pop(None, [])  # they say nothing, so that not even all of them together win
        voted = max(votes.values() or [unread], key=lambda group: (len(group), _summed(group)))
        return replace(max(voted, key=_likelihood), votes=len(voted) if votes else 0)

    pick = Pick(_samples(n, limit, draw), choose)
    return _strategy("self_consistency", pick, {"n": n, "answer": answer})


def last_number(text: str) -> str | None:
    """Return the last number in a text in one way to write it; None where there is none."""
    found = NUMBER.findall(text)
    return f"{float(re.sub('[$,]', '', found[-1])):.12g}" if found else None


ANSWERS: dict[str, Callable[[str], str | None]] = {"numeric": last_number, "exact": folded}


def _samples(n: int, limit: int, draw: Draw) -> Strategy:
    require(n >= 2, "n", "must be at least 2", n)
    return sample(limit=limit, draw=draw, samples=n)


def _strategy(kind: str, pick: Pick, own: dict[str, object]) -> Strategy:
    of = pick.of
    return Strategy({**of.settings, **own, "kind": kind}, of.limit, 1, of.step, pick=pick)


def _likelihood(one: Completion) -> float:
    """Return the mean log-probability of an answer's token, in nats."""
    return (one.logprob or 0.0) / max(1, len(one.ids))


def _summed(group: Sequence[Completion]) -> float:
    return sum(one.logprob or 0.0 for one in group)
