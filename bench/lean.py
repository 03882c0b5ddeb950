"""A lean loop without sharing as a side: what is left of the gain once the peer's own overhead is taken away.

Right-padded batches, the head at the answers' tokens only, autocast over fp32 weights where bf16 is faster,
fused AdamW.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from bench.side import Clock, Job, commands

if TYPE_CHECKING:
    from collections.abc import Sequence
    from multiprocessing.connection import Connection

    import torch

    from espalier.core.records import Encoded


def run(job: Job, connection: Connection) -> None:
    """Train with the lean loop, one optimizer step per command."""
    import torch
    from transformers import AutoModelForCausalLM

    from espalier.models.adapters import methods
    from espalier.models.precision import autocast

    size = int(job.settings["batch"])
    model = AutoModelForCausalLM.from_pretrained(job.model, dtype=torch.float32)
    model = methods.build(job.method, {})(model).train()
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.AdamW(weights, lr=job.rate, weight_decay=0.0, fused=True)
    for rows, _ in zip(job.steps, commands(connection), strict=False):
        clock = Clock()
        trained = sum(sum(row.weights) for row in rows)
        total = 0.0
        for start in range(0, len(rows), size):
            with autocast(model, job.settings["precision"]):
                loss = summed_loss(model, rows[start : start + size]) / trained
            loss.backward()
            total += loss.item()
        torch.nn.utils.clip_grad_norm_(weights, 1.0)
        optimizer.step()
        optimizer.zero_grad()
        connection.send(clock.stop(total))


def summed_loss(model: Any, rows: Sequence[Encoded]) -> torch.Tensor:
    """Return the summed negative log-likelihood of the rows' trained tokens, with the head at those only."""
    import torch

    width = max(len(row.ids) for row in rows)
    ids = torch.zeros(len(rows), width, dtype=torch.long)
    targets = torch.full((len(rows), width), -100)
    mask = torch.zeros(len(rows), width, dtype=torch.long)
    for index, row in enumerate(rows):
        length = len(row.ids)
        ids[index, :length] = torch.tensor(row.ids)
        mask[index, :length] = 1
        targets[index, :length] = torch.where(torch.tensor(row.weights) > 0, ids[index, :length], -100)
    decoder = model.get_base_model() if "base_model" in dict(model.named_children()) else model
    hidden = decoder.model(ids[:, :-1], attention_mask=mask[:, :-1], use_cache=False).last_hidden_state
    wanted = targets[:, 1:] != -100
    logits = decoder.lm_head(hidden[wanted])
    return torch.nn.functional.cross_entropy(logits.float(), targets[:, 1:][wanted], reduction="sum")
