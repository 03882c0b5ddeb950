"""Answers through transformers' own `generate`, for models whose layers cannot share a prefix."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import GenerationConfig, LogitsProcessorList

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from espalier.decode.requests import Request
    from espalier.decode.strategies import Strategy

BATCH = 16


class _Taker:
    """Takes the strategy's token by leaving it as all that `generate` can choose, and notes its logprob."""

    def __init__(self, strategy: Strategy, keys: Sequence[str]) -> None:
        self._strategy = strategy
        self._keys = keys
        self.logprobs: list[Tensor] = []

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        ids = self._strategy.pick(scores, self._keys, len(self.logprobs))[:, None]
        self.logprobs.append(torch.log_softmax(scores.float(), dim=-1).gather(1, ids)[:, 0])
        return torch.full_like(scores, -torch.inf).scatter_(1, ids, 0.0)


def rows_with_generate(
    model: PreTrainedModel, requests: Sequence[Request], strategy: Strategy, stop_ids: Collection[int]
) -> Iterator[tuple[int, list[int], list[float]]]:
    """Yield (row, ids with the stop token, logprob of each) for all requests, from left-padded batches."""
    order = sorted(range(len(requests)), key=lambda row: len(requests[row].prompt))
    for start in range(0, len(order), BATCH):
        rows = order[start : start + BATCH]
        ids, logprobs = _generate(model, [requests[row] for row in rows], strategy, sorted(stop_ids))
        for place, row in enumerate(rows):
            ends = [step for step, token in enumerate(ids[place]) if token in stop_ids]
            size = ends[0] + 1 if ends else len(ids[place])
            yield row, ids[place][:size], logprobs[place][:size]


@torch.inference_mode()
def _generate(
    model: PreTrainedModel, requests: Sequence[Request], strategy: Strategy, stop_ids: list[int]
) -> tuple[list[list[int]], list[list[float]]]:
    width = max(len(request.prompt) for request in requests)
    pad = stop_ids[0] if stop_ids else 0
    ids = torch.full((len(requests), width), pad)
    mask = torch.zeros((len(requests), width), dtype=torch.long)
    for row, request in enumerate(requests):
        ids[row, width - len(request.prompt) :] = torch.tensor(request.prompt)
        mask[row, width - len(request.prompt) :] = 1
    taker = _Taker(strategy, [request.key for request in requests])
    # A model's own generation settings (penalties, forced tokens) are no part of the strategy.
    own: Any = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        output: Any = cast("Any", model).generate(
            ids.to(model.device),
            attention_mask=mask.to(model.device),
            generation_config=GenerationConfig(
                max_new_tokens=strategy.limit,
                do_sample=False,
                eos_token_id=stop_ids or None,
                pad_token_id=pad,
            ),
            logits_processor=LogitsProcessorList([taker]),
        )
    finally:
        model.generation_config = own
    return output[:, width:].tolist(), torch.stack(taker.logprobs, dim=1).tolist()
