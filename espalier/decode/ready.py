"""A model made ready to decode: adapters merged, in its number format, and tried."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING

import torch

from espalier.decode.engine import try_out
from espalier.models.adapters import merged
from espalier.models.precision import dtype_of

if TYPE_CHECKING:
    from transformers import PreTrainedModel

    from espalier.models.precision import Format


def to_decode(model: PreTrainedModel, precision: Format) -> PreTrainedModel:
    """Return a copy for decoding, with adapters merged, in that number format."""
    return ready_to_decode(copy.deepcopy(model), precision)


def ready_to_decode(model: PreTrainedModel, precision: Format) -> PreTrainedModel:
    """Return the model itself, made ready as `to_decode` says: it can be trained no more."""
    model = merged(model).requires_grad_(False).eval()
    torch.nn.Module.to(model, dtype_of(precision))
    try_out(model)
    return model
