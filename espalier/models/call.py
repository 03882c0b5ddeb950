"""The one place where a model is called on tokens: a whole tree, a row, or a step of many rows.

How the tokens attend is told by the name of an attention function and by what that function is given; None is
the model's own. Tokens come as ids, or as embeddings where something else than a word stands behind an id (as
with the ids past the vocabulary of `soft_prompt.py`); positions are the caller's, of any shape that the model
takes.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

from espalier.encode.media import FIRST
from espalier.models.attention import NAME, attending_by_tree
from espalier.models.attention_plan import make_plan
from espalier.models.media import media_embedding, tree_positions

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from espalier.encode.tree import Ints, Tree
    from espalier.models.media import MediaEmbedding


def call_model(
    model: PreTrainedModel,
    ids: Ints,
    *,
    positions: NDArray[Any] | None = None,
    embeddings: torch.Tensor | None = None,
    keep: Ints | None = None,
    attention: str | None = None,
    given: Mapping[str, Any] | None = None,
) -> torch.Tensor:
    """Return the logits of tokens [B, T, V], or [B, K, V] of those that are kept.

    Args:
        model: a causal language model of transformers, or a reward model, which returns its own shape.
        ids: token ids [B, T].
        positions: of the tokens; None counts them from 0.
        embeddings: what stands for the ids, which are then not looked up [B, T, D].
        keep: places of the tokens whose logits are wanted [K]; None for all.
        attention: name of the attention function; None for the model's own.
        given: keyword arguments that reach the attention function.
    """
    inputs: dict[str, Any] = dict(given or {})
    if embeddings is None:
        inputs["input_ids"] = _tensor(ids, model)
    else:
        inputs["inputs_embeds"] = embeddings
    embedding = media_embedding(model)
    if embedding is not None and attention is None:
        inputs |= _manner(embedding, ids)
    if positions is not None:
        inputs["position_ids"] = _tensor(positions, model)
    elif embedding is not None and embedding.manner.grids:
        rows = [embedding.positions(row)[:, :-1] for row in ids]
        inputs["position_ids"] = _tensor(np.stack(rows, 1), model)
    if keep is not None:
        inputs["logits_to_keep"] = _tensor(keep, model)
    with attending_by_tree(model, attention) if attention else nullcontext():
        logits: torch.Tensor = model(use_cache=False, **inputs).logits
    # A model's own code may know nothing of keeping some.
    return logits if keep is None or logits.shape[1] == len(keep) else logits[:, inputs["logits_to_keep"]]


def call_on_tree(
    model: PreTrainedModel,
    tree: Tree,
    *,
    positions: NDArray[Any] | None = None,
    embeddings: torch.Tensor | None = None,
    keep: Ints | None = None,
    attention: str = NAME,
    given: Mapping[str, Any] | None = None,
) -> torch.Tensor:
    """Return the logits of a tree's tokens, each of which attends to those above it; see `call_model`.

    `positions` are the depths in the tree, unless others are given.
    """
    return call_model(
        model,
        tree.ids[None],
        positions=_of_tree(model, tree) if positions is None else positions,
        embeddings=embeddings,
        keep=keep,
        attention=attention,
        given={"tree_plan": make_plan(tree, model.device, blocks=_sees_both_ways(model)), **(given or {})},
    )


def _of_tree(model: PreTrainedModel, tree: Tree) -> Ints:
    """Return the positions of a tree's tokens for a batch of one: [1, T] or [3, 1, T]."""
    return tree_positions(model, tree)[..., None, :]


def _sees_both_ways(model: PreTrainedModel) -> bool:
    embedding = media_embedding(model)
    return embedding is not None and bool(embedding.manner.types)


def _manner(embedding: MediaEmbedding, ids: Ints) -> dict[str, torch.Tensor]:
    """Return the input that tells a model's own attention which tokens are media, where it asks for that."""
    if not embedding.manner.types:
        return {}
    types = torch.from_numpy((ids >= FIRST).astype(np.int64))
    return {embedding.manner.types: types.to(embedding.weight.device)}


def _tensor(array: NDArray[Any], model: PreTrainedModel) -> torch.Tensor:
    return torch.from_numpy(array).to(model.device)
