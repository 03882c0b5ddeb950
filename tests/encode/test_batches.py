"""The order of rows is fair, seeded and shares; the trees of a step lose as little sharing as they can."""

from __future__ import annotations

import itertools
import subprocess
import sys
from typing import TYPE_CHECKING

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import chi2

from espalier.core.errors import DataError
from espalier.core.records import Encoded
from espalier.encode.batches import PRICE, build_trees, group_size, schedule, steps_per_epoch, tree_sizes
from espalier.encode.tokens import Unit
from espalier.encode.tree import row_tokens, stats

if TYPE_CHECKING:
    from collections.abc import Sequence


def row(ids: list[int], name: str) -> Encoded:
    return Encoded(tuple(ids), (0.0,) * (len(ids) - 2) + (1.0, 1.0), len(ids) - 2, name)


def family(letter: str, count: int, head: int = 80) -> list[Encoded]:
    """Rows that share a head of their own, and nothing after it."""
    return [
        row([1, 2, *[10 + ord(letter)] * head, 200 + n, 300 + n, 5, 2], f"{letter}{n}") for n in range(count)
    ]


MIXED = [*family("a", 13), *family("b", 9), *family("c", 2), *family("x", 3, head=4)]


def units(rows: list[Encoded]) -> list[Unit]:
    return [Unit(row.example, row.ids[: row.prompt], (row,)) for row in rows]


def alone(rows: list[Encoded]) -> list[list[Encoded]]:
    return [[row] for row in rows]


def names(rows: Sequence[Encoded] | Sequence[Unit]) -> list[str]:
    return [row.example for row in rows]


@pytest.mark.parametrize("size", [1, 4, 5, 27, 100])
def test_each_row_comes_once_per_epoch(size: int):
    units_at = schedule(units(MIXED), size, seed=3)
    steps = steps_per_epoch(len(MIXED), size)
    for epoch in range(3):
        seen = [names(units_at(step)) for step in range(epoch * steps, (epoch + 1) * steps)]
        assert sorted(itertools.chain(*seen)) == sorted(names(MIXED))
        assert max(map(len, seen)) <= size


def test_steps_are_equally_large():
    units_at = schedule(units(family("a", 100)), 32, seed=0)
    assert [len(units_at(step)) for step in range(4)] == [25, 25, 25, 25]


def test_families_share_steps():
    units_at = schedule(units(MIXED), 4, seed=0)
    steps = [names(units_at(step)) for step in range(steps_per_epoch(len(MIXED), 4))]
    of_one_family = [step for step in steps if len({name[0] for name in step}) == 1 and len(step) == 4]
    assert len(of_one_family) >= 13 // 4 + 9 // 4


def test_rows_that_share_less_than_it_is_worth_are_not_kept_together():
    together = 0
    twins = [row([1] * 70 + [40 + n // 2] * 10 + [100 + n, 2], f"{n}") for n in range(40)]
    for seed in range(60):
        units_at = schedule(units(twins), 4, seed)
        together += sum({"0", "1"} <= set(names(units_at(step))) for step in range(10))
    assert together / 60 < 0.25  # 3/39 by chance


def test_every_row_is_equally_likely_at_every_step():
    seeds, steps = 600, steps_per_epoch(len(MIXED), 4)
    counts = {name: np.zeros(steps) for name in names(MIXED)}
    for seed in range(seeds):
        units_at = schedule(units(MIXED), 4, seed)
        for step in range(steps):
            for name in names(units_at(step)):
                counts[name][step] += 1
    statistics = [((count - seeds / steps) ** 2 / (seeds / steps)).sum() for count in counts.values()]
    bound = chi2.ppf(1 - 1e-4 / len(MIXED), steps - 1)
    assert max(statistics) < bound


def test_a_step_needs_none_before_it_and_no_process_differs():
    script = (
        "from importlib import util\n"
        f"spec = util.spec_from_file_location('t', {__file__!r}); t = util.module_from_spec(spec)\n"
        "spec.loader.exec_module(t)\n"
        "print(t.names(t.schedule(t.units(t.MIXED), 4, 11)(17)))"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    units_at = schedule(units(MIXED), 4, seed=11)
    all_steps = [names(units_at(step)) for step in range(18)]
    assert done.stdout.strip() == str(all_steps[17])
    assert all_steps[:7] != all_steps[7:14]
    assert names(schedule(units(MIXED), 4, seed=12)(17)) != all_steps[17]


def test_a_step_that_fits_is_one_tree():
    (tree,) = build_trees(alone(family("a", 5)), 200)
    assert stats(tree).distinct_tokens == 82 + 5 * 3


def test_cuts_fall_where_least_is_shared():
    rows = [*family("a", 3), *family("b", 3)]
    trees = build_trees(alone(rows), 120)
    assert sorted(tree.rows[0].example[0] for tree in trees) == ["a", "b"]
    assert sorted(itertools.chain(*(names(tree.rows) for tree in trees))) == sorted(names(rows))


def test_cuts_are_the_best_of_all():
    rng = np.random.default_rng(0)
    for _ in range(30):
        rows = [row([*rng.integers(1, 3, rng.integers(2, 9)).tolist(), 7, 2], str(n)) for n in range(7)]
        budget = 14
        trees = build_trees(alone(rows), budget)
        assert max(stats(tree).distinct_tokens for tree in trees) <= budget
        total = cost([stats(tree).distinct_tokens for tree in trees], budget)
        ordered = sorted(rows, key=lambda row: row.ids[:-1])
        for cuts in itertools.product([False, True], repeat=6):
            bounds = [0, *(n + 1 for n, cut in enumerate(cuts) if cut), 7]
            parts = [build_trees(alone(ordered[a:b]), 10_000)[0] for a, b in itertools.pairwise(bounds)]
            sizes = [stats(part).distinct_tokens for part in parts]
            assert max(sizes) > budget or cost(sizes, budget) >= total


def cost(sizes: Sequence[int], budget: int) -> float:
    """What trees of these sizes cost, in tokens."""
    return sum(size + PRICE * max(0, size - budget // 2) for size in sizes)


def test_the_second_half_of_the_budget_is_for_what_shares_much():
    apart = [row([1, 2, *[1000 + n] * 50, 5, 2], f"apart{n}") for n in range(10)]
    assert [stats(tree).distinct_tokens for tree in build_trees(alone(apart), 600)] == [257, 257]
    (tree,) = build_trees(alone(family("a", 120, head=80)), 600)
    assert stats(tree).distinct_tokens == 442
    (tree,) = build_trees(alone([row([1, 2, *range(10, 510), 5, 2], "long")]), 600)
    assert stats(tree).distinct_tokens == 503


def test_trees_keep_their_rows_whole():
    rows = family("a", 20)
    by_name = {row.example: row.ids for row in rows}
    for tree in build_trees(alone(rows), 95):
        for place, row in enumerate(tree.rows):
            assert row_tokens(tree, place) == by_name[row.example]


@st.composite
def groups(draw: st.DrawFn) -> list[list[Encoded]]:
    """Prompts over few tokens, each with one to three answers of its own."""
    found: list[list[Encoded]] = []
    tokens = st.integers(1, 3)
    for number in range(draw(st.integers(1, 7))):
        prompt = draw(st.lists(tokens, min_size=1, max_size=6))
        answers = draw(st.lists(st.lists(tokens, min_size=1, max_size=4), min_size=1, max_size=3))
        found.append(
            [
                Encoded(
                    (*prompt, *answer),
                    (0.0,) * len(prompt) + (1.0,) * len(answer),
                    len(prompt),
                    str(number),
                    number=place,
                )
                for place, answer in enumerate(answers)
            ]
        )
    return found


@given(groups(), st.integers(0, 30))
def test_groups_stay_whole_within_the_budget(taken: list[list[Encoded]], room: int):
    budget = max(map(group_size, taken)) + room
    trees = build_trees(taken, budget)
    assert sorted(map(id, itertools.chain(*(tree.rows for tree in trees)))) == sorted(
        map(id, itertools.chain(*taken))
    )
    assert tree_sizes(taken, budget) == [stats(tree) for tree in trees]
    homes = [{row.example for row in tree.rows} for tree in trees]
    assert sum(map(len, homes)) == len(taken)
    sizes = [stats(tree).distinct_tokens for tree in trees]
    assert max(sizes) <= budget
    assert sum(stats(tree).row_tokens for tree in trees) == sum(
        len(row.ids) - 1 for row in itertools.chain(*taken)
    )
    if len(taken) == 1:
        assert sizes == [group_size(taken[0])]


@given(groups())
def test_a_group_that_does_not_fit_is_refused_whole(taken: list[list[Encoded]]):
    sizes = {group[0].example: group_size(group) for group in taken}
    with pytest.raises(DataError, match="An example has") as caught:
        build_trees(taken, max(sizes.values()) - 1)
    assert sizes[caught.value.where] == max(sizes.values())


@given(groups(), st.data())
def test_units_with_several_rows_or_none_are_dealt_as_all_others(
    taken: list[list[Encoded]], data: st.DataObject
):
    bare = data.draw(st.sets(st.integers(0, len(taken) - 1)))
    all_units = [
        Unit(group[0].example, group[0].ids[: group[0].prompt], () if number in bare else tuple(group))
        for number, group in enumerate(taken)
    ]
    size = data.draw(st.integers(1, 8))
    units_at = schedule(all_units, size, seed=1)
    steps = steps_per_epoch(len(all_units), size)
    dealt = [units_at(step) for step in range(steps)]
    assert sorted(map(id, itertools.chain(*dealt))) == sorted(map(id, all_units))
    assert max(map(len, dealt)) <= size
    assert min(map(len, dealt)) >= 1


def test_prompts_without_rows_meet_those_that_share_them():
    head = [*range(100, 160)]
    together = [Unit(f"a{n}", (1, *head, 200 + n), ()) for n in range(4)]
    apart = [Unit(f"b{n}", (1, *range(n, n + 60)), ()) for n in range(300, 700, 100)]
    units_at = schedule([*together, *apart], 4, seed=0)
    assert {frozenset(name[0] for name in names(units_at(step))) for step in range(2)} == {
        frozenset("a"),
        frozenset("b"),
    }


def test_a_row_longer_than_the_budget_is_named_and_never_cut():
    with pytest.raises(DataError, match=r"a0: An example has 86 tokens, and a tree may have 50"):
        build_trees(alone(family("a", 1)), 50)


def test_no_row_at_all_is_refused():
    with pytest.raises(DataError, match="no row to train on"):
        schedule([], 4, 0)
