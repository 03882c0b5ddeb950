"""Reward models: built from a causal one, read at the stop token, and told alike by plain transformers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, cast

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from transformers import AutoModelForSequenceClassification, GPT2Config, GPT2LMHeadModel
from transformers.utils import logging

from espalier.core.errors import ModelError
from espalier.core.records import Encoded
from espalier.encode.tree import build_tree
from espalier.models.adapters import full, lora, merged
from espalier.models.reward import as_rated, leaf_scores, padding, rates, reward_model
from espalier.models.support import unsupported
from espalier.train.verify import KeepDouble

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import LlamaForCausalLM, PreTrainedModel

STOP, PAD = 2, 1
TOKENIZER: Any = SimpleNamespace(
    pad_token_id=STOP, unk_token_id=None, bos_token_id=PAD, all_special_ids=[STOP, PAD]
)


@pytest.fixture
def rating(tiny_llama: LlamaForCausalLM) -> PreTrainedModel:
    """A reward model on the layers of the tiny Llama."""
    return reward_model(tiny_llama, TOKENIZER, {STOP})


def row(prompt: tuple[int, ...], answer: tuple[int, ...]) -> Encoded:
    """A row as templates make them, with a token after the stop token that is not trained."""
    ids = (PAD, *prompt, *answer, STOP, 9)
    weights = (0.0,) * (1 + len(prompt)) + (1.0,) * (len(answer) + 1) + (0.0,)
    return Encoded(ids, weights, 1 + len(prompt), str(hash(ids)))


ROWS = [row((5, 6, 7), (8, 9)), row((5, 6, 7), (8, 10, 11)), row((5, 6), (12,)), row((5, 6, 7), (8,))]


def test_a_rated_row_ends_at_its_stop_token() -> None:
    rated = as_rated(ROWS[0])
    tree = build_tree([rated])
    assert rated.ids[:-1] == ROWS[0].ids[:-1]
    assert tree.ids[tree.leaves[0]] == STOP
    assert len(tree.sources) == 1


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(*[st.lists(st.integers(3, 9), max_size=4).map(tuple)] * 2), min_size=1, max_size=6))
def test_a_tree_gives_each_row_the_number_of_transformers(
    rating: PreTrainedModel, parts: list[tuple[tuple[int, ...], tuple[int, ...]]]
) -> None:
    rows = [row(prompt, answer) for prompt, answer in parts]
    tree = build_tree([as_rated(one) for one in rows])
    expected = torch.cat([rating(input_ids=torch.tensor([one.ids[:-1]])).logits[0] for one in rows])
    for shared in (True, False):
        found = leaf_scores(rating, tree, shared=shared).logprobs[torch.from_numpy(tree.entry_edges)]
        torch.testing.assert_close(found, expected)


def test_gradients_along_the_tree_are_those_of_the_rows(rating: PreTrainedModel) -> None:
    full()(rating).double()
    tree = build_tree([as_rated(one) for one in ROWS])
    weights = torch.tensor([1.0, -2.0, 0.5, 3.0], dtype=torch.float64)
    found: list[list[torch.Tensor]] = []
    for shared in (True, False):
        rating.zero_grad()
        with KeepDouble():
            (leaf_scores(rating, tree, shared=shared).logprobs * weights).sum().backward()
        found.append(
            [cast("torch.Tensor", p.grad).clone() for p in rating.parameters() if p.grad is not None]
        )
    torch.testing.assert_close(*found, rtol=1e-9, atol=1e-12)


def test_plain_transformers_loads_it_and_pads_it(rating: PreTrainedModel, tmp_path: Path) -> None:
    logging.disable_progress_bar()
    rating.save_pretrained(tmp_path)
    plain = AutoModelForSequenceClassification.from_pretrained(tmp_path)
    assert (plain.config.num_labels, plain.config.pad_token_id) == (1, PAD)
    longest = max(len(one.ids) for one in ROWS) - 1
    ids = torch.tensor([[*one.ids[:-1], *[PAD] * (longest + 1 - len(one.ids))] for one in ROWS])
    mask = (ids != PAD) | (torch.arange(longest) == 0)
    tree = build_tree([as_rated(one) for one in ROWS])
    found = leaf_scores(rating, tree).logprobs[torch.from_numpy(tree.entry_edges)]
    torch.testing.assert_close(plain(input_ids=ids, attention_mask=mask).logits[:, 0], found)


def test_an_adapter_trains_the_head_and_folds_in(rating: PreTrainedModel) -> None:
    tuned = lora(rank=2)(rating)
    moved = {name for name, weight in tuned.named_parameters() if weight.requires_grad}
    assert any("score" in name for name in moved)
    assert all("lora" in name or "score" in name for name in moved)
    assert not any("score" in name and "lora" in name for name in moved)
    for weight in tuned.parameters():
        if weight.requires_grad:
            torch.nn.init.normal_(weight, std=0.1)
    tree = build_tree([as_rated(one) for one in ROWS])
    before = leaf_scores(cast("Any", tuned), tree).logprobs
    folded = merged(tuned)
    assert rates(folded)
    torch.testing.assert_close(leaf_scores(folded, tree).logprobs, before)


def test_it_is_told_from_a_model_that_writes(tiny_llama: LlamaForCausalLM) -> None:
    assert not rates(tiny_llama)
    assert unsupported(reward_model(tiny_llama, TOKENIZER, {STOP})) is None


def test_what_pads_does_not_end_an_answer() -> None:
    assert padding(TOKENIZER, {STOP}) == PAD
    assert padding(TOKENIZER, {STOP, PAD}) is None


def test_other_types_of_model_are_built_or_refused() -> None:
    gpt = GPT2LMHeadModel(GPT2Config(vocab_size=16, n_embd=8, n_layer=1, n_head=2, n_positions=16))
    assert rates(reward_model(gpt, TOKENIZER, {STOP}))
    gpt.config.model_type = "nothing"
    with pytest.raises(ModelError, match="no reward model"):
        reward_model(cast("Any", SimpleNamespace(config=_Unknown(), dtype=torch.float32)), TOKENIZER, {STOP})


class _Unknown(GPT2Config):
    model_type = "unknown"
