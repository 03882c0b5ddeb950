"""Answers through transformers' own `generate`, for models whose layers cannot share a prefix.

The strategy takes every token there too. What `generate` cannot do is let a row continue another one than
itself: strategies with parents are stepped (`stepping.py`).
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any, cast
from weakref import WeakKeyDictionary

import torch
from transformers import GenerationConfig, LogitsProcessorList, StoppingCriteriaList

from espalier.core.errors import ModelError
from espalier.decode.batch import silenced
from espalier.decode.requests import Request
from espalier.decode.strategies.sampling import greedy
from espalier.models.media import never_written
from espalier.models.support import FAILURES

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from espalier.decode.strategy import Row, Strategy

BATCH = 16
# What has been found of a model, for as long as there is that model.
_BATCHES: WeakKeyDictionary[torch.nn.Module, int] = WeakKeyDictionary()


class _Taker:
    """Takes the strategy's tokens, by leaving each as all that `generate` can choose."""

    def __init__(self, strategy: Strategy, rows: Sequence[Row], never: Sequence[int]) -> None:
        self._strategy = strategy
        self._rows = rows
        self._never = never

    def __call__(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        scores = silenced(scores, self._never)
        step = self._strategy.step(self._rows, scores)
        if step.parents is not None:
            raise ModelError(
                "A strategy that lets one row continue another says it by having `rows` above 1.",
                where="decode.kind",
            )
        ids = step.ids[:, None]
        logprobs = torch.log_softmax(scores.float(), dim=-1).gather(1, ids)[:, 0].tolist()
        for place, (row, token) in enumerate(zip(self._rows, step.ids.tolist(), strict=True)):
            if row.finish is None:
                row.state = row.state if step.states is None else step.states[place]
                row.take(token, logprobs[place])
        return torch.full_like(scores, -torch.inf).scatter_(1, ids, 0.0)

    def ended(self, input_ids: Tensor, scores: Tensor) -> Tensor:
        return torch.tensor([row.finish is not None for row in self._rows], device=input_ids.device)


def rows_with_generate(model: PreTrainedModel, rows: Sequence[Row], strategy: Strategy) -> Iterator[Row]:
    """Yield each row when it has ended.

    Prompts of one length make a batch: states and windows of many layers see padding as if it were text.

    Raises:
        ModelError: a strategy that says that it has one row and lets it continue another, or what
            transformers cannot write with.
    """
    if strategy.look is not None:
        raise ModelError(
            "The model shares no prefix, so that a strategy cannot look at what several tokens lead to.",
            where="decode.kind",
            hint="Decode it greedily or by sampling, or take a model that shares (docs/models.md).",
        )
    ordered = sorted(rows, key=lambda row: len(row.request.prompt))
    by_length = [list(same) for _, same in groupby(ordered, key=lambda row: len(row.request.prompt))]
    size = _batch(model) if any(len(same) > 1 for same in by_length) else 1
    for same in by_length:
        for start in range(0, len(same), size):
            yield from _generate(model, same[start : start + size], strategy)


def _batch(model: PreTrainedModel) -> int:
    """Return how many rows to generate for at once: 1 where the rows of a batch change one another."""
    if model not in _BATCHES:
        size = model.config.get_text_config().vocab_size
        prompts = torch.randint(size, (2, 8), generator=torch.Generator().manual_seed(0)).tolist()
        likeliest = greedy(limit=3)
        rows = [
            likeliest.begin(number, Request(str(number), tuple(prompt), 0, ()), ())
            for number, prompt in enumerate(prompts)
        ]
        together = _generate(model, rows, likeliest)
        alone = [_generate(model, [row], likeliest)[0] for row in rows]
        same = all(one.ids == other.ids for one, other in zip(together, alone, strict=True))
        _BATCHES[model] = BATCH if same else 1
    return _BATCHES[model]


def _generate(model: PreTrainedModel, rows: Sequence[Row], strategy: Strategy) -> list[Row]:
    """Return the rows as they end."""
    try:
        return _written(model, rows, strategy, cached=True)
    except torch.OutOfMemoryError:
        raise
    except FAILURES:
        pass  # of some types only the cache is not what `generate` takes it for
    try:
        return _written(model, rows, strategy, cached=False)
    except FAILURES as error:
        raise ModelError(
            f"transformers' generate cannot write with {type(model).__name__}: {str(error).splitlines()[0]}",
            where=str(model.name_or_path),
            hint="Take a model of another type; docs/models.md lists those that write.",
        ) from None


@torch.inference_mode()
def _written(model: PreTrainedModel, rows: Sequence[Row], strategy: Strategy, *, cached: bool) -> list[Row]:
    """Return the rows as `generate` ends them; without a cache all is computed each time."""
    fresh = [row.copy() for row in rows]
    ids = torch.tensor([row.request.prompt for row in fresh])
    taker = _Taker(strategy, fresh, never_written(model))
    # A model's own generation settings (penalties, forced tokens) are no part of the strategy.
    own: Any = model.generation_config
    model.generation_config = GenerationConfig()
    try:
        cast("Any", model).generate(
            ids.to(model.device),
            attention_mask=torch.ones_like(ids, device=model.device),
            generation_config=GenerationConfig(
                max_new_tokens=max(row.limit for row in fresh),
                do_sample=False,
                use_cache=cached,
                pad_token_id=0,
            ),
            logits_processor=LogitsProcessorList([taker]),
            stopping_criteria=StoppingCriteriaList([taker.ended]),
        )
    finally:
        model.generation_config = own
    return fresh
