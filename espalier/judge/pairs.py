"""A judge's verdicts on pairs: who wins by how much, and how far the verdicts are of the answers at all.

Every pair is judged in both orders. A verdict that changes with the order is a tie, and a flip. A pair whose
verdict cannot be read in both orders is not scored. Controls ask what a judge of answers would not care for:
the order, the request left out, sentences that say nothing, an answer against itself.

Zheng et al. 2023 (arXiv 2306.05685): swapped orders, flips as ties. Wilson 1927 and the sign test, by source.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

import numpy as np

from espalier.core.records import Estimate
from espalier.evaluate.agreement import alpha
from espalier.evaluate.statistics import mean
from espalier.judge.lengths import Lengths, length_control
from espalier.judge.verdicts import TURNED, Verdict

if TYPE_CHECKING:
    from collections.abc import Iterable

Orders: TypeAlias = "tuple[Verdict | None, Verdict | None]"
Winner: TypeAlias = Literal["first", "second", "tie"]  # of the two systems, whatever stood first
WORTH: dict[Winner, float] = {"first": 1.0, "tie": 0.5, "second": 0.0}


@dataclass(frozen=True, slots=True)
class Pair:
    """Two answers to a request.

    Attributes:
        id: of the row.
        source: what rows share that are not independent.
        request: what was asked.
        answers: of the system that is scored, and of the one that it is scored against.
        gold: who wins by a person's verdict; None where there is none.
    """

    id: str
    source: str
    request: str
    answers: tuple[str, str]
    gold: Winner | None = None


@dataclass(frozen=True, slots=True)
class PairVerdicts:
    """What a judge said of pairs, and of the controls of some of them, by the place of the pair.

    Attributes:
        full: of each pair the verdicts in both orders, of which each names a place, not a system.
        blind: without the request.
        padded: of the first answer with sentences that say nothing, against itself.
        same: of the first answer against itself, in the one order that there is.
    """

    full: Sequence[Orders]
    blind: Mapping[int, Orders] = field(default_factory=dict[int, Orders])
    padded: Mapping[int, Orders] = field(default_factory=dict[int, Orders])
    same: Mapping[int, Verdict | None] = field(default_factory=dict[int, "Verdict | None"])


@dataclass(frozen=True, slots=True)
class PairScore:
    """What verdicts on pairs come to; every rate is an estimate by source.

    Attributes:
        winners: of each pair; None where a verdict cannot be read.
        rate: how often the first system wins, ties as halves.
        counts: pairs won, tied and lost by it, and without a verdict.
        flips: pairs whose verdict changes with the order.
        held: pairs whose winner is the same in both orders, of those that have one in each.
        place: how often the answer that stands first is named, of all verdicts that name one.
        place_p: the probability of as many sources that lean to one place, if none were preferred.
        ties: verdicts that are a tie.
        longer: pairs that the longer answer wins, of those that have a winner and differ in length.
        lengths: see `Lengths`.
        blind: pairs whose verdict is the same without the request.
        padded: how often padding wins against the same answer without it, ties as halves.
        same: how often an answer ties with itself.
        agreed: pairs whose winner is that of the gold verdicts; and Krippendorff's alpha of both.
    """

    winners: Sequence[Winner | None]
    rate: Estimate
    counts: tuple[int, int, int, int]
    flips: Estimate
    held: Estimate
    place: Estimate
    place_p: float
    ties: Estimate
    longer: Estimate
    lengths: Lengths
    blind: Estimate
    padded: Estimate
    same: Estimate
    agreed: tuple[Estimate, Estimate] | None = None


def score_pairs(pairs: Sequence[Pair], said: PairVerdicts, seed: int = 0) -> PairScore:
    """Return what a judge's verdicts on pairs come to; `seed` is that of the bootstrap."""
    sources = [pair.source for pair in pairs]
    winners: list[Winner | None] = [winner_of(orders) for orders in said.full]
    values = [None if winner is None else WORTH[winner] for winner in winners]
    known = [place for place, winner in enumerate(winners) if winner is not None]
    sizes = [(len(pair.answers[0]), len(pair.answers[1])) for pair in pairs]
    both = [_systems(orders) for orders in said.full]
    decided = [one if "tie" not in one and None not in one else None for one in both]
    single = [
        (pair.source, one) for pair, orders in zip(pairs, said.full, strict=True) for one in orders if one
    ]
    named = [(source, one) for source, one in single if one != "tie"]
    return PairScore(
        winners=winners,
        rate=mean(values, sources),
        counts=(winners.count("first"), winners.count("tie"), winners.count("second"), winners.count(None)),
        flips=mean([None if None in one else float(one[0] != one[1]) for one in both], sources),
        held=mean([None if one is None else float(one[0] == one[1]) for one in decided], sources),
        place=mean([float(one == "first") for _, one in named], [source for source, _ in named]),
        place_p=sign_test([1 if one == "first" else -1 for _, one in named], [one for one, _ in named]),
        ties=mean([float(one == "tie") for _, one in single], [source for source, _ in single]),
        longer=mean([_longer(*one) for one in zip(winners, sizes, strict=True)], sources),
        lengths=length_control(
            [value for value in values if value is not None],
            [sizes[place] for place in known],
            [sources[place] for place in known],
            seed,
        ),
        blind=_over(sources, {place: _same(winners[place], one) for place, one in said.blind.items()}),
        padded=_over(sources, {place: _worth(one) for place, one in said.padded.items()}),
        same=_over(sources, {n: one and float(one == "tie") for n, one in said.same.items()}),
        agreed=_agreed(pairs, winners),
    )  # fmt: skip


def winner_of(orders: Orders) -> Winner | None:
    """Return who wins by the verdicts in both orders: who wins in each; None where one says nothing."""
    one, other = _systems(orders)
    return None if one is None or other is None else one if one == other else "tie"


def sign_test(leaning: Sequence[int], sources: Sequence[str]) -> float:
    """Return the two-sided p of a sign test: whether sources lean to one side more often than to the other.

    What leans to both sides as often is no evidence. 1 where nothing leans.
    """
    if not leaning:
        return 1.0
    from scipy.special import bdtr  # pyright: ignore[reportMissingTypeStubs]

    _, groups = np.unique(np.array(sources, dtype=np.str_), return_inverse=True)
    sums = np.bincount(groups, weights=np.array(leaning, dtype=np.float64))
    up, down = int((sums > 0).sum()), int((sums < 0).sum())
    return min(1.0, 2 * float(bdtr(min(up, down), up + down, 0.5))) if up + down else 1.0


def _systems(orders: Orders) -> tuple[Winner | None, Winner | None]:
    """Return the system that each verdict names: in the second order they have changed places."""
    one, other = orders
    return one, None if other is None else TURNED[other]


def _longer(winner: Winner | None, sizes: tuple[int, int]) -> float | None:
    if winner in (None, "tie") or sizes[0] == sizes[1]:
        return None
    return float((winner == "first") == (sizes[0] > sizes[1]))


def _same(full: Winner | None, blind: Orders) -> float | None:
    winner = winner_of(blind)
    return None if full is None or winner is None else float(winner == full)


def _worth(orders: Orders) -> float | None:
    winner = winner_of(orders)
    return None if winner is None else WORTH[winner]


def _over(sources: Sequence[str], values: Mapping[int, float | None]) -> Estimate:
    return mean([*values.values()], [sources[place] for place in values])


def _agreed(pairs: Iterable[Pair], winners: Iterable[Winner | None]) -> tuple[Estimate, Estimate] | None:
    told = [(pair, winner) for pair, winner in zip(pairs, winners, strict=True) if pair.gold is not None]
    if not told:
        return None
    same = [None if winner is None else float(winner == pair.gold) for pair, winner in told]
    labels = [[pair.gold, *([] if winner is None else [winner])] for pair, winner in told]
    return mean(same, [pair.source for pair, _ in told]), alpha(labels)
