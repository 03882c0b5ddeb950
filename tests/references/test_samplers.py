"""What tokens are drawn from against transformers' processors, and the draws against that distribution."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import chisquare
from transformers import LogitsProcessorList
from transformers.generation.logits_process import (
    EpsilonLogitsWarper,
    EtaLogitsWarper,
    MinPLogitsWarper,
    NoRepeatNGramLogitsProcessor,
    RepetitionPenaltyLogitsProcessor,
    TemperatureLogitsWarper,
    TopKLogitsWarper,
    TopPLogitsWarper,
    TypicalLogitsWarper,
)

from espalier.core.errors import RecipeError
from espalier.decode.draws import Draw, Penalties
from espalier.decode.requests import Request
from espalier.decode.strategies.filters import filtered
from espalier.decode.strategies.penalties import penalised
from espalier.decode.strategies.registry import strategies
from espalier.decode.strategies.sampling import _uniform, sample

if TYPE_CHECKING:
    from collections.abc import Sequence

    from torch import Tensor

    from espalier.decode.strategy import Row

SIZE = 40
NAMES = {
    "repetition_penalty": RepetitionPenaltyLogitsProcessor,
    "no_repeat": NoRepeatNGramLogitsProcessor,
    "temperature": TemperatureLogitsWarper,
    "top_k": TopKLogitsWarper,
    "top_p": TopPLogitsWarper,
    "min_p": MinPLogitsWarper,
    "typical": TypicalLogitsWarper,
    "epsilon": EpsilonLogitsWarper,
    "eta": lambda epsilon: EtaLogitsWarper(epsilon, device="cpu"),
}
SETTINGS = st.fixed_dictionaries(
    {},
    optional={
        "repetition_penalty": st.sampled_from([0.7, 1.3]),
        "no_repeat": st.sampled_from([1, 2, 3]),
        "temperature": st.sampled_from([0.5, 1.7]),
        "top_k": st.sampled_from([1, 5, 30, 99]),
        "top_p": st.sampled_from([1e-6, 0.4, 0.9]),
        "min_p": st.sampled_from([0.03, 0.3, 1.0]),
        "typical": st.sampled_from([0.1, 0.5, 0.9]),
        "epsilon": st.sampled_from([1e-3, 0.05, 0.5]),
        "eta": st.sampled_from([1e-3, 0.05, 0.5]),
    },
)


def rows_of(count: int, seed: int = 0) -> list[Row]:
    """Rows with a prompt and a few tokens written, of a vocabulary so small that runs come again."""
    draw = np.random.default_rng(seed)
    rows: list[Row] = []
    for number in range(count):
        request = Request(f"request-{number}", tuple(draw.integers(6, size=12).tolist()), 0, ())
        row = sample().begin(number, request, ())
        row.ids = draw.integers(6, size=5).tolist()
        rows.append(row)
    return rows


def theirs(rows: Sequence[Row], logits: Tensor, own: dict[str, Any]) -> Tensor:
    processors = LogitsProcessorList([NAMES[name](own[name]) for name in NAMES if name in own])
    texts: Any = torch.tensor([[*row.request.prompt, *row.ids] for row in rows])
    given: Any = logits
    return processors(texts, given).softmax(-1)


@settings(max_examples=150)
@given(st.integers(0, 10**6), st.sampled_from([0.0, 1.0, 4.0]), SETTINGS)
def test_the_distribution_is_that_of_transformers(seed: int, spread: float, own: dict[str, Any]):
    rows = rows_of(6, seed)
    logits = torch.randn(6, SIZE, generator=torch.Generator().manual_seed(seed)) * spread
    logits[:, 1::7] = logits[:, 0::7]  # equals, some of them the last ones that are in
    wanted = theirs(rows, logits.clone(), own)
    penalties = Penalties(own.get("repetition_penalty", 1.0), no_repeat=own.get("no_repeat", 0))
    kinds = ("temperature", "top_p", "top_k", "min_p", "typical", "epsilon", "eta")
    draw = Draw(**{kind: own[kind] for kind in kinds if kind in own}, penalties=penalties)
    scores = penalised(rows, logits, penalties) / draw.temperature
    weights, tokens = filtered(scores, draw)
    found = torch.zeros(6, SIZE, dtype=torch.double)
    places = torch.arange(SIZE).expand(6, -1) if tokens is None else tokens
    found.scatter_add_(1, places, weights)
    found /= found.sum(-1, keepdim=True)
    # Of a limit that falls on a token, or on equals of it, rounding decides: such rows tell nothing.
    clear = ((found > 0) == (wanted > 0)).all(-1)
    assert torch.allclose(found[clear], wanted[clear].double(), atol=1e-6)
    assert clear.sum() >= 5 or "typical" in own or "top_p" in own or spread == 0


@pytest.mark.parametrize(
    "own",
    [
        {"top_k": 5},
        {"top_p": 0.7, "temperature": 1.5},
        {"min_p": 0.2},
        {"typical": 0.6},
        {"epsilon": 0.03},
        {"eta": 0.04},
        {"repetition_penalty": 1.5},
        {"no_repeat": 2, "top_k": 9, "min_p": 0.05},
    ],
    ids=str,
)
def test_draws_follow_the_distribution(own: dict[str, Any]):
    count = 6000
    logits = torch.randn(1, SIZE, generator=torch.Generator().manual_seed(2)) * 2
    row = rows_of(1)[0]
    chances = theirs([row], logits.clone(), own)[0].double().numpy()
    strategy = strategies.build("sample", own)
    rows: list[Row] = []
    for number in range(count):
        request = Request(f"request-{number}", row.request.prompt, 0, ())
        rows.append(strategy.begin(number, request, ()))
        rows[-1].ids = list(row.ids)
    picked = strategy.step(rows, logits.expand(count, -1)).ids.numpy()
    counts = np.bincount(picked, minlength=SIZE)
    assert not counts[chances == 0].any()
    many = chances * count >= 5
    observed, expected = counts[many], chances[many] * count
    if (~many & (chances > 0)).any():
        observed, expected = [*observed, counts[~many].sum()], [*expected, chances[~many].sum() * count]
    if len(expected) > 1:
        assert chisquare(observed, np.array(expected) * sum(observed) / sum(expected)).pvalue > 1e-3


def test_presence_and_frequency_are_taken_from_what_was_written():
    row = rows_of(1)[0]
    row.ids = [3, 3, 8]
    logits = torch.zeros(1, SIZE)
    found = penalised([row], logits, Penalties(presence_penalty=0.5, frequency_penalty=0.25))[0]
    wanted = torch.zeros(SIZE)
    wanted[3], wanted[8] = -1.0, -0.75
    assert torch.equal(found, wanted)
    assert not logits.any()


def test_ids_behind_the_vocabulary_are_no_words():
    row = rows_of(1)[0]
    row.request = Request("", (SIZE + 3, 2, SIZE + 3), 0, ())
    row.ids = []
    found = penalised([row], torch.ones(1, SIZE), Penalties(2.0, no_repeat=1))[0]
    assert found.isinf().nonzero().flatten().tolist() == [2]


def test_draws_of_before_are_what_they_were():
    """Tokens that temperature and nucleus drew before there was anything else."""
    logits = torch.randn(40, 500, generator=torch.Generator().manual_seed(5)) * 3
    for temperature, top_p in ((1.0, 1.0), (0.7, 0.9), (1.4, 0.3)):
        strategy = sample(draw=Draw(temperature, top_p, seed=3))
        rows = [strategy.begin(n, Request(f"r{n}", (1,), 0, ()), ()) for n in range(40)]
        chances = (logits / temperature).double().softmax(-1)
        order = torch.arange(500).expand(40, -1)
        if top_p < 1:
            chances, order = chances.sort(dim=-1, descending=True, stable=True)
            chances = chances * (chances.cumsum(-1) - chances < top_p)
        sums = chances.cumsum(-1)
        numbers = torch.tensor([[_uniform(3, f"r{n}", 0)] for n in range(40)], dtype=torch.double)
        places = torch.searchsorted(sums, numbers * sums[:, -1:], right=True)
        assert torch.equal(strategy.step(rows, logits).ids, order.gather(1, places)[:, 0])
        assert set(strategy.settings) == {"kind", "limit", "temperature", "top_p", "seed"}


@pytest.mark.parametrize(
    ("kind", "params", "message"),
    [
        ("sample", {"top_k": -1}, "decode.top_k: top_k = -1 does not fit: it must not be below 0"),
        ("sample", {"min_p": 1.1}, "decode.min_p"),
        ("sample", {"typical": 0.0}, "decode.typical"),
        ("sample", {"eta": 1.0}, "decode.eta"),
        ("sample", {"epsilon": -0.1}, "decode.epsilon"),
        ("greedy", {"no_repeat": -2}, "decode.no_repeat"),
        ("greedy", {"repetition_penalty": 0.0}, "decode.repetition_penalty"),
    ],
)
def test_bad_settings_are_refused(kind: str, params: dict[str, object], message: str):
    with pytest.raises(RecipeError, match=message):
        strategies.build(kind, params, "decode")
