"""The one place where a model is called on tokens: a whole tree, a row, or a step of many rows.

How the tokens attend is told by the name of an attention function and by what that function is given; None is
the model's own. Tokens come as ids, or as embeddings where something else than a word stands behind an id (as
with the ids past the vocabulary of `soft_prompt.py`); positions are the caller's, of any shape that the model
takes.
"""

from __future__ import annotations

from contextlib import nullcontext
from typing import TYPE_CHECKING, Any

import torch

from espalier.models.attention import NAME, attending_by_tree
from espalier.models.attention_plan import make_plan

if TYPE_CHECKING:
    from collections.abc import Mapping

    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from espalier.encode.tree import Ints, Tree


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
    if positions is not None:
        inputs["position_ids"] = _tensor(positions, model)
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
        positions=tree.positions[None] if positions is None else positions,
        embeddings=embeddings,
        keep=keep,
        attention=attention,
        given={"tree_plan": make_plan(tree, model.device), **(given or {})},
    )


def _tensor(array: NDArray[Any], model: PreTrainedModel) -> torch.Tensor:
    return torch.from_numpy(array).to(model.device)
