"""Strategies that let one row continue another, on models whose layers cannot share a prefix.

The rows of a few requests are a batch in the model's own cache, which is put in order after each step as in
transformers' beam search. Where a model has no such cache, or a trial finds that it is not right, a row is
computed anew for each token. Rows of a batch begin with one length: states and windows of many layers see
padding as if it were text.
"""

from __future__ import annotations

from itertools import groupby
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

import numpy as np
import torch

from espalier.decode.batch import continued, silenced
from espalier.decode.requests import Request
from espalier.decode.strategies.sampling import greedy
from espalier.models.call import call_model
from espalier.models.media import by_whole_rows, never_written
from espalier.models.support import FAILURES, GAP, GAPS

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from espalier.decode.strategy import Row, Strategy
    from espalier.encode.tree import Ints

BATCH = 8  # requests, each of which may have several rows
# Whether a model's own cache is right, for as long as there is that model.
_CACHED: WeakKeyDictionary[torch.nn.Module, bool] = WeakKeyDictionary()


def rows_by_steps(
    model: PreTrainedModel, rows: Sequence[Row], strategy: Strategy, *, cached: bool = True
) -> Iterator[list[Row]]:
    """Yield the rows of each request that have ended, when none of them goes on.

    Args:
        model: in evaluation mode.
        rows: one for each request, as `Strategy.begin` makes it.
        strategy: any.
        cached: whether the model's cache may be used; without it, this is the slow twin of all decoding.
    """
    with torch.inference_mode():
        cached = cached and not by_whole_rows(model) and _is_cached(model)
    ordered = sorted(rows, key=lambda row: len(row.request.prompt))
    for _, same in groupby(ordered, key=lambda row: len(row.request.prompt)):
        some = list(same)
        for start in range(0, len(some), BATCH):
            yield from _search(_Runner(model, cached=cached), some[start : start + BATCH], strategy)


def _is_cached(model: PreTrainedModel) -> bool:
    """Compare what the cache says of rows in another order with what whole rows say, each run alone."""
    if model not in _CACHED:
        size = model.config.get_text_config().vocab_size
        tokens = np.random.default_rng(0).integers(size, size=(2, 12)).tolist()
        likeliest = greedy(limit=3)
        rows = [likeliest.begin(n, Request("", tuple(ids), 0, ()), ()) for n, ids in enumerate(tokens)]
        try:
            runner = _Runner(model, cached=True)
            logits = runner.ahead(rows, np.arange(2))
            parents = [1, 0, 1]
            rows = [rows[parent].copy() for parent in parents]
            for row, parent in zip(rows, parents, strict=True):
                row.take(int(logits[parent].argmax()), 0.0)
            found = runner.ahead(rows, np.array(parents))
            wanted = _Runner(model, cached=False).ahead(rows, np.array(parents))
            gap = (found - wanted).norm() / wanted.norm()
            _CACHED[model] = bool(gap <= GAPS.get(model.dtype, GAP))
        except FAILURES:
            _CACHED[model] = False
    return _CACHED[model]


def _search(runner: _Runner, rows: list[Row], strategy: Strategy) -> Iterator[list[Row]]:
    parents = np.arange(len(rows))
    while rows:
        with torch.inference_mode():
            logits = runner.ahead(rows, parents)
        before = {row.number: row.ended for row in rows}
        after, parents = continued(rows, strategy.step(rows, logits), logits)
        alive = np.array([row.finish is None for row in after], bool)
        rows, parents = [row for row in after if row.finish is None], parents[alive]
        going = {row.number for row in rows}
        yield from (ended for number, ended in before.items() if number not in going)


class _Runner:
    """Runs the last token of each row behind what it holds of the row's parent, or all of each row."""

    def __init__(self, model: PreTrainedModel, *, cached: bool) -> None:
        self._model = model
        self._cached = cached
        self._never = never_written(model)
        self._held: list[Any] = []  # the cache, once there is one

    def ahead(self, rows: Sequence[Row], parents: Ints) -> Tensor:
        """Return the logits of each row's next token [R, V]; `parents` are places among the rows before."""
        if not self._cached:
            return silenced(torch.cat([self._whole(row) for row in rows]), self._never)
        device = self._model.device
        ids, given = [list(row.request.prompt) for row in rows], {}
        for held in self._held:
            held.reorder_cache(torch.from_numpy(parents).to(device))
            ids, given = [[row.ids[-1]] for row in rows], {"past_key_values": held}
        inputs = torch.tensor(ids, device=device)
        output: Any = self._model(input_ids=inputs, use_cache=True, logits_to_keep=1, **given)
        self._held = [output.past_key_values]
        return silenced(output.logits[:, -1], self._never)

    def _whole(self, row: Row) -> Tensor:
        ids = np.array([[*row.request.prompt, *row.ids]], np.int64)
        return call_model(self._model, ids, keep=np.array([ids.shape[1] - 1]))[:, -1]
