"""Which models can compute rows as a tree: told by their structure, then by a trial of two short rows."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from peft import PeftModel

from espalier.core.errors import ModelError
from espalier.core.records import Encoded
from espalier.encode.tree import build_tree
from espalier.models.forward import edge_logprobs
from espalier.models.inside import language_model
from espalier.models.media import tried_with
from espalier.models.memory import recomputes_without_tree
from espalier.models.reward import leaf_scores, rates

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from espalier.encode.tree import Tree

# Largest gap between both ways, as a share of what the prefix does to the log-probabilities at all.
GAPS = {torch.float64: 1e-3, torch.float32: 1e-2}
GAP = 0.1
# Largest relative gap that rounding explains between the logits of a row and of its beginning, in fp32.
AHEAD = 1e-4
# What the code of a model raises for rows that it was not made for.
FAILURES = (AttributeError, LookupError, RuntimeError, TypeError, ValueError)
# What the trial has found, by what a model is made of.
_TRIED: dict[int, str | None] = {}
# What was found to write from left to right, by the same.
_CAUSAL: set[int] = set()


def unsupported(model: PreTrainedModel, longest: int | None = None, *, training: bool = False) -> str | None:
    """Return why the model's rows have to be computed one by one, or None where they can share prefixes.

    What a trial has found is remembered for all models that are made as this one: to ask again, or of a copy,
    costs no forward.

    Args:
        model: a causal language model of transformers, with or without adapters.
        longest: tokens of the longest row; a sliding window that is at least as long hides nothing. None
            takes every window as one that hides.
        training: whether it is to train, where some models drop parts of their attention at random.

    Raises:
        ModelError: it is to train, and its code does not do that with a single row.
    """
    base = cast("PreTrainedModel", model.get_base_model()) if isinstance(model, PeftModel) else model
    why_not = _by_structure(base, longest)
    if not why_not:
        made = made_of(model)
        if made not in _TRIED:
            _TRIED[made] = _by_trial(model)
        why_not = _TRIED[made] or (_by_training(model) if training else None)
    if why_not and training:
        _check_row(model)
    return why_not


def made_of(model: PreTrainedModel) -> int:
    """Return a number for what a model is, but for its weights and place: of a copy it is the same."""
    config = {key: value for key, value in model.config.to_dict().items() if key != "_name_or_path"}
    parts = tuple(
        (name, type(part), len(part._forward_hooks), len(part._forward_pre_hooks))
        for name, part in model.named_modules()
    )
    weights = tuple((weight.shape, weight.dtype, weight.device) for weight in model.parameters())
    return hash((parts, weights, repr(config)))


@torch.no_grad()
def check_causal(model: PreTrainedModel) -> None:
    """Refuse a model that looks ahead: what it says at a token must not depend on the tokens after it.

    Raises:
        ModelError: it does, so that it cannot be trained to write from left to right.
    """
    if (made := made_of(model)) in _CAUSAL:
        return
    ids = torch.from_numpy(_tokens(model)[0]).to(model.device)[None]
    try:
        whole, begun = (model(input_ids=part, use_cache=False).logits[0] for part in (ids, ids[:, :-1]))
    except FAILURES as error:
        raise ModelError(
            f"{type(model).__name__} cannot compute a row of {ids.shape[1]} tokens: {_line(error)}.",
            where=str(model.name_or_path),
            hint="So says transformers; docs/models.md lists the types that can be tuned.",
        ) from None
    gap = float((whole[:-1] - begun).norm() / begun.norm())
    if gap > AHEAD:
        raise ModelError(
            f"{type(model).__name__} reads ahead: what it says at a token depends on the tokens after it, so "
            "it cannot be trained to write from left to right.",
            where=str(model.name_or_path),
            hint="Take a causal language model, such as one of the Llama, Qwen or Gemma families.",
        )
    _CAUSAL.add(made)


def _tokens(model: PreTrainedModel) -> np.ndarray:
    size = model.config.get_text_config().vocab_size
    return np.random.default_rng(0).integers(size, size=(3, 12))


def _by_structure(model: PreTrainedModel, longest: int | None) -> str | None:
    settings = model.config.get_text_config().to_dict()
    layers = set(settings.get("layer_types") or ()) - {"full_attention"}
    window = settings.get("sliding_window")
    if window is not None and longest is not None and window >= longest:
        window = None
        layers -= {"sliding_attention"}
    elif "layer_types" in settings and "sliding_attention" not in layers:
        window = None
    if settings.get("is_encoder_decoder"):
        return "it is an encoder with a decoder"
    if layers:
        return f"some of its layers are of another sort than full attention: {', '.join(sorted(layers))}"
    if window is not None:
        return f"its attention sees a sliding window of {window} tokens"
    if settings.get("attn_logit_softcapping") is not None:
        return "its attention caps its scores"
    if not language_model(model)._supports_attention_backend:
        return "its layers do not call transformers' attention interface"
    if any(map(recomputes_without_tree, model.modules())):
        return "gradient checkpointing is on, which computes layers again without the tree"
    return None


def _by_trial(model: PreTrainedModel) -> str | None:
    """Compare both ways on two rows with a common prefix, in the light of what that prefix changes."""
    prefix, *ends = _tokens(model).tolist()
    limit = GAPS.get(model.dtype, GAP)
    training = model.training
    model.eval()
    try:
        with torch.no_grad(), tried_with(model) as media:
            rows = _rows([*prefix[:2], *media, *prefix[2:]], ends)
            forward = leaf_scores if rates(model) else edge_logprobs
            alone = forward(model, rows, shared=False).logprobs
            effect = (alone - forward(model, _rows([], ends), shared=False).logprobs).norm()
            gap = (alone - forward(model, rows).logprobs).norm()
    except (*FAILURES, ModelError) as error:
        return _line(error)
    finally:
        model.train(training)
    if not gap > limit * effect:  # weights that are no numbers tell nothing; training stops at them
        return None
    return (
        f"two rows come out otherwise when their prefix is computed once (by {gap:.2g} of {effect:.2g} nats)"
    )


def _by_training(model: PreTrainedModel) -> str | None:
    """Return what the model's attention does in training alone that a tree cannot give, such as dropout."""
    tree = _rows([0], [[0, 0]])
    was_training = model.training
    model.train()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            edge_logprobs(model, tree)
    except ModelError as error:
        return _line(error)
    finally:
        model.train(was_training)
    return None


def drops(model: PreTrainedModel) -> bool:
    """Say whether what the model computes in training is also a matter of chance."""
    tree = _rows([0], [_tokens(model)[0].tolist()])
    was_training = model.training
    model.train()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            one, two = (edge_logprobs(model, tree, shared=False).logprobs for _ in range(2))
    finally:
        model.train(was_training)
    return not torch.equal(one.nan_to_num(), two.nan_to_num())


def _check_row(model: PreTrainedModel) -> None:
    """Compute a row as training does. Raises ModelError where the model's code does not."""
    rows = _rows([0], [_tokens(model)[0].tolist()])
    was_training = model.training
    model.train()
    try:
        with torch.no_grad(), torch.random.fork_rng(devices=[]):
            (leaf_scores if rates(model) else edge_logprobs)(model, rows, shared=False)
    except FAILURES as error:
        raise ModelError(
            f"{type(model).__name__} cannot be trained on a row of {len(rows.ids)} tokens: {_line(error)}.",
            where=str(model.name_or_path),
            hint="So says transformers; docs/models.md lists the types that can be tuned.",
        ) from None
    finally:
        model.train(was_training)


def _line(error: Exception) -> str:
    """Return an error's first line, as a part of a sentence."""
    return (str(error).strip().splitlines() or [type(error).__name__])[0].removesuffix(".")


def _rows(prefix: list[int], ends: list[list[int]]) -> Tree:
    # The first token of an end is not weighted, so that rows with and without the prefix have the same edges.
    weights = [0.0] + [1.0] * (len(ends[0]) - 1)
    rows = [(tuple(prefix + end), tuple([0.0] * len(prefix) + weights)) for end in ends]
    return build_tree(
        [Encoded(ids, marks, len(prefix), str(index)) for index, (ids, marks) in enumerate(rows)]
    )
