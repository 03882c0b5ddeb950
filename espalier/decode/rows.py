"""Answers through transformers' own `generate`, for models whose layers cannot share a prefix."""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import torch
from transformers import GenerationConfig, LogitsProcessorList

from espalier.core.errors import ModelError
from espalier.decode.requests import Request
from espalier.decode.strategies import greedy
from espalier.models.support import FAILURES

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from espalier.decode.strategies import Strategy

BATCH = 16
# What has been found of a model, for as long as there is that model.
_BATCHES: WeakKeyDictionary[torch.nn.Module, int] = WeakKeyDictionary()


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
    """Yield (row, ids with the stop token, logprob of each) for all requests.

    Prompts of one length make a batch: states and windows of many layers see padding as if it were text.
    """
    order = sorted(range(len(requests)), key=lambda row: len(requests[row].prompt))
    by_length = [list(rows) for _, rows in groupby(order, key=lambda row: len(requests[row].prompt))]
    size = _batch(model) if any(len(rows) > 1 for rows in by_length) else 1
    batches = [same[start : start + size] for same in by_length for start in range(0, len(same), size)]
    for rows in batches:
        ids, logprobs = _generate(model, [requests[row] for row in rows], strategy, sorted(stop_ids))
        for place, row in enumerate(rows):
            ends = [step for step, token in enumerate(ids[place]) if token in stop_ids]
            size = ends[0] + 1 if ends else len(ids[place])
            yield row, ids[place][:size], logprobs[place][:size]


def _batch(model: PreTrainedModel) -> int:
    """Return how many rows to generate for at once: 1 where the rows of a batch change one another."""
    if model not in _BATCHES:
        size = model.config.get_text_config().vocab_size
        prompts = torch.randint(size, (2, 8), generator=torch.Generator().manual_seed(0)).tolist()
        rows = [Request(str(row), tuple(prompt), 0, ()) for row, prompt in enumerate(prompts)]
        likeliest = greedy(limit=3)
        together = _generate(model, rows, likeliest, [])[0]
        alone = [ids for row in rows for ids in _generate(model, [row], likeliest, [])[0]]
        _BATCHES[model] = BATCH if together == alone else 1
    return _BATCHES[model]


def _generate(
    model: PreTrainedModel, requests: Sequence[Request], strategy: Strategy, stop_ids: list[int]
) -> tuple[list[list[int]], list[list[float]]]:
    try:
        return _written(model, requests, strategy, stop_ids, cached=True)
    except torch.OutOfMemoryError:
        raise
    except FAILURES:
        pass  # of some types only the cache is not what `generate` takes it for
    try:
        return _written(model, requests, strategy, stop_ids, cached=False)
    except FAILURES as error:
        raise ModelError(
            f"transformers' generate cannot write with {type(model).__name__}: {str(error).splitlines()[0]}",
            where=str(model.name_or_path),
            hint="Take a model of another type; docs/models.md lists those that write.",
        ) from None


@torch.inference_mode()
def _written(
    model: PreTrainedModel,
    requests: Sequence[Request],
    strategy: Strategy,
    stop_ids: list[int],
    *,
    cached: bool,
) -> tuple[list[list[int]], list[list[float]]]:
    """Return the ids that `generate` writes and their logprobs; without a cache all is computed each time."""
    ids = torch.tensor([request.prompt for request in requests])
    taker = _Taker(strategy, [request.key for request in requests])
    # A model's own generation settings (penalties, forced tokens) are no part of the strategy.
    own: Any = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        output: Any = cast("Any", model).generate(
            ids.to(model.device),
            attention_mask=torch.ones_like(ids, device=model.device),
            generation_config=GenerationConfig(
                max_new_tokens=strategy.limit,
                do_sample=False,
                use_cache=cached,
                eos_token_id=stop_ids or None,
                pad_token_id=stop_ids[0] if stop_ids else 0,
            ),
            logits_processor=LogitsProcessorList([taker]),
        )
    finally:
        model.generation_config = own
    return output[:, ids.shape[1] :].tolist(), torch.stack(taker.logprobs, dim=1).tolist()
