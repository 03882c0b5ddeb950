"""Answers to many prompts: what the prompts share is computed once, and all rows take each token together.

A group of requests is a `Batch`, whose rows leave when they have ended, so that a long answer does not keep
the short ones waiting. Models whose layers cannot share a prefix write their answers through transformers'
own `generate` (`unshared.py`) or, of several rows each, in its cache (`stepping.py`), with the same results.

Everything that is decoded here, streamed text included, comes from one function, `decode_tokens`.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

import numpy as np
import torch

from espalier.core.errors import DataError, ModelError
from espalier.core.records import Completion, Example, message
from espalier.decode.batch import Batch, Token, next_logits, prefill, prompts_tree, tokens_of
from espalier.decode.cache import RowCache, plan_layout
from espalier.decode.picking import no_raters, picked
from espalier.decode.requests import Request, before, groups_of, request_key, requests_of, unfinished
from espalier.decode.stepping import rows_by_steps
from espalier.decode.unshared import rows_with_generate
from espalier.models.call import call_model
from espalier.models.media import by_whole_rows
from espalier.models.support import GAP, GAPS, made_of, unsupported

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from transformers import PreTrainedModel

    from espalier.core.records import Finish, Message
    from espalier.decode.journal import Generations
    from espalier.decode.picking import Raters
    from espalier.decode.strategy import Strategy, ToText
    from espalier.encode.template import Template

# Keys and values that a group of prompts may hold, in tokens: 46 kB each for the bundled model in fp32.
TOKENS = 16384
# Whether models decode by trees as they do row by row, by what they are made of.
_TRIED: dict[int, bool] = {}


def generate(
    model: PreTrainedModel,
    template: Template,
    examples: Sequence[Example],
    strategy: Strategy,
    *,
    weights: str = "",
    journal: Generations | None = None,
    tokens: int = TOKENS,
    raters: Raters = no_raters,
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
        raters: loads the reward models that choose among answers.

    Raises:
        GenerationError: an example whose prompt has no tokens.
        DataError: prompts behind which an answer has no room in the model's context.
    """
    if strategy.pick is not None:
        of = partial(generate, model, template, weights=weights, journal=journal, tokens=tokens)
        yield from picked(of, examples, strategy.pick, raters)
        return
    strategy = strategy.bound(template)
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
    searches = _searches(pending, strategy)
    leading = [request for request in pending if request.key in searches]
    for group in groups_of(leading, strategy.limit, tokens, rows=strategy.rows):
        asked = [searches[request.key] for request in group]
        for completion, request in _completions(model, template, asked, strategy, shared=shared):
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
    model: PreTrainedModel,
    template: Template,
    messages: Sequence[Message],
    strategy: Strategy,
    *,
    stops: Sequence[str] = (),
    raters: Raters = no_raters,
) -> Iterator[tuple[str, Finish | None]]:
    """Yield the same pieces, the last with why it ended, and '' where nothing is left to say then.

    A strategy that decides at the end, such as a beam search, gives its answer in one piece.

    It is the answer that `generate` gives, sampled or not, up to the first of the texts `stops` in it.

    Raises:
        DataError: the answer has no room in the model's context.
    """
    if strategy.pick is not None:
        example = Example("", "", "", (*messages, message("assistant", "", trained=True)))
        (answer,) = generate(model, template, [example], strategy, raters=raters)
        yield before(answer.text, stops), answer.finish
        return
    strategy = strategy.bound(template)
    prompt, strategy = template.prompt_ids(messages), replace(strategy, samples=1)
    key = request_key(f"/{model.dtype}", template.hash, strategy.settings, prompt, 0)
    request = Request(key, prompt, 0, (), stops=tuple(stops))
    check_room([len(request.prompt)], strategy.limit, template.context)
    ids: list[int] = []
    said = ""
    shared = can_share(model, [request], strategy)
    tokens = decode_tokens(model, [request], strategy, template.stop_ids, shared=shared, text=template.decode)
    for token in tokens:
        if token.finish != "stop" or token.id not in template.stop_ids:
            ids.append(token.id)
        text = before(template.decode(ids), stops)
        # A character can be split over tokens; half of one decodes to a replacement character.
        whole = text if token.finish else unfinished(text.rstrip("\ufffd"), stops)
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
    text: ToText | None = None,
) -> Iterator[Token]:
    """Yield the tokens of all requests as they are settled; a row's come in order, its last with `finish`.

    With `shared` as the module says; without it through transformers' `generate`, or where a request may have
    several rows, step by step. Requests with stop strings need `text`, from ids to text.
    """
    training = model.training
    model.eval()
    try:
        if shared:
            batch = Batch(model, strategy, stop_ids, text)
            batch.join(requests)
            while batch.rows:
                yield from batch.step()
        elif strategy.rows > 1 or by_whole_rows(model):
            rows = [strategy.begin(number, one, stop_ids, text) for number, one in enumerate(requests)]
            for ended in rows_by_steps(model, rows, strategy):
                yield from tokens_of(strategy, ended)
        else:
            rows = [strategy.begin(number, one, stop_ids, text) for number, one in enumerate(requests)]
            for row in rows_with_generate(model, rows, strategy):
                yield from tokens_of(strategy, [row])
    finally:
        model.train(training)


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
    return _shares(model, max(request.size(strategy.limit) for request in requests))


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
    tree = prompts_tree([Request("trial", prompt, 0, ()) for prompt in prompts])
    layout = plan_layout(tree, least=1)
    cache = RowCache(layout, 1)
    training = model.training
    model.eval()
    try:
        ids = prefill(model, tree, cache, layout.order).argmax(-1).cpu().numpy()
        found = next_logits(model, cache, ids, layout.lengths)
        rows = [[*prompts[row], int(taken)] for row, taken in zip(layout.order, ids, strict=True)]
        wanted = call_model(model, np.array(rows))[:, -1]
    except (AttributeError, ModelError, RuntimeError, TypeError, ValueError):
        return False
    finally:
        model.train(training)
    return bool((found - wanted).norm() <= GAPS.get(model.dtype, GAP) * wanted.norm())


def _searches(requests: Sequence[Request], strategy: Strategy) -> dict[str, dict[int, Request]]:
    """Return the requests that one search answers, by their place in `rank`, by the key of the first."""
    if strategy.rank is None:
        return {request.key: {0: request} for request in requests}
    prompts: dict[tuple[int, ...], dict[int, Request]] = {}
    for request in requests:
        prompts.setdefault(request.prompt, {})[request.sample] = request
    return {next(iter(several.values())).key: several for several in prompts.values()}


def _completions(
    model: PreTrainedModel,
    template: Template,
    asked: Sequence[Mapping[int, Request]],
    strategy: Strategy,
    *,
    shared: bool,
) -> Iterator[tuple[Completion, Request]]:
    """Yield the answers to the requests of each search; what a journal has of them already is left out."""
    requests = [next(iter(several.values())) for several in asked]
    answers: defaultdict[tuple[int, int], list[Token]] = defaultdict(list)
    for token in decode_tokens(model, requests, strategy, template.stop_ids, shared=shared):
        answers[token.row, token.sample].append(token)
        if token.finish is not None and token.sample in asked[token.row]:
            request, tokens = asked[token.row][token.sample], answers.pop((token.row, token.sample))
            answer = [one.id for one in tokens]
            text = template.decode(answer[:-1] if token.finish == "stop" else answer)
            yield (
                Completion(
                    example=request.examples[0],
                    text=text,
                    ids=tuple(answer),
                    sample=request.sample,
                    logprob=sum(one.logprob for one in tokens),
                    finish=token.finish,
                    request=request.key,
                ),
                request,
            )


def _copies(completion: Completion, request: Request) -> Iterator[Completion]:
    for example in request.examples:
        yield replace(completion, example=example)
