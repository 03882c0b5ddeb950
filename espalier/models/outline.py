"""A model without its weights: to try out what would be done to it, and to be filled by others."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transformers import PreTrainedModel


def outline(model: PreTrainedModel) -> PreTrainedModel:
    """Return a copy of the model without weights: each is empty, once, however often the model uses it."""
    return copy.deepcopy(model, {id(weight): _frozen(weight.to("meta")) for weight in model.parameters()})


def filled(empty: PreTrainedModel, weights: Iterable[torch.Tensor]) -> PreTrainedModel:
    """Return a copy of an outline with these weights, which come in the order of its parameters."""
    pairs = zip(empty.parameters(), weights, strict=True)
    return copy.deepcopy(empty, {id(none): _frozen(weight) for none, weight in pairs})


def _frozen(tensor: torch.Tensor) -> torch.nn.Parameter:
    return torch.nn.Parameter(tensor, requires_grad=False)
