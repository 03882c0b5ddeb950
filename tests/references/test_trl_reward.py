"""The slow twin of the objective `reward`: loss and gradient of TRL's RewardTrainer on the same pairs."""

from __future__ import annotations

import importlib.util
from collections import defaultdict
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch

from espalier.core.records import Encoded
from espalier.encode.tokens import Unit
from espalier.encode.tree import build_tree
from espalier.models.reward import leaf_scores, reward_model
from espalier.train.preference import reward

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM

pytestmark = [
    pytest.mark.skipif(
        importlib.util.find_spec("trl") is None, reason="trl is not installed (the extra bench)"
    ),
    pytest.mark.filterwarnings("ignore"),  # what TRL and its libraries warn of
]
PAD, STOP = 1, 2
TOKENIZER: Any = SimpleNamespace(
    pad_token_id=PAD, unk_token_id=None, bos_token_id=None, all_special_ids=[PAD]
)


def _pairs() -> list[Unit]:
    rng = np.random.default_rng(0)
    head = tuple(rng.integers(3, 64, 12).tolist())
    units: list[Unit] = []
    for number in range(5):
        prompt = (*head, *rng.integers(3, 64, int(rng.integers(1, 6))).tolist())
        rows: list[Encoded] = []
        for role in ("answer", "rejected"):
            answer = (*rng.integers(3, 64, int(rng.integers(1, 8))).tolist(), STOP)
            weights = (0.0,) * len(prompt) + (1.0,) * len(answer)
            rows.append(Encoded((*prompt, *answer), weights, len(prompt), str(number), role))
        units.append(Unit(str(number), prompt, tuple(rows)))
    return units


@pytest.mark.parametrize("center", [0.0, 0.01])
def test_loss_and_gradient_are_those_of_trl(tiny_llama: LlamaForCausalLM, center: float) -> None:
    from trl import RewardTrainer

    units = _pairs()
    model = reward_model(tiny_llama, TOKENIZER, {STOP}).requires_grad_(True)
    begun = reward(center=center).begin(units, SimpleNamespace(steps=1))  # type: ignore[arg-type]
    part = begun(0, units)
    tree = build_tree(part.rows)
    found = part.loss(leaf_scores(model, tree), tree)
    (found.total / part.divisor).backward()
    gradients = {name: weight.grad.clone() for name, weight in model.named_parameters()}
    model.zero_grad()

    rows = [unit.rows[place].ids for place in (0, 1) for unit in units]
    longest = max(map(len, rows))
    ids = torch.tensor([[*row, *[PAD] * (longest - len(row))] for row in rows])
    trainer = SimpleNamespace(
        model=model,
        args=SimpleNamespace(center_rewards_coefficient=center or None),
        accelerator=SimpleNamespace(gather=lambda x: x, gather_for_metrics=lambda x: x),
        _metrics=defaultdict(lambda: defaultdict(list)),
        _total_train_tokens=0,
        _tp_size=1,
    )
    inputs = {"input_ids": ids, "attention_mask": (ids != PAD).long()}
    expected = RewardTrainer.compute_loss(trainer, model, inputs)
    expected.backward()
    assert float(found.total) / part.divisor == pytest.approx(float(expected), rel=1e-6)
    accuracy = trainer._metrics["eval"]["accuracy"][0]
    assert found.parts["accuracy"] / found.weight == pytest.approx(accuracy)
    for name, weight in model.named_parameters():
        torch.testing.assert_close(gradients[name], weight.grad, rtol=1e-4, atol=1e-6)
