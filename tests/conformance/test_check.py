"""A family of each structure through all rooms; `make conformance` does so with every type."""

from __future__ import annotations

import pytest

from conformance.check import check

SHARES = "shares"
ROWS = "row by row"
# What is particular about each: see docs/models.md for all types.
FAMILIES = {
    "llama": SHARES,  # the plain case
    "gpt2": ROWS,  # learned positions, as many key heads as heads, dropout in attention
    "opt": SHARES,  # positions that begin at 2
    "gpt_neox": SHARES,  # attention and inner layer side by side
    "phi3": SHARES,  # joined projections
    "qwen3": SHARES,  # norms of queries and keys
    "granite": SHARES,  # scaled residuals and logits
    "cohere": SHARES,  # another rotary order
    "gemma2": ROWS,  # soft caps and windows, and no SDPA
    "gemma3_text": ROWS,  # windows in some layers
    "mistral": ROWS,  # a window
    "gpt_oss": ROWS,  # attention sinks
    "bloom": ROWS,  # ALiBi
    "mixtral": SHARES,  # experts that are one tensor
    "qwen3_moe": SHARES,
    "deepseek_v3": SHARES,  # latent attention: keys and values of different sizes
    "mamba2": ROWS,  # state space layers
    "jamba": ROWS,  # these and attention
    "rwkv": ROWS,  # a recurrent state
    "gemma3": ROWS,  # the text path of a model that sees
}


@pytest.mark.parametrize(("family", "verdict"), FAMILIES.items())
def test_a_family_comes_out_as_transformers_has_it(family: str, verdict: str):
    found = check(family)
    assert found.verdict == verdict, found.why
