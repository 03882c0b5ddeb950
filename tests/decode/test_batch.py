"""Requests join and leave a batch at any time, with settings of their own, and are answered as when alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.core.errors import GenerationError
from espalier.decode import batch
from espalier.decode.batch import Batch
from espalier.decode.cache import plan_layout
from espalier.decode.draws import Draw, Penalties
from espalier.decode.engine import decode_tokens
from espalier.decode.requests import Request
from espalier.decode.strategies.sampling import greedy
from espalier.decode.strategy import Row, Step, Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from transformers import LlamaForCausalLM

    from espalier.decode.batch import Token

SIZE = 24
TOKEN = st.integers(0, SIZE - 1)
CUT = Draw(1.2, 0.95, 3, top_k=9, min_p=0.01, penalties=Penalties(1.2, no_repeat=3))


@dataclass(frozen=True)
class Arrival:
    """A request that joins after some steps; `leaves` after so many of its own, or when it is answered."""

    request: Request
    joins: int
    leaves: int | None


def said(ids: Sequence[int]) -> str:
    return "".join(chr(97 + token) for token in ids)


@st.composite
def arrivals(draw: st.DrawFn) -> list[Arrival]:
    heads = draw(st.lists(st.lists(TOKEN, min_size=1, max_size=30), min_size=1, max_size=2))
    found: list[Arrival] = []
    for number in range(draw(st.integers(1, 9))):
        prompt = (*draw(st.sampled_from(heads)), *draw(st.lists(TOKEN, max_size=5)))
        request = Request(
            f"request-{number}",
            prompt,
            0,
            (),
            limit=draw(st.none() | st.integers(1, 9)),
            stop_ids=draw(st.none() | st.frozensets(TOKEN, max_size=3)),
            stops=draw(st.sampled_from([(), ("a",), ("bc", "d")])),
            draw=draw(st.sampled_from([None, Draw(0.0), Draw(0.8, 0.9, 1), Draw(1.0, 1.0, 2), CUT])),
        )
        found.append(Arrival(request, draw(st.integers(0, 8)), draw(st.none() | st.integers(1, 4))))
    return found


def together(model: LlamaForCausalLM, some: Sequence[Arrival]) -> dict[str, list[Token]]:
    """Return the tokens of each request by its key."""
    shared = Batch(model, greedy(limit=6), {0, 1}, said)
    found: dict[str, list[Token]] = {one.request.key: [] for one in some}
    keys: dict[int, Arrival] = {}
    for step in range(100):
        due = [one for one in some if one.joins == step]
        keys |= zip(shared.join([one.request for one in due]), due, strict=True)
        gone = [n for n, one in keys.items() if one.leaves is not None and step >= one.joins + one.leaves]
        shared.leave(gone)
        for token in shared.step():
            found[keys[token.row].request.key].append(token)
    assert not shared.rows
    return found


@settings(max_examples=40)
@given(arrivals(), st.sampled_from([1, 20, 1024]), st.sampled_from([0.01, 1 / 8, 1.0]))
def test_an_answer_is_the_same_whoever_joins_and_leaves(
    chatty: LlamaForCausalLM, some: list[Arrival], least: int, ended: float
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "plan_layout", partial(plan_layout, least=least))
        patch.setattr(batch, "ENDED", ended)
        found = together(chatty, some)
    for one in some:
        alone = list(decode_tokens(chatty, [one.request], greedy(limit=6), {0, 1}, text=said))
        told = found[one.request.key]
        wanted = alone[: one.leaves]
        assert [(token.id, token.finish) for token in told] == [(token.id, token.finish) for token in wanted]
        assert [token.logprob for token in told] == pytest.approx([t.logprob for t in wanted], abs=1e-4)
    # Without sharing nobody joins: one of the requests is enough.
    apart = list(decode_tokens(chatty, [one.request], greedy(limit=6), {0, 1}, shared=False, text=said))
    assert [(token.id, token.finish) for token in apart] == [(token.id, token.finish) for token in alone]


@pytest.fixture(scope="module")
def chatty(llama: Callable[..., LlamaForCausalLM]) -> Iterator[LlamaForCausalLM]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield llama(SIZE, initializer_range=0.4, eos_token_id=None)
    torch.set_num_threads(threads)


def test_what_a_strategy_keeps_goes_with_the_row(chatty: LlamaForCausalLM):
    """A constraint as one would write it: no token twice in an answer, whatever row it is continued from."""

    def step(rows: Sequence[Row], logits: torch.Tensor) -> Step:
        used = [row.state or frozenset[int]() for row in rows]
        allowed = logits.clone()
        for place, ids in enumerate(used):
            allowed[place, list(ids)] = -torch.inf
        # Every row twice, with its two likeliest tokens, until there are four.
        times = 2 if len(rows) < 4 else 1
        ids = allowed.topk(times).indices.flatten()
        parents = torch.arange(len(rows)).repeat_interleave(times).flip(0)
        ids = ids.flip(0)
        states = [
            used[parent] | {token} for parent, token in zip(parents.tolist(), ids.tolist(), strict=True)
        ]
        return Step(ids, parents, states)

    seen: list[Row] = []

    def choose(ended: Sequence[Row]) -> Row:
        seen.extend(ended)
        return max(ended, key=lambda row: sum(row.logprobs))

    several = Strategy({}, 8, 1, step, rows=4, choose=choose)
    tokens = list(decode_tokens(chatty, [Request("", (1, 2, 3), 0, ())], several, ()))
    assert len(seen) == 4 == len({tuple(row.ids) for row in seen})
    assert all(len(set(row.ids)) == 8 and row.state == set(row.ids) for row in seen)
    assert [token.id for token in tokens] == choose(seen).ids
    for row in seen:
        with torch.no_grad():
            logits = chatty(torch.tensor([[1, 2, 3, *row.ids]])).logits[0, 2:-1].log_softmax(-1)
        wanted = logits.gather(1, torch.tensor(row.ids)[:, None])[:, 0].tolist()
        assert row.logprobs == pytest.approx(wanted, abs=1e-4)


def test_greedy_rows_are_copied_only_when_some_leave(
    chatty: LlamaForCausalLM, monkeypatch: pytest.MonkeyPatch
):
    taken: list[int] = []
    take = batch.RowCache.take

    def counted(cache: batch.RowCache, parents) -> None:
        taken.append(len(parents))
        take(cache, parents)

    monkeypatch.setattr(batch.RowCache, "take", counted)
    requests = [Request(str(n), (1, n), 0, ()) for n in range(9)]
    list(decode_tokens(chatty, requests, greedy(limit=6), ()))
    assert not taken
    list(decode_tokens(chatty, [replace(requests[0], limit=2), *requests[1:3]], greedy(limit=6), ()))
    assert taken == [2]


def test_strategies_that_break_their_word_are_refused(chatty: LlamaForCausalLM):
    def double(rows: Sequence[Row], logits: torch.Tensor) -> Step:
        return Step(torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long))

    def drop(rows: Sequence[Row], logits: torch.Tensor) -> Step:
        return Step(torch.zeros(1, dtype=torch.long), torch.zeros(1, dtype=torch.long))

    requests = [Request(str(n), (1, n), 0, ()) for n in range(2)]
    with pytest.raises(GenerationError, match="have 2 rows, and says 1 at most"):
        list(decode_tokens(chatty, requests, Strategy({}, 5, 1, double), ()))
    with pytest.raises(GenerationError, match="ends a request without an answer"):
        list(decode_tokens(chatty, requests, Strategy({}, 5, 1, drop), ()))
    with pytest.raises(GenerationError, match="0: Stop strings need"):
        list(decode_tokens(chatty, [replace(requests[0], stops=("a",))], greedy(), ()))


def test_an_empty_batch_has_nothing_to_tell(chatty: LlamaForCausalLM):
    empty = Batch(chatty, greedy(), ())
    assert list(empty.join([])) == empty.step() == []
    empty.join([Request("", (1, 2), 0, ())])
    empty.leave({0})
    assert empty.rows == empty.step() == []
