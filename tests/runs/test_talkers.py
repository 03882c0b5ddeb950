"""What a person wants otherwise than a recipe has it, and what transformers calls a recipe's settings."""

from __future__ import annotations

from typing import Any

import pytest
from transformers import GenerationConfig

from espalier.core.errors import RunError
from espalier.core.recipe import Choice
from espalier.decode.strategies.registry import strategies
from espalier.runs.export import GENERATION
from espalier.runs.talkers import Sampling

BEAM = {"kind": "beam", "beams": 6, "samples": 3, "limit": 9}
SAMPLE = {"kind": "sample", "top_k": 5, "limit": 9}


@pytest.mark.parametrize(
    ("decode", "wanted", "found"),
    [
        (BEAM, Sampling(), {**BEAM, "samples": 1}),
        (BEAM, Sampling(beams=2, samples=2), {**BEAM, "beams": 2, "samples": 2}),
        (BEAM, Sampling(temperature=0), {"kind": "greedy", "limit": 9}),
        (BEAM, Sampling(top_k=3), {"kind": "sample", "limit": 9, "top_k": 3, "samples": 1}),
        (SAMPLE, Sampling(min_p=0.1, limit=4), {**SAMPLE, "limit": 4, "min_p": 0.1, "samples": 1}),
        (SAMPLE, Sampling(beams=2), {"kind": "beam", "beams": 2, "limit": 9, "samples": 1}),
        (SAMPLE, Sampling(temperature=0, beams=2), {"kind": "beam", "beams": 2, "limit": 9, "samples": 1}),
        (SAMPLE, Sampling(repetition_penalty=1.5), {**SAMPLE, "repetition_penalty": 1.5}),
    ],
)
def test_wishes_go_over_what_the_recipe_says(
    decode: dict[str, Any], wanted: Sampling, found: dict[str, Any]
) -> None:
    choice = wanted.over(Choice.model_validate(decode))
    assert {"kind": choice.kind, **choice.params} == found
    assert wanted.draws(Choice.model_validate(decode)) == (choice.kind == "sample")


def test_beams_and_draws_are_not_wanted_together() -> None:
    with pytest.raises(RunError, match="Leave out beams, or temperature, seed"):
        Sampling(temperature=0.5, seed=1, beams=2).over(Choice(kind="greedy"))


def test_exported_settings_are_known_to_both_sides() -> None:
    ours = {name for kind in ("greedy", "sample", "beam") for name in strategies.describe(kind)[1]}
    assert set(GENERATION) <= ours
    assert set(GENERATION.values()) <= set(GenerationConfig().to_dict())
