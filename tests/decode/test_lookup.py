"""Guesses change nothing but how many tokens a step takes, for any guesses and any way to take a token."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.core.errors import GenerationError
from espalier.decode import batch
from espalier.decode.batch import Batch
from espalier.decode.cache import plan_layout
from espalier.decode.draws import Draw
from espalier.decode.engine import decode_tokens
from espalier.decode.requests import Request
from espalier.decode.strategies.lookup import lookup
from espalier.decode.strategies.registry import strategies
from espalier.decode.strategies.sampling import greedy
from espalier.decode.strategy import Step, Strategy

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from transformers import LlamaForCausalLM

    from espalier.decode.batch import Token
    from espalier.decode.strategy import Row

SIZE = 24
TOKEN = st.integers(0, SIZE - 1)


@pytest.fixture(scope="module")
def chatty(llama: Callable[..., LlamaForCausalLM]) -> Iterator[LlamaForCausalLM]:
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield llama(SIZE, initializer_range=0.4, eos_token_id=None)
    torch.set_num_threads(threads)


def said(ids: Sequence[int]) -> str:
    return "".join(chr(97 + token) for token in ids)


@st.composite
def requests(draw: st.DrawFn) -> list[Request]:
    heads = draw(st.lists(st.lists(TOKEN, min_size=1, max_size=30), min_size=1, max_size=2))
    return [
        Request(
            f"request-{number}",
            (*draw(st.sampled_from(heads)), *draw(st.lists(TOKEN, max_size=5))),
            0,
            (),
            limit=draw(st.none() | st.integers(1, 12)),
            stop_ids=draw(st.none() | st.frozensets(TOKEN, max_size=2)),
            stops=draw(st.sampled_from([(), ("a",), ("bc", "d")])),
            draw=draw(st.sampled_from([None, Draw(0.8, 0.9, 1)])),
        )
        for number in range(draw(st.integers(1, 7)))
    ]


def answers(tokens: Sequence[Token]) -> dict[int, list[tuple[int, str | None]]]:
    found: dict[int, list[tuple[int, str | None]]] = {}
    for token in tokens:
        found.setdefault(token.row, []).append((token.id, token.finish))
    return found


def oracle(plain: dict[int, list[tuple[int, str | None]]], seed: int) -> Strategy:
    """Greedy with guesses of which some are right, as far as one knows the answers before."""
    draw = np.random.default_rng(seed)

    def draft(rows: Sequence[Row]) -> list[list[int]]:
        guesses: list[list[int]] = []
        for row in rows:
            coming = [token for token, _ in plain[row.number]][len(row.ids) :]
            right = coming[: draw.integers(0, 5)]
            guesses.append([*right, *draw.integers(SIZE, size=draw.integers(0, 3)).tolist()])
        return guesses

    return replace(greedy(limit=9), draft=draft)


@settings(max_examples=30)
@given(requests(), st.integers(0, 99), st.sampled_from([1, 20, 1024]), st.sampled_from([0.01, 1 / 8, 1.0]))
def test_any_guesses_leave_the_answers_as_they_are(
    chatty: LlamaForCausalLM, some: list[Request], seed: int, least: int, ended: float
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "plan_layout", partial(plan_layout, least=least))
        patch.setattr(batch, "ENDED", ended)
        plain = list(decode_tokens(chatty, some, greedy(limit=9), {0}, text=said))
        for strategy in (oracle(answers(plain), seed), lookup(limit=9, guess=4)):
            found = list(decode_tokens(chatty, some, strategy, {0}, text=said))
            assert answers(found) == answers(plain)
            order = sorted(range(len(plain)), key=lambda n: plain[n].row)
            wanted = [plain[n].logprob for n in order]
            assert [t.logprob for t in sorted(found, key=lambda t: t.row)] == pytest.approx(wanted, abs=1e-4)


@settings(max_examples=15)
@given(requests(), st.integers(0, 99))
def test_rows_of_different_lengths_join_and_leave(chatty: LlamaForCausalLM, some: list[Request], seed: int):
    plain = answers(list(decode_tokens(chatty, some, greedy(limit=9), {0}, text=said)))
    shared = Batch(chatty, oracle(plain, seed), {0}, said)
    tokens: list[Token] = []
    for one in some:
        shared.join([one])
        tokens += shared.step()
    shared.leave({0})
    while shared.rows:
        tokens += shared.step()
    found = answers(tokens)
    assert {n: found[n] for n in found if n} == {n: plain[n] for n in plain if n}
    assert found[0] == plain[0][: len(found[0])]


def test_a_copy_is_taken_in_few_steps(
    llama: Callable[..., LlamaForCausalLM], one_thread: None, monkeypatch: pytest.MonkeyPatch
):
    """This model soon goes round in a circle, which is what lookup is quick at."""
    model = llama(SIZE, initializer_range=0.08, eos_token_id=None)
    steps: list[int] = []
    forward = batch.next_logits

    def counted(*args) -> torch.Tensor:
        steps.append(len(args[2]))
        return forward(*args)

    monkeypatch.setattr(batch, "next_logits", counted)
    some = [Request(str(n), (n, 3, 5), 0, ()) for n in range(3)]
    plain = answers(list(decode_tokens(model, some, greedy(limit=200), ())))
    slow, steps[:] = len(steps), []
    assert answers(list(decode_tokens(model, some, lookup(limit=200), ()))) == plain
    assert slow == 199
    assert len(steps) < slow / 3


def test_a_row_that_nothing_repeats_in_runs_next_to_no_guess(chatty: LlamaForCausalLM):
    strategy = lookup(limit=60, ngram=2)
    (row,) = [strategy.begin(0, Request("", (1, 2, 3, 1, 2), 0, ()), ())]
    assert strategy.draft is not None
    ran = 0
    for token in np.random.default_rng(0).integers(4, size=400).tolist():
        ran += len(strategy.draft([row])[0])
        row.ids.append(token)
    assert ran < 300  # of four tokens one in four is guessed right
    row.ids += [1, 2, 3, 0, 7, 8, 9] * 3
    for token in [1, 2, 3, 0, 7, 8, 9] * 6:
        (guess,) = strategy.draft([row])
        row.ids.append(token)
    assert guess == (*([1, 2, 3, 0, 7, 8, 9] * 3)[6:18],)


def test_without_sharing_it_is_greedy(chatty: LlamaForCausalLM):
    some = [Request(str(n), (n, 3, 5), 0, ()) for n in range(3)]
    apart = answers(list(decode_tokens(chatty, some, lookup(limit=20), (), shared=False)))
    assert apart == answers(list(decode_tokens(chatty, some, greedy(limit=20), ())))


def test_a_strategy_cannot_guess_and_branch(chatty: LlamaForCausalLM):
    def double(rows: Sequence[Row], logits: torch.Tensor) -> Step:
        return Step(torch.zeros(2, dtype=torch.long), torch.zeros(2, dtype=torch.long))

    both = Strategy({}, 5, 1, double, rows=8, draft=lambda rows: [[1]] * len(rows))
    with pytest.raises(GenerationError, match="it can do one of these"):
        list(decode_tokens(chatty, [Request("", (1, 2), 0, ())], both, ()))


def test_it_is_built_by_name():
    assert strategies.build("lookup", {"limit": 3}).settings == {
        "kind": "lookup",
        "limit": 3,
        "ngram": 3,
        "guess": 12,
    }
