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
from espalier.models.memory import recomputes_without_tree
from espalier.models.reward import leaf_scores, rates

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from espalier.encode.tree import Tree

# Largest gap between both ways, as a share of what the prefix does to the log-probabilities at all.
GAPS = {torch.float64: 1e-3, torch.float32: 1e-2}
GAP = 0.1


def unsupported(model: PreTrainedModel, longest: int | None = None) -> str | None:
    """Return why the model's rows have to be computed one by one, or None where they can share prefixes.

    Args:
        model: a causal language model of transformers, with or without adapters.
        longest: tokens of the longest row; a sliding window that is at least as long hides nothing. None
            takes every window as one that hides.
    """
    base = cast("PreTrainedModel", model.get_base_model()) if isinstance(model, PeftModel) else model
    return _by_structure(base, longest) or _by_trial(model)


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
    if settings.get("attention_dropout"):
        return "its attention drops weights at random in training (attention_dropout in its configuration)"
    if not model._supports_attention_backend:
        return "its layers do not call transformers' attention interface"
    if any(map(recomputes_without_tree, model.modules())):
        return "gradient checkpointing is on, which computes layers again without the tree"
    return None


def _by_trial(model: PreTrainedModel) -> str | None:
    """Compare both ways on two rows with a common prefix, in the light of what that prefix changes."""
    tokens = (
        np.random.default_rng(0).integers(model.config.get_text_config().vocab_size, size=(3, 12)).tolist()
    )
    prefix, *ends = tokens
    limit = GAPS.get(model.dtype, GAP)
    training = model.training
    model.eval()
    try:
        with torch.no_grad():
            rows = _rows(prefix, ends)
            forward = leaf_scores if rates(model) else edge_logprobs
            alone = forward(model, rows, shared=False).logprobs
            effect = (alone - forward(model, _rows([], ends), shared=False).logprobs).norm()
            gap = (alone - forward(model, rows).logprobs).norm()
    except (ModelError, TypeError, ValueError) as error:
        return str(error)
    finally:
        model.train(training)
    if gap <= limit * effect:
        return None
    return (
        f"two rows come out otherwise when their prefix is computed once (by {gap:.2g} of {effect:.2g} nats)"
    )


def _rows(prefix: list[int], ends: list[list[int]]) -> Tree:
    # The first token of an end is not weighted, so that rows with and without the prefix have the same edges.
    weights = [0.0] + [1.0] * (len(ends[0]) - 1)
    rows = [(tuple(prefix + end), tuple([0.0] * len(prefix) + weights)) for end in ends]
    return build_tree(
        [Encoded(ids, marks, len(prefix), str(index)) for index, (ids, marks) in enumerate(rows)]
    )
