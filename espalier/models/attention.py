"""Tree attention in transformers: the registered attention function, and switching a model to it.

The plan travels as the model keyword argument `tree_plan`. No mask function is registered under the same
name, which makes transformers build no mask. Which models can do it is told in `support.py`.
"""

from __future__ import annotations

from contextlib import contextmanager, nullcontext
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import AttentionInterface, PreTrainedConfig, PreTrainedModel

from espalier.core.errors import ModelError
from espalier.models.inside import ENCODERS
from espalier.models.tree_attention import TreeAttention

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from contextlib import AbstractContextManager

    from espalier.models.attention_plan import Plan

NAME = "espalier_tree"


def tree_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    scaling: float | None = None,
    dropout: float = 0.0,
    **settings: Any,
) -> tuple[torch.Tensor, None]:
    """Attend along the tree of `tree_plan`: the function that transformers calls in every layer.

    Shapes: query [1, H, T, D], key [1, K, T, D], value [1, K, T, V]; returns [1, T, H, V] and no weights.

    Raises:
        ModelError: see `plan_for`.
    """
    plan = plan_for(dropout, attention_mask, settings)
    scale = query.shape[-1] ** -0.5 if scaling is None else scaling
    device = query.device.type
    dtype = torch.get_autocast_dtype(device) if torch.is_autocast_enabled(device) else query.dtype
    out = TreeAttention.apply(query, key, value, plan, scale, dtype)
    return cast("torch.Tensor", out), None


AttentionInterface.register(NAME, tree_attention)


def plan_for(dropout: float, attention_mask: torch.Tensor | None, settings: Mapping[str, Any]) -> Plan:
    """Return the plan among the settings that a layer was called with.

    Raises:
        ModelError: the layer asks for what a tree cannot give: dropout, a window in force, soft caps, sinks.
    """
    if "tree_plan" not in settings:
        raise ModelError("The model does not hand its keyword arguments on to its attention.")
    plan: Plan = settings["tree_plan"]
    window = settings.get("sliding_window")
    asked = {
        "attention dropout": dropout > 0.0,
        f"a sliding window of {window} tokens": window is not None and window < plan.depth,
        "soft caps": settings.get("softcap") is not None,
        "attention sinks": settings.get("s_aux") is not None,
        "its own attention mask": attention_mask is not None,
    }
    for what, wanted in asked.items():
        if wanted:
            raise ModelError(f"The model's attention uses {what}, which prefix sharing does not compute.")
    return plan


# The models that attend otherwise now, each with the name of how; the innermost last.
_attending: list[tuple[PreTrainedModel, str]] = []


@contextmanager
def attending_by_tree(model: PreTrainedModel, name: str = NAME) -> Iterator[None]:
    """Switch the model's attention to the tree's (or to one of another registered name) inside the block.

    Outside it is the model's own again. An encoder of media inside the model attends as ever.
    """
    encoders = {type(vars(model.config)[name]) for name in ENCODERS if name in vars(model.config)}
    parts = [vars(part)["config"] for part in model.modules() if "config" in vars(part)]
    parts = [config for config in parts if type(config) not in encoders]
    configs = {id(config): config for config in parts if isinstance(config, PreTrainedConfig)}
    before = [(config, config._attn_implementation) for config in configs.values()]
    for config, _ in before:
        config._attn_implementation_internal = name
    _attending.append((model, name))
    try:
        yield
    finally:
        _attending.pop()
        for config, own in before:
            config._attn_implementation_internal = own


def attending_again() -> AbstractContextManager[None]:
    """Return what makes the model attend as it does now, for layers that the backward computes once more."""
    return attending_by_tree(*_attending[-1]) if _attending else nullcontext()
