"""A training that goes wrong is told from one that is only noisy, by its first steps."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from espalier.train.divergence import divergence

VOCABULARY = 49152


def steps(losses: list[float], rows: int = 32) -> list[dict[str, Any]]:
    return [
        {"step": number, "loss": loss, "norm": 2.0 * loss, "rows": rows}
        for number, loss in enumerate(losses, start=1)
    ]


def first(losses: list[float], rows: int = 32, vocabulary: int | None = VOCABULARY) -> tuple[int, bool]:
    """Return at which step something is said first, and whether that is the end; 0 where nothing is."""
    events = steps(losses, rows)
    for number in range(1, len(events) + 1):
        found = divergence(events[:number], vocabulary)
        if found:
            return number, found.hopeless
    return 0, False


@pytest.mark.parametrize(
    ("losses", "rows", "expected"),
    [
        # Measured: the bundled model and task, rates of 1e-2 (full) and 3e-2 (LoRA).
        ([1.82, 2.88, 12.9, 11.3, 15.8, 12.4], 16, (4, True)),
        ([1.82, 1.66, 2.38, 7.94, 4.39, 11.3, 18.8], 16, (7, True)),
        ([1.8, 6.0, 6.5, 7.0], 32, (3, False)),
        ([1.8, 11.0, 1.9, 12.0, 1.7], 32, (0, False)),  # a row now and then that nobody could know
        ([9.0, 11.5, 12.0, 12.5], 32, (0, False)),  # a model that begins near to guessing
        ([9.0, 14.5, 15.0], 32, (3, True)),
        ([1.8, 12.0, 13.0], 32, (3, True)),
        ([0.3, *[12.0] * 15], 1, (0, False)),  # 15 single rows
        ([0.3, *[12.0] * 16], 1, (17, True)),
    ],
)
def test_answers_are_measured_by_what_guessing_costs(
    losses: list[float], rows: int, expected: tuple[int, bool]
) -> None:
    assert first(losses, rows) == expected


@pytest.mark.parametrize(
    ("losses", "expected"),
    [
        ([0.69, 0.69, 0.6, 0.5], 0),  # pairs
        ([0.69, 1.2, 1.9, 2.0, 1.5], 0),
        ([0.69, 4.0, 9.0, 12.0], 3),
        ([0.0, -0.02, 0.4, 0.9, -0.5], 0),  # rewards
        ([0.001, 0.002, 7.0, 300.0], 4),
        ([-0.1, 1.0, 1.2, 1.3], 3),
        ([25.0, 60.0, 40.0, 74.0], 0),  # a margin in log-probabilities (IPO)
        ([0.5, 0.5, 0.52, 0.48], 0),  # thumbs
    ],
)
def test_other_losses_are_measured_by_their_rise_and_never_end_a_training(
    losses: list[float], expected: int
) -> None:
    assert first(losses, vocabulary=None) == (expected, False)


@pytest.mark.parametrize("rows", [1, 4, 32])
def test_noise_is_no_divergence(rows: int) -> None:
    """Losses of single rows between 0.2 and 6 nats, in any order."""
    for seed in range(200):
        draw = random.Random(seed)
        losses = [sum(6 * draw.random() ** 2 for _ in range(rows)) / rows + 0.2 for _ in range(40)]
        assert first(losses, rows) == (0, False)


def test_the_sentence_has_the_step_and_all_figures() -> None:
    found = divergence(steps([2.0, 12.0, 13.0]), VOCABULARY)
    assert found is not None
    assert found.said == (
        "the loss is 13.00 at step 3, and was 2.00 at the first; guessing among all 49,152 tokens gives "
        f"{math.log(VOCABULARY):.2f}; the norm of its gradient is 26, and was 4."
    )
