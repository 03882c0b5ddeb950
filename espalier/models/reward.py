"""Reward models: a causal model's layers under a head of one number, read at the last token of an answer.

That is transformers' sequence classification with one label, so any tool that takes reward models takes ours.
There a row's number is read at its last token that is no padding. A tree lays out the tokens before a row's
last target, so a row that is rated gets one more target, which stands for the number: its leaf is then the
stop token (`as_rated`).
"""

from __future__ import annotations

import copy
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import torch
from peft import PeftModel
from torch import nn
from transformers import AutoModelForSequenceClassification

from espalier.core.errors import ModelError
from espalier.encode.tree import row_path
from espalier.models.call import call_model, call_on_tree
from espalier.models.forward import Edges

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from espalier.core.records import Encoded
    from espalier.encode.tree import Tree


def as_rated(row: Encoded) -> Encoded:
    """Return the row up to its last trained token, with one target after it: the place of its number."""
    size = max(place for place, weight in enumerate(row.weights) if weight) + 1
    return replace(row, ids=(*row.ids[:size], 0), weights=(0.0,) * size + (1.0,))


def rates(model: nn.Module) -> bool:
    """Say whether the model is a reward model."""
    return "score" in dict(_body(model).named_children())


def reward_model(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, stop_ids: Collection[int]
) -> PreTrainedModel:
    """Return a reward model on the layers of a causal one, which is not to be used any more.

    Its head is drawn from torch's random numbers. A padding token that can end an answer would hide that end
    from transformers, so the configuration names one that cannot.

    Raises:
        ModelError: transformers has no sequence classification for this type of model.
    """
    config = copy.deepcopy(model.config)
    config.num_labels = 1
    config.pad_token_id = padding(tokenizer, stop_ids)
    try:
        with torch.device("meta"):
            rating: Any = AutoModelForSequenceClassification.from_config(config, dtype=model.dtype)
    except ValueError:
        raise ModelError(
            f"transformers has no reward model of the type '{config.model_type}'.", where="train.objective"
        ) from None
    setattr(rating, rating.base_model_prefix, model.base_model)
    if not rates(rating):
        raise ModelError(
            f"The head of {type(rating).__name__} is not a layer named 'score'.", where="train.objective"
        )
    head = nn.Linear(rating.score.in_features, 1, bias=False, device=model.device, dtype=model.dtype)
    nn.init.normal_(head.weight, std=config.get_text_config().initializer_range)
    rating.score = head
    rating.config._attn_implementation = model.config._attn_implementation
    return rating.eval()


def padding(tokenizer: PreTrainedTokenizerBase, stop_ids: Collection[int]) -> int | None:
    """Return a special token that cannot end an answer, to pad with; None where there is none."""
    special = [tokenizer.pad_token_id, tokenizer.unk_token_id, tokenizer.bos_token_id]
    known = [token for token in (*special, *tokenizer.all_special_ids) if token is not None]
    return next((cast("int", token) for token in known if token not in stop_ids), None)


def leaf_scores(model: PreTrainedModel, tree: Tree, *, shared: bool = True) -> Edges:
    """Return the number that the model gives at the source of each edge, in the place of a log-probability.

    Rows as `as_rated` makes them have one edge each, at their last token.

    Args:
        model: a reward model, with or without adapters.
        tree: the rows.
        shared: compute the tree in one pass, each token once; otherwise the rows one by one.
    """
    if shared:
        numbers = _heard(model, partial(call_on_tree, model, tree))
        scores = numbers[torch.from_numpy(tree.sources).to(model.device)]
        return Edges(scores, scores)
    found: dict[int, torch.Tensor] = {}
    for row in range(len(tree.rows)):
        path = row_path(tree, row)
        numbers = _heard(model, partial(call_model, model, tree.ids[path][None]))
        for edge in tree.entry_edges[tree.entry_rows == row].tolist():
            found[edge] = numbers[int(tree.positions[tree.sources[edge]])]
    scores = torch.stack([found[edge] for edge in range(len(tree.sources))])
    return Edges(scores, scores)


def _heard(model: PreTrainedModel, call: Callable[[], object]) -> torch.Tensor:
    """Return what the head gives at every token [T] in a call: the model returns but the last one's."""
    body: Any = _body(model)
    heard: list[torch.Tensor] = []
    hook = body.score.register_forward_hook(lambda head, given, numbers: heard.append(numbers))
    try:
        call()
    finally:
        hook.remove()
    return heard[0][0, :, 0].to(torch.promote_types(heard[0].dtype, torch.float32))


def _body(model: nn.Module) -> nn.Module:
    return cast("nn.Module", model.get_base_model()) if isinstance(model, PeftModel) else model
