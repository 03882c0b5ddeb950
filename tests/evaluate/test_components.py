"""Planted parts of a variance are recovered, and who is ahead is told with rows and ways counted."""

from __future__ import annotations

import numpy as np
import pytest

from espalier.evaluate.components import ahead, components, noise_of_spread

PLANTED = {
    "task": 0.09,
    "wording": 0.04,
    "wording in its task": 0.01,
    "seed": 0.02,
    "row": 0.16,
    "rest": 0.25,
}


def planted(rng: np.random.Generator) -> dict[str, float]:
    """Return what is found in a table of 5 tasks of unequal size, 14 wordings and 4 seeds."""
    draw = {name: rng.normal(0, np.sqrt(v), 400) for name, v in PLANTED.items() if name != "rest"}
    cells = [
        (task, word, task * 14 + word, seed, task * 40 + row)
        for task in range(5) for word in range(14) for seed in range(4) for row in range(12 + 4 * task)
    ]  # fmt: skip
    levels = dict(zip(draw, map(np.array, zip(*cells, strict=True)), strict=True))
    values = sum(draw[name][of] for name, of in levels.items()) + rng.normal(0, 0.5, len(cells))
    return {
        one.name: one.variance
        for one in components(values.tolist(), {k: v.tolist() for k, v in levels.items()})
    }


def test_planted_components_are_recovered() -> None:
    rng = np.random.default_rng(0)
    found = [planted(rng) for _ in range(16)]
    for name, truth in PLANTED.items():
        values = [one[name] for one in found]
        error = float(np.std(values, ddof=1)) / np.sqrt(len(values))
        assert abs(np.mean(values) - truth) < 3.5 * error + 0.003, name


def test_balanced_tables_give_the_analysis_of_variance() -> None:
    table = np.random.default_rng(1).normal(size=(6, 20)) + np.arange(6)[:, None]
    rows, words = np.meshgrid(np.arange(20), np.arange(6))
    levels = {"wording": words.ravel().tolist(), "row": rows.ravel().tolist()}
    found = {one.name: one for one in components(table.ravel().tolist(), levels)}
    rest = table - table.mean(0) - table.mean(1)[:, None] + table.mean()
    error = float((rest**2).sum() / (5 * 19))
    assert found["rest"].variance == pytest.approx(error)
    assert found["wording"].variance == pytest.approx(table.mean(1).var(ddof=1) - error / 20)
    raw = table.mean(0).var(ddof=1) - error / 6
    assert found["row"].variance == pytest.approx(max(0.0, raw))
    assert found["row"].negative == (raw < 0)


def test_one_level_and_twins_are_left_out() -> None:
    found = components([1.0, 2.0, 3.0, 5.0], {"task": [0] * 4, "word": [0, 0, 1, 1], "again": [1, 1, 0, 0]})
    assert [one.name for one in found] == ["word", "rest"]


def test_noise_alone_is_seldom_called_a_spread() -> None:
    rng, found = np.random.default_rng(2), 0
    for seed in range(100):
        rows = rng.random((10, 1, 40)) + np.zeros((1, 2, 1))
        table = (np.repeat(rng.random((10, 20)), 2, axis=1) + 0 * rows[:, 0]) < 0.6
        found += noise_of_spread(table.astype(float), [str(n // 2) for n in range(40)], seed, 200)[2] < 0.05
    assert found <= 11  # of 100 at 5 %, beyond what 99 of 100 such tests have
    far = np.vstack([np.zeros((1, 40)), np.ones((9, 40))])
    assert noise_of_spread(far, [str(n) for n in range(40)])[2] < 0.01


def test_who_is_ahead_counts_ways_and_rows() -> None:
    rng = np.random.default_rng(3)
    sources = [str(n) for n in range(60)]
    share, gap = ahead(rng.normal(0.5, 1, (14, 60)), sources)
    assert share.value == 1
    assert 0.7 < share.low < 1 == share.high  # fourteen ways are no certainty
    assert gap.excludes_zero
    share, gap = ahead(np.zeros((14, 60)), sources)
    assert (share.value, gap.value) == (0.5, 0.0)
    assert ahead(rng.normal(0.5, 1, (14, 60)), sources, sign=-1)[0].value == 0
