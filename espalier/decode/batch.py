"""Rows that are decoded together: requests join, every step takes a token of each row, and rows leave.

The prompts that join together form a prefix tree, whose forward pass fills a `RowCache` and gives the logits
of their first tokens; its rows come behind those that are there already. Then each step lets the strategy
take a token of all rows, and runs the model on those. What a request is answered with depends neither on the
rows beside it nor on when it joined.
"""

from __future__ import annotations

from collections import Counter
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass, replace
from itertools import repeat
from typing import TYPE_CHECKING

import numpy as np
import torch

from espalier.core.errors import GenerationError
from espalier.core.records import Encoded
from espalier.decode.cache import ATTENTION, RowCache, plan_layout, staying
from espalier.encode.tree import build_tree, row_path
from espalier.models.call import call_model, call_on_tree
from espalier.models.media import further, never_written

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from espalier.core.records import Finish
    from espalier.decode.requests import Request
    from espalier.decode.strategy import Look, Row, Step, Strategy, ToText
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
        self._never = never_written(model)
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
        look = self._strategy.look
        cache = RowCache(layout, max(row.limit for row in fresh) + (look.count if look else 0))
        with hidden_states(self._model) if look else nullcontext([]) as hidden:
            logits = silenced(prefill(self._model, tree, cache, layout.order), self._never)
        for row in fresh:
            row.further = further(self._model, row.request.prompt)
        for place, row in enumerate(fresh if look else ()):
            row.state = hidden[0][0, row_path(tree, place)]
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
        had = {row.number: len(row.ids) for row in self.rows if row.finish is None}
        if self._strategy.look is not None:
            return self._moved(had, *self._looked(self._cache, self._strategy.look))
        guesses = self._guesses()
        ahead = self._ahead(self._cache, guesses)
        first = torch.tensor([0, *(1 + len(guess) for guess in guesses[:-1])]).cumsum(0)
        logits = ahead[first] if guesses else ahead
        step = self._strategy.step(self.rows, logits)
        rows, parents = continued(self.rows, step, logits)
        if guesses and step.parents is not None:
            raise GenerationError(
                "The strategy guesses what follows and lets rows continue others: it can do one of these.",
                where="decode.kind",
            )
        if guesses:
            self._cache.keep(self._agreed(rows, guesses, ahead, first))
        self._logits = None
        return self._moved(had, rows, parents, copied=step.parents is not None)

    def _moved(
        self, had: Mapping[int, int], rows: list[Row], parents: Ints, *, copied: bool = False
    ) -> list[Token]:
        """Go on with the rows that a step leads to, and return the tokens that are settled."""
        alive = np.array([row.finish is None for row in rows], bool)
        settled = self._settled(had, [row for row in rows if row.finish is None])
        # A cache that is copied anyway is rid of all the rows that have ended.
        copied = copied or (~alive).sum() >= ENDED * len(rows)
        kept = np.flatnonzero(alive) if copied or not alive.any() else np.arange(len(rows))
        self._go_on([rows[place] for place in kept], parents[kept])
        return settled

    def _looked(self, cache: RowCache, look: Look) -> tuple[list[Row], Ints]:
        """Run the likeliest tokens of each row, and take one of them; return what `continued` does."""
        logprobs = torch.log_softmax(self._ahead(cache), dim=-1, dtype=torch.float32)
        best, ids = logprobs.topk(min(look.count, logprobs.shape[1]))
        counts, flat = np.full(len(ids), ids.shape[1]), ids.flatten().cpu().numpy()
        ends = np.array([row.end for row in self.rows])
        with hidden_states(self._model) as found:
            ahead = next_logits(self._model, cache, flat, np.repeat(ends, counts), counts, apart=True)
            ahead = silenced(ahead, self._never)
        hidden = found[0].view(*ids.shape, -1)
        places = look.take(self.rows, best.exp(), hidden)
        for row, states, taken, logprob, place in zip(
            self.rows, hidden, ids.tolist(), best.tolist(), places.tolist(), strict=True
        ):
            if row.finish is None:
                row.state = torch.cat([row.state, states[place : place + 1]])
                row.take(taken[place], logprob[place])
        alive = np.array([row.finish is None for row in self.rows], np.int64)
        cache.keep(alive, places.cpu().numpy())
        self._logits = ahead.view(*ids.shape, -1)[torch.arange(len(places)), places]
        return [*self.rows], np.arange(len(self.rows))

    def _guesses(self) -> list[Sequence[int]]:
        """Return what the strategy guesses to follow each row's last token; nothing where it guesses none."""
        if self._strategy.draft is None or self._cache is None or self._logits is not None:
            return []
        drafts = zip(self.rows, self._strategy.draft(self.rows), strict=True)
        guesses = [() if row.finish else draft[: row.limit - len(row.ids) - 1] for row, draft in drafts]
        return guesses if any(guesses) or self._cache.ragged else []

    def _ahead(self, cache: RowCache, guesses: Sequence[Sequence[int]] = ()) -> Tensor:
        """Return the logits of every row's next token, and after them of those behind each guess [N, V]."""
        if self._logits is None:
            ids: list[int] = []
            positions: list[int] = []
            for row, guess in zip(self.rows, guesses or repeat(()), strict=False):
                run = (row.ids[-1], *guess)
                ids += run
                positions += range(row.end - 1, row.end - 1 + len(run))
            counts = np.array([1 + len(guess) for guess in guesses]) if guesses else None
            logits = next_logits(self._model, cache, np.array(ids), np.array(positions), counts)
            self._logits = silenced(logits, self._never)
        return self._logits

    def _agreed(
        self, rows: Sequence[Row], guesses: Sequence[Sequence[int]], ahead: Tensor, first: Tensor
    ) -> Ints:
        """Take more of each row while it is as guessed, and return how many of the tokens run stay [R]."""
        stay = np.array([row.finish is None for row in rows], np.int64)
        depth, going = 0, range(len(rows))
        while going := [
            place
            for place in going
            if depth < len(guesses[place])
            and rows[place].finish is None
            and rows[place].ids[-1] == guesses[place][depth]
        ]:
            depth += 1
            stay[going] += 1
            some, logits = [rows[place] for place in going], ahead[first[going] + depth]
            continued(some, self._strategy.step(some, logits), logits)
        return stay

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
            if self._logits is not None:
                self._logits = self._logits[torch.from_numpy(parents).to(self._logits.device)]

    def _settled(self, had: Mapping[int, int], alive: Sequence[Row]) -> list[Token]:
        """Return the tokens that the requests are to be told of, that had so many before a step."""
        counts = Counter(row.number for row in alive)
        most = self._strategy.rows
        if counts and max(counts.values()) > most:
            raise GenerationError(
                f"The strategy lets a request have {max(counts.values())} rows, and says {most} at most.",
                where="decode.kind",
            )
        done = {row.number: row.ended for row in self.rows if row.number in had and row.number not in counts}
        if not all(done.values()):
            raise GenerationError("The strategy ends a request without an answer.", where="decode.kind")
        if most == 1:
            last = [*(rows[0] for rows in done.values()), *alive]
            return [token for row in last for token in _since(row, had[row.number])]
        return [token for rows in done.values() for token in tokens_of(self._strategy, rows)]


def tokens_of(strategy: Strategy, ended: Sequence[Row]) -> list[Token]:
    """Return all tokens of the answers to a request, of whose rows all have ended."""
    return [
        replace(token, sample=sample)
        for sample, row in enumerate(strategy.answers(ended))
        for token in _since(row, 0)
    ]


def _since(row: Row, start: int) -> list[Token]:
    """Return the tokens of a row from one on."""
    last = len(row.ids) - 1
    return [
        Token(row.number, row.ids[place], row.logprobs[place], row.finish if place == last else None)
        for place in range(start, len(row.ids))
    ]


def continued(rows: Sequence[Row], step: Step, logits: Tensor) -> tuple[list[Row], Ints]:
    """Take a step, and return the rows that it leads to, and the place of each one's parent, ascending."""
    logprobs = torch.log_softmax(logits, dim=-1, dtype=torch.float32)
    ids = step.ids.tolist()
    order = np.arange(len(rows))
    if step.parents is None:
        parents = order
        taken = logprobs.gather(1, step.ids[:, None])[:, 0].tolist()
        after = list(rows)
    else:
        parents = step.parents.cpu().numpy()
        taken = logprobs[step.parents, step.ids].tolist()
        going = [n for n in np.argsort(parents, kind="stable") if rows[int(parents[n])].finish is None]
        order = np.array(going, np.int64)
        after = [rows[place].copy() for place in parents[order].tolist()]
    for place, row in zip(order.tolist(), after, strict=True):
        if step.states is not None:
            row.state = step.states[place]
        if row.finish is None:
            row.take(ids[place], taken[place])
    return after, parents[order]


def silenced(logits: Tensor, never: Sequence[int]) -> Tensor:
    """Return logits [N, V] without a chance for some tokens: what stands for media is not written."""
    if never:
        logits[:, never] = -torch.inf
    return logits


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


@contextmanager
def hidden_states(model: PreTrainedModel) -> Iterator[list[Tensor]]:
    """Collect what the last layer says, after its norm, in each call of the model [B, T, D]."""
    found: list[Tensor] = []
    hook = model.base_model.register_forward_hook(lambda _, given, out: found.append(out[0]))
    try:
        yield found
    finally:
        hook.remove()


@torch.inference_mode()
def prefill(model: PreTrainedModel, tree: Tree, cache: RowCache, rows: Ints) -> Tensor:
    """Fill the cache from the tree of prompts, and return the logits of each row's first token [R, V]."""
    given = {"row_cache": cache}
    return call_on_tree(model, tree, keep=tree.leaves[rows], attention=ATTENTION, given=given).squeeze(0)


@torch.inference_mode()
def next_logits(
    model: PreTrainedModel,
    cache: RowCache,
    ids: Ints,
    positions: Ints,
    counts: Ints | None = None,
    *,
    apart: bool = False,
) -> Tensor:
    """Run one token of each row, or `counts` of them [R]; return the logits of what follows each [N, V]."""
    cache.advance(counts, apart=apart)
    given = {"row_cache": cache}
    logits = call_model(model, ids[:, None], positions=positions[:, None], attention=ATTENTION, given=given)
    return logits[:, -1]
