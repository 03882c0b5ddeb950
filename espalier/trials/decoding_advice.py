"""Which decoding to take, in a sentence that says no more than rows and timings bear."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from espalier.comparison.significance import Spread
from espalier.core.records import Estimate, Score
from espalier.core.text import counted
from espalier.evaluate.compare import compare_scores
from espalier.evaluate.sheet import between, detectable, figure
from espalier.trials.decoding_record import spent
from espalier.trials.pareto import median_draws, on_front, quality_draws, within

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.core.records import Metric
    from espalier.evaluate.score_records import Difference
    from espalier.evaluate.statistics import Floats
    from espalier.trials.decoding_record import Decodings, Outcome

FEW = 20  # sources, below which it is said what could have been seen
TWICE = 1.05  # times as long, from which on it is worth a word


def advised(
    found: Decodings,
    columns: Mapping[str, Sequence[Score]],
    sources: Mapping[str, str],
    rounds: Floats,
    seed: int = 0,
) -> Decodings:
    """Return the record with the front, the best setting, the one to take, and the sentence.

    Args:
        found: with what was tested.
        columns: of each tested setting, in their order, the leading measure's score of each row.
        sources: of each row's id, in the order of the rows.
        rounds: seconds per row [R, S].
        seed: of what is drawn.
    """
    metric = found.metric
    reached = np.array([one.scores[found.measure].value for one in found.tested])
    medians = np.median(rounds, axis=0)
    q = quality_draws([*columns.values()], [*sources.values()], metric, seed)
    s = median_draws(rounds, seed)
    front, often = on_front(metric.sign * reached, medians), on_front(q, s).mean(0)
    tested = [
        replace(one, front=bool(front[i]), probability=float(often[i])) for i, one in enumerate(found.tested)
    ]
    if np.isnan(reached).all():
        told = f"Nothing can be said by {metric.within}: it judged no answer."
        return replace(found, tested=tuple(tested), sentence=told)
    best = int(np.nanargmax(metric.sign * reached))
    tested = [
        one if i == best else _behind(one, tested[best], columns, sources, metric, seed)
        for i, one in enumerate(tested)
    ]
    cheap = min((i for i, one in enumerate(tested) if one.tied), key=lambda i: medians[i])
    tested = [
        replace(one, times=within(float(medians[i] / medians[cheap]), s[:, i] / s[:, cheap], len(rounds)))
        for i, one in enumerate(tested)
    ]
    found = replace(found, tested=tuple(tested), best=tested[best].setting, advised=tested[cheap].setting)
    return replace(found, sentence=_sentence(found), notes=(*found.notes, *_power(found)))


def _behind(
    one: Outcome,
    best: Outcome,
    columns: Mapping[str, Sequence[Score]],
    sources: Mapping[str, str],
    metric: Metric,
    seed: int,
) -> Outcome:
    ours, theirs = (dict(zip(sources, columns[each.setting], strict=True)) for each in (best, one))
    gap = compare_scores(ours, theirs, sources, metric, seed)
    value, low, high = gap.estimate.value, gap.estimate.low, gap.estimate.high
    spread, level = Spread(value, value - low, high - value), 0.05 / (len(columns) - 1)
    low, high = spread.interval(level)
    estimate = replace(gap.estimate, low=low, high=high)
    gap = replace(gap, estimate=estimate, detectable=spread.detectable(level))
    return replace(one, behind=gap, tied=estimate.known and not estimate.excludes_zero)


def _sentence(found: Decodings) -> str:
    metric, taken, best = found.metric, found[found.advised], found[found.best]
    value = figure(metric, taken.scores[found.measure])
    told = f"{metric.within} is {value} at {spent(taken.seconds.value)} s a row"
    if all(_alike(one.behind) for one in found.tested if one is not best):
        return (
            f"Take {taken.setting}: {told}. All settings are worth the same on every row, so that "
            f"{metric.within} tells none from another; this one is the fastest."
        )
    if taken is best:
        cheaper = [one for one in found.tested if one.seconds.value < taken.seconds.value]
        rest = "nothing that is faster is as good" if cheaper else "nothing is better or faster"
        return f"Take {taken.setting}: {told}, and {rest}."
    other = figure(metric, best.scores[found.measure])
    longer = best.times or Estimate(math.nan, math.nan, math.nan, 0)
    cost = f"{longer.value:.1f} times as long ({longer.low:.1f} to {longer.high:.1f})"
    if not longer.bounded:
        cost = f"{longer.value:.1f} times as long"
    elif longer.low <= 1 or longer.value < TWICE:
        cost = "about as long"
    gap = taken.behind
    assert gap is not None  # as it is of all but the best
    seen = detectable(gap)
    power = f"; only {seen} or more could mostly have been seen" if seen else ""
    same = ", the same on every row" if _alike(gap) else ""
    return (
        f"Take {taken.setting}: {told}. No difference can be seen to {best.setting} ({other}{same}; "
        f"{between(gap.estimate)}{power}), which takes {cost}."
    )


def _alike(gap: Difference | None) -> bool:
    """Whether two settings are worth the same on every row; of a fold, whose rows have no worth, not."""
    return gap is not None and gap.same > 0 and not gap.better + gap.worse


def _power(found: Decodings) -> list[str]:
    """Say of few sources what they could have shown."""
    if found.sources >= FEW:
        return []
    scale, most = found.metric.scale, found.metric.scale * max(1.0, found.metric.ceiling)
    least = [
        scale * one.behind.detectable for one in found.tested if one.behind and one.behind.detectable > 0
    ]
    ends = list(dict.fromkeys(f"{end:.0f}" for end in (min(least), max(least)))) if least else []
    could = (
        f"only differences of {' to '.join(ends)} points or more could mostly have been seen"
        if ends and max(least) < most
        else "too few to tell settings apart that are not far apart"
    )
    return [f"The test rows are of {counted(found.sources, 'source')}: {could}."]
