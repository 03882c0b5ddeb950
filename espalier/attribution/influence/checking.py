"""`check`: is a score of influence worth anything? The model is trained without the rows that it names.

Beside it are the floors, which take rows of as many tokens; several trainings of all rows, whose spread is
the noise; and random halves, over which a score's sums should go up and down with what training on them came
to (linear datamodelling score; Park and others 2023, arXiv 2303.14186).
"""

from __future__ import annotations

import json
import math
from typing import TYPE_CHECKING

import numpy as np

from espalier.attribution.influence.asking import influence
from espalier.attribution.influence.check_record import BM25, Arm, Checked
from espalier.attribution.influence.page import render
from espalier.attribution.influence.queries import queries_of
from espalier.attribution.influence.retraining import retrained
from espalier.attribution.influence.subject import kept_by
from espalier.attribution.influence.subsets import ALL, subsets
from espalier.comparison.compare import compare
from espalier.comparison.records import Side, Training
from espalier.comparison.sides import compare_sides
from espalier.comparison.significance import Spread
from espalier.comparison.significance import retrained as spread_of
from espalier.core.errors import RecipeError
from espalier.core.files import content_hash, write_atomic
from espalier.core.records import Estimate, Metric, Score
from espalier.core.run import open_run
from espalier.evaluate.statistics import folded, folded_difference, paired_difference

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from espalier.attribution.influence.retraining import Retrained
    from espalier.core.records import Example

    Floats = NDArray[np.float64]

LOGPROB = "logprob"
NATS = Metric("Log-probability of the queries", unit="nats", ceiling=0.0, scale=1.0)
FLOORS = (BM25, "overlap", "longest", "random")


def check(
    path: Path, query: str = "test", *, cache: Path, by: str = "tracin", most: int = 20, project: int = 0,
    remove: float = 0.1, seeds: int = 5, again: int = 1, halves: int = 20,
) -> Checked:  # fmt: skip
    """Train without the rows that a score names, and say what that did; write `influence/check.json`.

    The same command goes on after an interruption.

    Args:
        path, query, cache, by, most, project: as for `influence`.
        remove: share of the rows that the score takes away; floors take rows of as many tokens.
        seeds: trainings of all rows, two or more: the noise.
        again: trainings without some of them.
        halves: random halves that are trained on; 0 leaves the linear datamodelling score out.

    Raises:
        EspalierError: in one sentence what is wrong, and what to do.
    """
    if by not in ("tracin", "cosine"):
        raise RecipeError(f"'{by}' is a floor.", where="--by", hint="Check tracin or cosine beside it.")
    if seeds < 2 or again < 1 or halves < 0:
        raise RecipeError(
            f"{seeds} trainings of all rows, {again} without some and {halves} halves show no noise.",
            where="--seeds",
            hint="Take two of all rows or more, such as --seeds 5.",
        )
    found = influence(path, query, cache=cache, by=by, most=most, project=project)
    kept = kept_by(path)
    queries = queries_of(kept.run, kept.recipe, query, most)
    tokens = [*map(int, found.scores["longest"][0])]
    scores = {name: found.scores[name] for name in (by, *FLOORS)}
    seed = kept.recipe.seed
    with open_run(kept.run.path):
        asked = subsets(scores, by, tokens, share=remove, seed=seed, seeds=seeds, again=again, half=halves)
        key = content_hash([kept.key, [row.id for row in found.examples], [s.places for s in asked]])
        folder = kept.folder / "check" / content_hash([key, [query.id for query in queries]])
        trained = retrained(kept, found.examples, queries, asked, folder, cache)
        checked = of_trainings(kept.recipe.name, by, scores, tokens, queries, trained)
        write_atomic(kept.folder / "check.json", json.dumps(checked.plain(), ensure_ascii=False) + "\n")
        write_atomic(found.page, render(found, checked))
    return checked


def of_trainings(
    name: str,
    by: str,
    scores: Mapping[str, Floats],
    tokens: Sequence[int],
    queries: Sequence[Example],
    trained: Sequence[Retrained],
) -> Checked:
    """Return what trainings on subsets say of a score; see `check`."""
    groups = {subset: [one for one in trained if one.subset.name == subset] for subset in (ALL, *scores)}
    sources = {str(place): query.source for place, query in enumerate(queries)}
    sides = [_side(subset, group, sources) for subset, group in groups.items()]
    logprobs = compare_sides(sides, [LOGPROB])
    points = compare([[one.run for one in group] for group in groups.values()], allow=("data",))
    arms: list[Arm] = []
    for place, subset in enumerate(scores):
        gone = sorted({*range(len(tokens))} - {*groups[subset][0].subset.places})
        measures = points.pairs[place].measures
        arms.append(
            Arm(
                subset,
                len(gone),
                sum(tokens[row] for row in gone),
                next(iter(measures.values())),
                logprobs.pairs[place].measures[LOGPROB],
                None if subset == by else _ahead(groups, by, subset, [*sources.values()]),
            )
        )
    half = [one for one in trained if one.subset.name.startswith("half ")]
    lds, gap = _lds(by, scores, half) if len(half) > 1 else ({}, None)
    return Checked(
        name=name,
        by=by,
        arms=tuple(arms),
        queries=len(queries),
        trainings=len(groups[ALL]),
        halves=len(half),
        lds=lds,
        gap=gap,
        noise=_deviation(groups[ALL]),
        spread=_deviation(half) if len(half) > 1 else math.nan,
    )


def _side(name: str, group: Sequence[Retrained], sources: Mapping[str, str]) -> Side:
    """Return trainings as a comparison has them, each query's log-probability as its verdict."""
    trainings = [
        Training(one.run.name, {LOGPROB: dict(zip(sources, map(Score, one.logprobs), strict=True))})
        for one in group
    ]
    return Side(name, tuple(trainings), sources, {LOGPROB: NATS})


def _ahead(
    groups: Mapping[str, Sequence[Retrained]], by: str, other: str, clusters: Sequence[str]
) -> Estimate:
    """Return the queries' log-probability without the rows of `by`, less that without those of the other.

    The noise of retraining is taken to be the same in all groups, and pooled.
    """
    ours, theirs = (np.array([one.logprobs for one in groups[name]]) for name in (by, other))
    rows = paired_difference(ours.mean(0).tolist(), theirs.mean(0).tolist(), clusters)
    reached = [[float(np.mean(one.logprobs)) for one in group] for group in groups.values()]
    error, freedom = spread_of(reached)
    # What all groups together add, brought to what these two do.
    share = (1 / len(ours) + 1 / len(theirs)) / sum(1 / len(group) for group in reached)
    spread = Spread(
        rows.value, rows.value - rows.low, rows.high - rows.value, error * math.sqrt(share), freedom
    )
    low, high = spread.interval()
    return Estimate(rows.value, low, high, rows.n, rows.missing, 1.0)


def _lds(
    by: str, scores: Mapping[str, Floats], half: Sequence[Retrained]
) -> tuple[dict[str, Estimate], Estimate]:
    """Return the linear datamodelling score of each score, and by how much the checked one is over BM25's."""
    reached = np.array([one.logprobs for one in half])
    parts = {
        name: rank_parts(np.array([table[:, [*one.subset.places]].sum(1) for one in half]), reached)
        for name, table in scores.items()
        if name not in ("longest", "random")
    }
    names = [one.subset.name for one in half]
    lds = {name: folded(one, names, mean_correlation) for name, one in parts.items()}
    return lds, folded_difference(parts[by], parts[BM25], names, mean_correlation)


def rank_parts(predicted: Floats, reached: Floats) -> list[tuple[float, ...]]:
    """Return of each half what its ranks add to sums: [H, Q] and [H, Q] to H rows of 1 + 5 Q numbers.

    The correlation of ranks is a fold of these sums, so that its interval is that of all folds.
    """
    from scipy.stats import rankdata  # pyright: ignore[reportMissingTypeStubs]

    x, y = (np.asarray(rankdata(table, axis=0), np.float64) for table in (predicted, reached))
    x, y = x - x.mean(0), y - y.mean(0)
    table = np.concatenate([np.ones((len(x), 1)), x, y, x * x, y * y, x * y], axis=1)
    return [tuple(row) for row in table.tolist()]


def mean_correlation(sums: Sequence[float]) -> float:
    """Return the mean over queries of the correlation of what `rank_parts` were added up of.

    A query whose halves are all predicted alike has none, which counts as 0.
    """
    n, rest = sums[0], np.array(sums[1:]).reshape(5, -1)
    x, y, xx, yy, xy = rest / n
    spread = (xx - x * x) * (yy - y * y)
    found = np.divide(xy - x * y, np.sqrt(np.maximum(spread, 0)), out=np.zeros_like(xy), where=spread > 1e-12)
    return float(found.mean())


def _deviation(group: Sequence[Retrained]) -> float:
    """Return the standard deviation of a query's log-probability over trainings, pooled over queries."""
    table = np.array([one.logprobs for one in group])
    return float(np.sqrt(table.var(0, ddof=1).mean()))
