"""Answers to many prompts: what the prompts share is computed once, and all rows take each token together.

The prompts of a group form a prefix tree. One forward pass over it fills a `RowCache` and gives every row's
first logits; then each step runs the model on one token per row. Rows that are finished leave the batch, so
that a long answer does not keep the short ones waiting. Models whose layers cannot share a prefix write their
answers through transformers' own `generate` (`rows.py`), with the same results.

Everything that is decoded, streamed text included, comes from one function, `decode_tokens`.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

import numpy as np
import torch

from espalier.core.errors import DataError, ModelError
from espalier.core.records import Completion, Encoded
from espalier.decode.cache import ATTENTION, RowCache, plan_layout
from espalier.decode.requests import Request, groups_of, request_key, requests_of
from espalier.decode.rows import rows_with_generate
from espalier.encode.tree import build_tree
from espalier.models.attention import attending_by_tree
from espalier.models.attention_plan import make_plan
from espalier.models.forward import kept_logits
from espalier.models.support import GAP, GAPS, made_of, unsupported

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from torch import Tensor
    from transformers import PreTrainedModel

    from espalier.core.records import Example, Message
    from espalier.decode.journal import Generations
    from espalier.decode.strategies import Strategy
    from espalier.encode.template import Template
    from espalier.encode.tree import Ints, Tree

# Keys and values that a group of prompts may hold, in tokens: 46 kB each for the bundled model in fp32.
TOKENS = 16384
# Finished rows stay in the batch until they are this share of it: leaving copies the cache.
FINISHED = 1 / 8
# Whether models decode by trees as they do row by row, by what they are made of.
_TRIED: dict[int, bool] = {}


@dataclass(frozen=True, slots=True)
class Token:
    """A token that a row has taken; `finish` is None where more follow. `logprob` in nats."""

    row: int
    id: int
    logprob: float
    finish: Literal["stop", "length"] | None


def generate(
    model: PreTrainedModel,
    template: Template,
    examples: Sequence[Example],
    strategy: Strategy,
    *,
    weights: str = "",
    journal: Generations | None = None,
    tokens: int = TOKENS,
) -> Iterator[Completion]:
    """Yield `strategy.samples` completions for each example, in any order, each one as soon as it is made.

    Args:
        model: in the number format to decode in.
        template: of the model's tokenizer.
        examples: their prompts are answered; the same prompt is answered once.
        strategy: from `strategies`.
        weights: hash of the weights and the adapter, for the keys of the completions.
        journal: what it holds is not made again; what is made is appended before it is yielded.
        tokens: keys and values held at a time, in tokens: bounds the memory.

    Raises:
        GenerationError: an example whose prompt has no tokens.
        DataError: prompts behind which an answer has no room in the model's context.
    """
    requests = requests_of(template, examples, strategy, f"{weights}/{model.dtype}")
    if journal is not None:
        journal.fetch(request.key for request in requests)
    done = journal.done if journal is not None else {}
    pending: list[Request] = []
    for request in requests:
        if request.key in done:
            yield from _copies(done[request.key], request)
        else:
            pending.append(request)
    check_room([len(request.prompt) for request in pending], strategy.limit, template.context)
    shared = bool(pending) and can_share(model, pending, strategy)
    for group in groups_of(pending, strategy.limit, tokens):
        for completion, request in _completions(model, template, group, strategy, shared=shared):
            if journal is not None:
                journal.append(completion)
            yield from _copies(completion, request)
    if journal is not None and pending:
        journal.share(request.key for request in pending)


def stream(
    model: PreTrainedModel, template: Template, messages: Sequence[Message], strategy: Strategy
) -> Iterator[str]:
    """Yield the answer to one prompt in pieces, as it is written; joined they are the whole answer."""
    for piece, _ in written(model, template, messages, strategy):
        yield piece


def written(
    model: PreTrainedModel, template: Template, messages: Sequence[Message], strategy: Strategy
) -> Iterator[tuple[str, Literal["stop", "length"] | None]]:
    """Yield the same pieces, the last with why it ended, and '' where nothing is left to say then.

    It is the answer that `generate` gives, sampled or not.

    Raises:
        DataError: the answer has no room in the model's context.
    """
    prompt = template.prompt_ids(messages)
    key = request_key(f"/{model.dtype}", template.hash, strategy.settings, prompt, 0)
    request = Request(key, prompt, 0, ())
    check_room([len(request.prompt)], strategy.limit, template.context)
    ids: list[int] = []
    said = ""
    shared = can_share(model, [request], strategy)
    for token in decode_tokens(model, [request], strategy, template.stop_ids, shared=shared):
        if token.finish != "stop":
            ids.append(token.id)
        text = template.decode(ids)
        # A character can be split over tokens; half of one decodes to a replacement character.
        whole = text if token.finish else text.rstrip("\ufffd")
        if len(whole) > len(said) or token.finish:
            yield whole[len(said) :], token.finish
            said = whole


def decode_tokens(
    model: PreTrainedModel,
    requests: Sequence[Request],
    strategy: Strategy,
    stop_ids: Collection[int],
    *,
    shared: bool = True,
) -> Iterator[Token]:
    """Yield the tokens of all requests as they are taken; a row's come in order, its last with `finish`.

    With `shared` as the module says; without it through transformers' `generate`.
    """
    training = model.training
    model.eval()
    try:
        if shared:
            yield from _decode_tree(model, requests, strategy, stop_ids)
        else:
            for row, ids, logprobs in rows_with_generate(model, requests, strategy, stop_ids):
                for step, (token, logprob) in enumerate(zip(ids, logprobs, strict=True)):
                    yield Token(row, token, logprob, _finish(token, step, strategy.limit, stop_ids))
    finally:
        model.train(training)


def _decode_tree(
    model: PreTrainedModel, requests: Sequence[Request], strategy: Strategy, stop_ids: Collection[int]
) -> Iterator[Token]:
    tree = build_tree([_as_row(request) for request in requests])
    layout = plan_layout(tree)
    cache = RowCache(layout, strategy.limit)
    rows, positions = layout.order, layout.lengths
    logits = _prefill(model, tree, cache, rows)
    alive = np.ones(len(rows), bool)
    for step in range(strategy.limit):
        ids, logprobs = _take(strategy, logits, [requests[row].key for row in rows], step)
        for place in np.flatnonzero(alive).tolist():
            finish = _finish(ids[place], step, strategy.limit, stop_ids)
            alive[place] = finish is None
            yield Token(int(rows[place]), ids[place], logprobs[place], finish)
        if not alive.any():
            return
        taken = np.array(ids)
        if (~alive).sum() >= FINISHED * len(alive):
            kept = np.flatnonzero(alive)
            cache.keep(kept)
            rows, positions, taken, alive = rows[kept], positions[kept], taken[kept], alive[kept]
        logits = _step(model, cache, taken, positions + step)


def check_room(prompts: Sequence[int], limit: int, context: int) -> None:
    """Refuse prompts of these lengths behind which an answer of `limit` tokens has no room in the context.

    Raises:
        DataError: with the longest prompt, the limit and the context.
    """
    beyond = [size for size in prompts if size + limit > context]
    if not beyond:
        return
    longest = max(beyond)
    which = "The prompt has" if len(prompts) == 1 else f"{len(beyond)} of {len(prompts)} prompts have up to"
    hint = f"Lower it to {context - longest}" if longest < context else "Shorten the prompt"
    raise DataError(
        f"{which} {longest} tokens, and an answer may take {limit} (decode.limit): together "
        f"they are more than the model's context of {context}.",
        where="decode.limit",
        hint=f"{hint}, show fewer examples (task.positive), or take a model with a longer context.",
    )


def can_share(model: PreTrainedModel, requests: Sequence[Request], strategy: Strategy) -> bool:
    """Say whether the model computes what these prompts share once; see `decode_tokens`."""
    longest = max(len(request.prompt) for request in requests) + strategy.limit
    return _shares(model, longest)


def try_out(model: PreTrainedModel) -> None:
    """Find out now what the model can do, so that the first answer does not wait for it."""
    _shares(model, 0)


def _shares(model: PreTrainedModel, longest: int) -> bool:
    if unsupported(model, longest) is not None:
        return False
    made = made_of(model)
    if made not in _TRIED:
        _TRIED[made] = _is_right(model)
    return _TRIED[made]


@torch.inference_mode()
def _is_right(model: PreTrainedModel) -> bool:
    """Compare the second token's logits with those of whole rows: layers may do what no cache knows of."""
    tokens = np.random.default_rng(0).integers(model.config.get_text_config().vocab_size, size=16).tolist()
    prompts = [tuple(tokens[:12]), tuple([*tokens[:8], *tokens[12:]])]
    tree = build_tree([_as_row(Request("trial", prompt, 0, ())) for prompt in prompts])
    layout = plan_layout(tree, least=1)
    cache = RowCache(layout, 1)
    training = model.training
    model.eval()
    try:
        ids = _prefill(model, tree, cache, layout.order).argmax(-1).cpu().numpy()
        found = _step(model, cache, ids, layout.lengths)
        rows = [[*prompts[row], int(taken)] for row, taken in zip(layout.order, ids, strict=True)]
        wanted = model(input_ids=_tensor(np.array(rows), model), use_cache=False).logits[:, -1]
    except (AttributeError, ModelError, RuntimeError, TypeError, ValueError):
        return False
    finally:
        model.train(training)
    return bool((found - wanted).norm() <= GAPS.get(model.dtype, GAP) * wanted.norm())


def _as_row(request: Request) -> Encoded:
    # A tree lays out the tokens before a row's last target: with any target after it, that is the prompt.
    size = len(request.prompt)
    return Encoded((*request.prompt, 0), (0.0,) * size + (1.0,), size, request.key)


@torch.inference_mode()
def _prefill(model: PreTrainedModel, tree: Tree, cache: RowCache, rows: Ints) -> Tensor:
    """Fill the cache from the tree of prompts, and return the logits of each row's first token [R, V]."""
    with attending_by_tree(model, ATTENTION):
        output = model(
            input_ids=_tensor(tree.ids, model)[None],
            position_ids=_tensor(tree.positions, model)[None],
            logits_to_keep=_tensor(tree.leaves[rows], model),
            use_cache=False,
            tree_plan=make_plan(tree, model.device),
            row_cache=cache,
        )
    return kept_logits(output.logits, tree.leaves[rows])


@torch.inference_mode()
def _step(model: PreTrainedModel, cache: RowCache, ids: Ints, positions: Ints) -> Tensor:
    """Run one token of each row [R], and return the logits of the next [R, V]."""
    cache.advance()
    with attending_by_tree(model, ATTENTION):
        output = model(
            input_ids=_tensor(ids, model)[:, None],
            position_ids=_tensor(positions, model)[:, None],
            use_cache=False,
            row_cache=cache,
        )
    return output.logits[:, -1]


@torch.inference_mode()
def _take(
    strategy: Strategy, logits: Tensor, keys: Sequence[str], step: int
) -> tuple[list[int], list[float]]:
    """Return the ids that the strategy takes [R], and their log-probabilities under the model."""
    ids = strategy.pick(logits, keys, step)
    logprobs = torch.log_softmax(logits, dim=-1, dtype=torch.float32).gather(1, ids[:, None])
    return ids.tolist(), logprobs[:, 0].tolist()


def _tensor(array: Ints, model: PreTrainedModel) -> Tensor:
    return torch.from_numpy(array).to(model.device)


def _finish(token: int, step: int, limit: int, stop_ids: Collection[int]) -> Literal["stop", "length"] | None:
    if token in stop_ids:
        return "stop"
    return "length" if step + 1 == limit else None


def _completions(
    model: PreTrainedModel,
    template: Template,
    requests: Sequence[Request],
    strategy: Strategy,
    *,
    shared: bool,
) -> Iterator[tuple[Completion, Request]]:
    ids: list[list[int]] = [[] for _ in requests]
    logprobs = [0.0] * len(requests)
    for token in decode_tokens(model, requests, strategy, template.stop_ids, shared=shared):
        ids[token.row].append(token.id)
        logprobs[token.row] += token.logprob
        if token.finish is not None:
            request, answer = requests[token.row], ids[token.row]
            text = template.decode(answer[:-1] if token.finish == "stop" else answer)
            yield (
                Completion(
                    example=request.examples[0],
                    text=text,
                    ids=tuple(answer),
                    sample=request.sample,
                    logprob=logprobs[token.row],
                    finish=token.finish,
                    request=request.key,
                ),
                request,
            )


def _copies(completion: Completion, request: Request) -> Iterator[Completion]:
    for example in request.examples:
        yield replace(completion, example=example)
