"""The order of rows is fair, seeded and shares; the trees of a step lose as little sharing as they can."""

from __future__ import annotations

import itertools
import subprocess
import sys

import numpy as np
import pytest
from scipy.stats import chi2

from espalier.core.errors import DataError
from espalier.core.records import Encoded
from espalier.encode.batches import build_trees, schedule_rows, steps_per_epoch
from espalier.encode.tree import row_tokens, stats


def row(ids: list[int], name: str) -> Encoded:
    return Encoded(tuple(ids), (0.0,) * (len(ids) - 2) + (1.0, 1.0), len(ids) - 2, name)


def family(letter: str, count: int, head: int = 80) -> list[Encoded]:
    """Rows that share a head of their own, and nothing after it."""
    return [
        row([1, 2, *[10 + ord(letter)] * head, 200 + n, 300 + n, 5, 2], f"{letter}{n}") for n in range(count)
    ]


MIXED = [*family("a", 13), *family("b", 9), *family("c", 2), *family("x", 3, head=4)]


def names(rows: list[Encoded]) -> list[str]:
    return [row.example for row in rows]


@pytest.mark.parametrize("size", [1, 4, 5, 27, 100])
def test_each_row_comes_once_per_epoch(size: int):
    rows_at = schedule_rows(MIXED, size, seed=3)
    steps = steps_per_epoch(len(MIXED), size)
    for epoch in range(3):
        seen = [names(rows_at(step)) for step in range(epoch * steps, (epoch + 1) * steps)]
        assert sorted(itertools.chain(*seen)) == sorted(names(MIXED))
        assert max(map(len, seen)) <= size


def test_steps_are_equally_large():
    rows_at = schedule_rows(family("a", 100), 32, seed=0)
    assert [len(rows_at(step)) for step in range(4)] == [25, 25, 25, 25]


def test_families_share_steps():
    rows_at = schedule_rows(MIXED, 4, seed=0)
    steps = [names(rows_at(step)) for step in range(steps_per_epoch(len(MIXED), 4))]
    of_one_family = [step for step in steps if len({name[0] for name in step}) == 1 and len(step) == 4]
    assert len(of_one_family) >= 13 // 4 + 9 // 4


def test_rows_that_share_less_than_it_is_worth_are_not_kept_together():
    together = 0
    twins = [row([1] * 70 + [40 + n // 2] * 10 + [100 + n, 2], f"{n}") for n in range(40)]
    for seed in range(60):
        rows_at = schedule_rows(twins, 4, seed)
        together += sum({"0", "1"} <= set(names(rows_at(step))) for step in range(10))
    assert together / 60 < 0.25  # 3/39 by chance


def test_every_row_is_equally_likely_at_every_step():
    seeds, steps = 600, steps_per_epoch(len(MIXED), 4)
    counts = {name: np.zeros(steps) for name in names(MIXED)}
    for seed in range(seeds):
        rows_at = schedule_rows(MIXED, 4, seed)
        for step in range(steps):
            for name in names(rows_at(step)):
                counts[name][step] += 1
    statistics = [((count - seeds / steps) ** 2 / (seeds / steps)).sum() for count in counts.values()]
    bound = chi2.ppf(1 - 1e-4 / len(MIXED), steps - 1)
    assert max(statistics) < bound


def test_a_step_needs_none_before_it_and_no_process_differs():
    script = (
        "from importlib import util\n"
        f"spec = util.spec_from_file_location('t', {__file__!r}); t = util.module_from_spec(spec)\n"
        "spec.loader.exec_module(t)\n"
        "print(t.names(t.schedule_rows(t.MIXED, 4, 11)(17)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    rows_at = schedule_rows(MIXED, 4, seed=11)
    all_steps = [names(rows_at(step)) for step in range(18)]
    assert done.stdout.strip() == str(all_steps[17])
    assert all_steps[:7] != all_steps[7:14]
    assert names(schedule_rows(MIXED, 4, seed=12)(17)) != all_steps[17]


def test_a_step_that_fits_is_one_tree():
    (tree,) = build_trees(family("a", 5), 200)
    assert stats(tree).distinct_tokens == 82 + 5 * 3


def test_cuts_fall_where_least_is_shared():
    rows = [*family("a", 3), *family("b", 3)]
    trees = build_trees(rows, 120)
    assert sorted(tree.rows[0][0] for tree in trees) == ["a", "b"]
    assert sorted(itertools.chain(*(tree.rows for tree in trees))) == sorted(names(rows))


def test_cuts_are_the_best_of_all():
    rng = np.random.default_rng(0)
    for _ in range(30):
        rows = [row([*rng.integers(1, 3, rng.integers(2, 9)).tolist(), 7, 2], str(n)) for n in range(7)]
        budget = 14
        trees = build_trees(rows, budget)
        assert max(stats(tree).distinct_tokens for tree in trees) <= budget
        total = sum(stats(tree).distinct_tokens for tree in trees)
        ordered = sorted(rows, key=lambda row: row.ids[:-1])
        for cuts in itertools.product([False, True], repeat=6):
            bounds = [0, *(n + 1 for n, cut in enumerate(cuts) if cut), 7]
            parts = [build_trees(ordered[a:b], 10_000)[0] for a, b in itertools.pairwise(bounds)]
            sizes = [stats(part).distinct_tokens for part in parts]
            assert max(sizes) > budget or sum(sizes) >= total


def test_trees_keep_their_rows_whole():
    rows = family("a", 20)
    by_name = {row.example: row.ids for row in rows}
    for tree in build_trees(rows, 95):
        for place, name in enumerate(tree.rows):
            assert row_tokens(tree, place) == by_name[name]


def test_a_row_longer_than_the_budget_is_named_and_never_cut():
    with pytest.raises(DataError, match=r"a0: A row has 86 tokens, and a tree may have 50"):
        build_trees(family("a", 1), 50)


def test_no_row_at_all_is_refused():
    with pytest.raises(DataError, match="no row to train on"):
        schedule_rows([], 4, 0)
