"""Decoding against its slow twin, which computes all again for each token, and against transformers."""

from __future__ import annotations

import hashlib
from functools import partial
from typing import TYPE_CHECKING

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

from espalier.decode import batch
from espalier.decode.cache import plan_layout
from espalier.decode.draws import Draw
from espalier.decode.engine import decode_tokens
from espalier.decode.requests import Request
from espalier.decode.strategies.sampling import greedy, sample

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence
    from pathlib import Path

    from transformers import PreTrainedModel

    from espalier.decode.batch import Token

VOCABULARY = 24
LIMIT = 7
TOKENS = st.lists(st.integers(0, VOCABULARY - 1), max_size=6)


def slow_greedy(
    model: PreTrainedModel, prompt: Sequence[int], limit: int, stop_ids: Collection[int]
) -> list[int]:
    """Return the greedy answer, its stop token included, without a cache."""
    ids = list(prompt)
    with torch.no_grad():
        while len(ids) < len(prompt) + limit:
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
            ids.append(int(logits.argmax()))
            if ids[-1] in stop_ids:
                break
    return ids[len(prompt) :]


def slow_sample(
    model: PreTrainedModel, request: Request, limit: int, stop_ids: Collection[int], draw: Draw
) -> list[tuple[int, float]]:
    """Return the tokens sampled and their log-probabilities without a cache, each by the book."""
    found: list[tuple[int, float]] = []
    with torch.no_grad():
        while len(found) < limit:
            ids = [*request.prompt, *(token for token, _ in found)]
            logits = model(torch.tensor([ids]), use_cache=False).logits[0, -1]
            chances = (logits.double() / draw.temperature).softmax(-1).tolist()
            order = list(range(len(chances)))
            if draw.top_p < 1:
                order.sort(key=lambda token: -chances[token])
                order = [t for n, t in enumerate(order) if sum(chances[o] for o in order[:n]) < draw.top_p]
            digest = hashlib.sha256(f"{draw.seed}:{request.key}:{len(found)}".encode()).digest()
            rest = int.from_bytes(digest[:8], "big") / 2**64 * sum(chances[token] for token in order)
            for token in order:
                rest -= chances[token]
                if rest < 0:
                    break
            found.append((token, float(logits.log_softmax(-1)[token])))
            if token in stop_ids:
                break
    return found


def batch_generate(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], limit: int, stop_ids: Collection[int]
) -> list[list[int]]:
    """Return the answers of transformers' `generate` in one left-padded batch, stop tokens included."""
    width = max(map(len, prompts))
    ids = torch.tensor([[0] * (width - len(prompt)) + list(prompt) for prompt in prompts])
    mask = torch.tensor([[0] * (width - len(prompt)) + [1] * len(prompt) for prompt in prompts])
    config = GenerationConfig(
        max_new_tokens=limit, do_sample=False, eos_token_id=sorted(stop_ids) or None, pad_token_id=0
    )
    output = model.generate(ids, attention_mask=mask, generation_config=config)[:, width:].tolist()
    answers: list[list[int]] = []
    for row in output:
        ends = [place for place, token in enumerate(row) if token in stop_ids]
        answers.append(row[: ends[0] + 1] if ends else row)
    return answers


def answers_of(
    model: PreTrainedModel, prompts: Sequence[Sequence[int]], limit: int, stop_ids: Collection[int]
) -> list[list[int]]:
    requests = [Request(str(row), tuple(prompt), 0, ()) for row, prompt in enumerate(prompts)]
    answers: list[list[int]] = [[] for _ in prompts]
    for token in decode_tokens(model, requests, greedy(limit=limit), stop_ids):
        answers[token.row].append(token.id)
    return answers


@pytest.fixture(scope="module")
def chatty() -> LlamaForCausalLM:
    """A random Llama in fp32 with logits far apart: rounding decides nothing."""
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=VOCABULARY,
        hidden_size=48,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=6,
        num_key_value_heads=2,
        head_dim=8,
        max_position_embeddings=128,
        initializer_range=0.4,
        eos_token_id=None,
    )
    return LlamaForCausalLM(config).eval()


@st.composite
def families(draw: st.DrawFn) -> list[list[int]]:
    """Draw prompts over a few heads, some with a second head below the first, some that are equal."""
    heads = draw(st.lists(st.lists(st.integers(0, VOCABULARY - 1), max_size=30), min_size=1, max_size=3))
    seconds = draw(st.lists(TOKENS, min_size=1, max_size=2))
    rows = draw(
        st.lists(
            st.tuples(st.sampled_from(heads), st.sampled_from([[], *seconds]), TOKENS),
            min_size=1,
            max_size=9,
        )
    )
    return [[*head, *second, *own] or [1] for head, second, own in rows]


@settings(max_examples=25)
@given(families(), st.sets(st.integers(0, VOCABULARY - 1), max_size=4), st.sampled_from([1, 20, 1024]))
def test_decoding_equals_recomputation_and_transformers(
    chatty: LlamaForCausalLM, prompts: list[list[int]], stop_ids: set[int], least: int
):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(batch, "plan_layout", partial(plan_layout, least=least))
        answers = answers_of(chatty, prompts, LIMIT, stop_ids)
    assert answers == [slow_greedy(chatty, prompt, LIMIT, stop_ids) for prompt in prompts]
    assert answers == batch_generate(chatty, prompts, LIMIT, stop_ids)


@settings(max_examples=20)
@given(
    families(),
    st.sets(st.integers(0, VOCABULARY - 1), max_size=4),
    st.builds(Draw, st.sampled_from([0.5, 1.0, 1.7]), st.sampled_from([0.8, 1.0]), st.integers(0, 9)),
)
def test_sampling_equals_recomputation(
    chatty: LlamaForCausalLM, prompts: list[list[int]], stop_ids: set[int], draw: Draw
):
    requests = [Request(str(row), tuple(prompt), 0, ()) for row, prompt in enumerate(prompts)]
    strategy = sample(limit=LIMIT, draw=draw)
    answers: list[list[Token]] = [[] for _ in prompts]
    for token in decode_tokens(chatty, requests, strategy, stop_ids):
        answers[token.row].append(token)
    for request, answer in zip(requests, answers, strict=True):
        ids, logprobs = zip(*slow_sample(chatty, request, LIMIT, stop_ids, draw), strict=True)
        assert [token.id for token in answer] == list(ids)
        assert [token.logprob for token in answer] == pytest.approx(logprobs, abs=1e-4)


@pytest.mark.model
def test_real_rows_are_answered_as_transformers_answers_them(bundled_model: Path, shared_data: Path):
    from espalier.models.load import load_model
    from espalier.tasks.task_files import load_task
    from espalier.tasks.templates import Show, to_examples

    loaded = load_model(str(bundled_model))
    path = "natural-instructions-v2/tasks/task003_mctaco_question_generation_event_duration.json"
    examples = to_examples(load_task(shared_data / path), Show(positive=0, negative=0))[:2]
    prompts = [loaded.template.prompt_ids(example.prompt) for example in examples]
    stop_ids = loaded.template.stop_ids
    answers = answers_of(loaded.model, prompts, 16, stop_ids)
    assert len({len(answer) for answer in answers}) > 1
    assert answers == batch_generate(loaded.model, prompts, 16, stop_ids)
