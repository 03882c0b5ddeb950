"""Rows that are decoded together: requests join, every step takes a token of each row, and rows leave.

The prompts that join together form a prefix tree, whose forward pass fills a `RowCache` and gives the logits
of their first tokens; its rows come behind those that are there already. Then each step lets the strategy
take a token of all rows, and runs the model on those. What a request is answered with depends neither on the
rows beside it nor on when it joined.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from espalier.core.errors import GenerationError
from espalier.core.records import Encoded
from espalier.decode.cache import ATTENTION, RowCache, plan_layout, staying
from espalier.encode.tree import build_tree
from espalier.models.call import call_model, call_on_tree

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from espalier.core.records import Finish
    from espalier.decode.requests import Request
    from espalier.decode.strategy import Row, Step, Strategy, ToText
    from espalier.encode.tree import Ints, Tree

# Ended rows stay in the batch until they are this share of it: leaving copies the cache.
ENDED = 1 / 8


@dataclass(frozen=True, slots=True)
class Token:
    """A token of a request's answer; `finish` is None where more follow. `logprob` in nats.

    `sample` is which of the answers that one search gives (`Strategy.rank`).
    """

    row: int
    id: int
    logprob: float
    finish: Finish | None
    sample: int = 0


class Batch:
    """Requests that are being answered together; all are when there are no `rows` left.

    Args:
        model: one that shares (`engine.can_share`), in evaluation mode.
        strategy: from `strategies`.
        stop_ids: end the answers of requests that have none of their own.
        text: from ids to text, where requests may have stop strings.
    """

    def __init__(
        self,
        model: PreTrainedModel,
        strategy: Strategy,
        stop_ids: Collection[int],
        text: ToText | None = None,
    ) -> None:
        self.rows: list[Row] = []
        self._model = model
        self._strategy = strategy
        self._stop_ids = stop_ids
        self._text = text
        self._joined = 0
        self._cache: RowCache | None = None
        # The logits of each row's next token, where its last one has been run.
        self._logits: Tensor | None = None

    @torch.inference_mode()
    def join(self, requests: Sequence[Request]) -> range:
        """Compute the prompts of more requests, and return their numbers, which tokens name as `row`.

        Raises:
            GenerationError: see `Strategy.begin`.
        """
        numbers = range(self._joined, self._joined + len(requests))
        fresh = [
            self._strategy.begin(number, request, self._stop_ids, self._text)
            for number, request in zip(numbers, requests, strict=True)
        ]
        if not fresh:
            return numbers
        tree = prompts_tree(requests)
        layout = plan_layout(tree, copies=self._strategy.rows)
        cache = RowCache(layout, max(row.limit for row in fresh))
        logits = prefill(self._model, tree, cache, layout.order)
        if self._cache is None:
            self._cache = cache
        else:
            logits = torch.cat([self._ahead(self._cache), logits])
            self._cache.join(cache)
        self._logits = logits
        self.rows += [fresh[row] for row in layout.order]
        self._joined = numbers.stop
        return numbers

    @torch.inference_mode()
    def leave(self, numbers: Collection[int]) -> None:
        """Drop these requests, for whose answers nobody waits any more."""
        kept = np.array([n for n, row in enumerate(self.rows) if row.number not in numbers], np.int64)
        if self._logits is not None:
            self._logits = self._logits[torch.from_numpy(kept).to(self._logits.device)]
        self._go_on([self.rows[place] for place in kept], kept)

    @torch.inference_mode()
    def step(self) -> list[Token]:
        """Take a token of every row, and return those that are settled.

        They are the tokens taken, or, where a request may have several rows, the answers that are complete.

        Raises:
            GenerationError: the strategy gives a request too many rows, or ends it without an answer.
        """
        if self._cache is None:
            return []
        before = [row for row in self.rows if row.finish is None]
        logits = self._ahead(self._cache)
        step = self._strategy.step(self.rows, logits)
        rows, parents = continued(self.rows, step, logits)
        self._logits = None
        alive = np.array([row.finish is None for row in rows], bool)
        settled = self._settled(before, [row for row in rows if row.finish is None])
        # A cache that is copied anyway is rid of all the rows that have ended.
        copied = step.parents is not None or (~alive).sum() >= ENDED * len(rows)
        kept = np.flatnonzero(alive) if copied or not alive.any() else np.arange(len(rows))
        self._go_on([rows[place] for place in kept], parents[kept])
        return settled

    def _ahead(self, cache: RowCache) -> Tensor:
        """Return the logits of every row's next token [R, V]."""
        if self._logits is None:
            positions = [len(row.request.prompt) + len(row.ids) - 1 for row in self.rows]
            taken = np.array([row.ids[-1] for row in self.rows], np.int64)
            self._logits = next_logits(self._model, cache, taken, np.array(positions, np.int64))
        return self._logits

    def _go_on(self, rows: list[Row], parents: Ints) -> None:
        """Let these be the rows, each behind what the cache holds of its parent."""
        before, self.rows = self.rows, rows
        if not rows or self._cache is None:
            self._cache, self._logits = None, None
        elif not np.array_equal(parents, np.arange(self._cache.rows)):
            if [row.number for row in rows] == [row.number for row in before]:
                order = staying(parents)
                self.rows, parents = [rows[place] for place in order], parents[order]
            self._cache.take(parents)

    def _settled(self, before: Sequence[Row], alive: Sequence[Row]) -> list[Token]:
        """Return the tokens that the requests are to be told of, after a step from `before` to `alive`."""
        counts = Counter(row.number for row in alive)
        most = self._strategy.rows
        if counts and max(counts.values()) > most:
            raise GenerationError(
                f"The strategy lets a request have {max(counts.values())} rows, and says {most} at most.",
                where="decode.kind",
            )
        done = {row.number: row.ended for row in before if row.number not in counts}
        if not all(done.values()):
            raise GenerationError("The strategy ends a request without an answer.", where="decode.kind")
        if most == 1:
            last = [*(rows[0] for rows in done.values()), *alive]
            return [Token(row.number, row.ids[-1], row.logprobs[-1], row.finish) for row in last]
        return [token for rows in done.values() for token in tokens_of(self._strategy, rows)]


def tokens_of(strategy: Strategy, ended: Sequence[Row]) -> list[Token]:
    """Return all tokens of the answers to a request, of whose rows all have ended."""
    return [
        Token(row.number, token, logprob, row.finish if place == len(row.ids) else None, sample)
        for sample, row in enumerate(strategy.answers(ended))
        for place, (token, logprob) in enumerate(zip(row.ids, row.logprobs, strict=True), 1)
    ]


def continued(rows: Sequence[Row], step: Step, logits: Tensor) -> tuple[list[Row], Ints]:
    """Return the rows that a step leads to, and the place of each one's parent, ascending."""
    logprobs = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
    ids = step.ids.cpu().numpy()
    order = np.arange(len(rows))
    if step.parents is None:
        parents = order
        taken = logprobs.gather(1, step.ids[:, None])[:, 0].cpu().numpy()
        after = list(rows)
    else:
        parents = step.parents.cpu().numpy()
        taken = logprobs[step.parents, step.ids].cpu().numpy()
        going = [n for n in np.argsort(parents, kind="stable") if rows[int(parents[n])].finish is None]
        order = np.array(going, np.int64)
        after = [rows[place].copy() for place in parents[order].tolist()]
    for place, row in zip(order.tolist(), after, strict=True):
        if step.states is not None:
            row.state = step.states[place]
        if row.finish is None:
            row.take(int(ids[place]), float(taken[place]))
    return after, parents[order]


def prompts_tree(requests: Sequence[Request]) -> Tree:
    """Return the tree of the prompts, with a leaf for each request."""
    # A tree lays out the tokens before a row's last target: with any target after it, that is the prompt.
    sizes = [len(request.prompt) for request in requests]
    return build_tree(
        [
            Encoded((*request.prompt, 0), (0.0,) * size + (1.0,), size, request.key)
            for request, size in zip(requests, sizes, strict=True)
        ]
    )


@torch.inference_mode()
def prefill(model: PreTrainedModel, tree: Tree, cache: RowCache, rows: Ints) -> Tensor:
    """Fill the cache from the tree of prompts, and return the logits of each row's first token [R, V]."""
    given = {"row_cache": cache}
    return call_on_tree(model, tree, keep=tree.leaves[rows], attention=ATTENTION, given=given).squeeze(0)


@torch.inference_mode()
def next_logits(model: PreTrainedModel, cache: RowCache, ids: Ints, positions: Ints) -> Tensor:
    """Run one token of each row [R], and return the logits of the next [R, V]."""
    cache.advance()
    given = {"row_cache": cache}
    logits = call_model(model, ids[:, None], positions=positions[:, None], attention=ATTENTION, given=given)
    return logits[:, -1]
