"""What the bench compares has to be the same work: the same rows, the same loss, and honestly counted."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch

from bench.lean import summed_loss
from bench.rate import step_gflop
from bench.rows import Case, cases, describe, load_steps
from espalier.core.records import Encoded
from espalier.encode.template import Template
from espalier.encode.tree import build_tree
from espalier.models.forward import edge_logprobs
from espalier.train.objectives import row_sums

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from transformers import LlamaForCausalLM, PreTrainedTokenizerFast


def test_the_lean_loop_has_the_loss_of_the_tree(tiny_llama: LlamaForCausalLM) -> None:
    rows = [
        Encoded((5, 6, 7, 8, 9), (0.0, 0.0, 0.0, 1.0, 1.0), 3, "a"),
        Encoded((5, 6, 7, 11, 12, 13, 2), (0.0, 0.0, 0.0, 0.0, 1.0, 1.0, 1.0), 4, "b"),
    ]
    tree = build_tree(rows)
    ours = row_sums(edge_logprobs(tiny_llama, tree), tree).sum()
    assert summed_loss(tiny_llama, rows).item() == pytest.approx(-ours.item(), rel=1e-5)


def test_steps_hold_each_row_once(chat_tokenizer: Callable[[str], PreTrainedTokenizerFast]) -> None:
    steps = load_steps(Case("t", "event-duration"), Template(chat_tokenizer("chatml")), 3, 32)
    assert [len(step) for step in steps] == [32, 32, 32]
    assert len({row.example for step in steps for row in step}) == 96
    counts = describe(steps)
    assert counts["scored_tokens"] <= counts["trained_tokens"] < counts["distinct_tokens"]
    assert counts["token_ratio"] == pytest.approx(counts["row_tokens"] / counts["distinct_tokens"])


def test_a_task_of_the_users_replaces_the_published_ones() -> None:
    assert {case.task for case in cases("mine.json")} == {"mine.json"}
    assert len({case.name for case in cases("mine.json")}) == 3


def test_matrix_work_is_that_of_the_linear_layers(tmp_path: Path, tiny_llama: LlamaForCausalLM) -> None:
    tiny_llama.config.save_pretrained(tmp_path)
    linear = [part.weight.numel() for part in tiny_llama.model.modules() if isinstance(part, torch.nn.Linear)]
    head = tiny_llama.lm_head.weight.numel()
    assert step_gflop(str(tmp_path), 100, 7, "full") == 6 * (sum(linear) * 100 + head * 7) / 1e9
    assert step_gflop(str(tmp_path), 100, 7, "lora") == pytest.approx(
        step_gflop(str(tmp_path), 100, 7, "full") * 2 / 3
    )
