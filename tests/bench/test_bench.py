"""What the bench compares has to be the same work: the same rows, the same loss, and honestly counted."""

from __future__ import annotations

from itertools import pairwise
from typing import TYPE_CHECKING, Any

import pytest
import torch

from bench import preference, trl
from bench.espalier import units_of
from bench.lean import summed_loss
from bench.preference import as_tokens, load_pairs
from bench.rate import step_gflop
from bench.rows import Case, cases, describe, load_steps
from bench.training import _settings
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


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_peer_is_tried_in_the_format_that_is_faster_here(precision: Any) -> None:
    case = cases("mine.json")[0]
    for which, ways in (("likely", trl.LIKELY), ("all", trl.WAYS)):
        tried = _settings(which, case, precision)
        assert list(tried) == [f"{precision}, {way}" for way in ways]
        assert {setting["bf16"] for setting in tried.values()} == {precision == "bf16"}
    named = _settings("fp32, packed to 1280", case, precision)
    assert named == {"fp32, packed to 1280": {"bf16": False, "batch": 1, "pack": 1280}}


def test_matrix_work_is_that_of_the_linear_layers(tmp_path: Path, tiny_llama: LlamaForCausalLM) -> None:
    tiny_llama.config.save_pretrained(tmp_path)
    linear = [part.weight.numel() for part in tiny_llama.model.modules() if isinstance(part, torch.nn.Linear)]
    head = tiny_llama.lm_head.weight.numel()
    assert step_gflop(str(tmp_path), 100, 7, "full") == 6 * (sum(linear) * 100 + head * 7) / 1e9
    assert step_gflop(str(tmp_path), 100, 7, "lora") == pytest.approx(
        step_gflop(str(tmp_path), 100, 7, "full") * 2 / 3
    )


def test_pairs_are_the_same_tokens_for_both_sides(
    chat_tokenizer: Callable[[str], PreTrainedTokenizerFast],
) -> None:
    units = load_pairs(preference.CASES[2], Template(chat_tokenizer("chatml")), 12)
    assert len({unit.example for unit in units}) == 12
    rows = [row for unit in units for row in unit.rows]
    assert units_of(rows) == units
    for unit in units:
        answer, rejected = unit.rows
        tokens = as_tokens(unit)
        assert (
            answer.ids[: len(unit.prompt)] == rejected.ids[: len(unit.prompt)] == tuple(tokens["prompt_ids"])
        )
        assert len(tokens["chosen_ids"]) == sum(answer.weights)
        whole = tokens["prompt_ids"] + tokens["rejected_ids"]
        assert list(rejected.ids[: len(whole)]) == whole


def test_real_pairs_have_the_wanted_shape_and_a_conversation_each(
    shared_data: Path, chat_tokenizer: Callable[[str], PreTrainedTokenizerFast]
) -> None:
    units = load_pairs(preference.CASES[0], Template(chat_tokenizer("chatml")), 8)
    assert [[row.role for row in unit.rows] for unit in units] == [["answer", "rejected"]] * 8
    starts = {unit.prompt[:120] for unit in units}
    assert len(starts) == 8


def test_rows_of_conversations_train_every_answer(
    shared_data: Path, chat_tokenizer: Callable[[str], PreTrainedTokenizerFast]
) -> None:
    template = Template(chat_tokenizer("chatml"))
    case = Case("t", str(shared_data / "openassistant" / "en_100_tree.jsonl"), rows=True)
    (step,) = load_steps(case, template, 1, 8)
    trained = [sum(1 for a, b in pairwise((0.0, *row.weights)) if b > a) for row in step]
    assert len(step) == 8
    assert max(trained) > 1
