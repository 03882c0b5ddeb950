"""Bottleneck adapters: a narrow layer after each MLP, added to its output, the identity until it is trained.

Houlsby et al. 2019 (arXiv 1902.00751), one a block as in Pfeiffer et al. 2020 (arXiv 2005.00247). The layer
between is not linear, so that it cannot be folded into the weights. peft has no such method; the format is
ours, laid out as peft lays out its own.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import nn

from espalier.core.errors import ModelError
from espalier.models.layers import blocks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedModel

KIND = "BOTTLENECK"
# The names that transformers gives to the part of a block that is not attention.
MLPS = ("mlp", "feed_forward", "ffn")


class Bottleneck(nn.Module):
    """A part of a block with `up(silu(down(y)))` added to its output y [..., D], `size` wide inside."""

    def __init__(self, inner: nn.Module, width: int, size: int) -> None:
        super().__init__()
        self.inner = inner
        self.down = nn.Linear(width, size)
        self.up = nn.Linear(size, width)
        nn.init.zeros_(self.up.weight)
        nn.init.zeros_(self.up.bias)

    def forward(self, *inputs: torch.Tensor) -> torch.Tensor:
        """Return the part's output with the adapter's."""
        out: torch.Tensor = self.inner(*inputs)
        return out + self.up(nn.functional.silu(self.down(out)))


def adapted(model: PreTrainedModel, size: int) -> PreTrainedModel:
    """Put a bottleneck of `size` dimensions after each MLP, and freeze all else.

    Raises:
        ModelError: the model's blocks have no MLP as a part of its own.
    """
    model.requires_grad_(False)
    width = model.config.get_text_config().hidden_size
    for block in blocks(model):
        parts = dict(block.named_children())
        name = next((name for name in MLPS if name in parts), None)
        if name is None:
            raise ModelError(
                f"The model's blocks have no part named {' or '.join(MLPS)} to put an adapter after.",
                where="train.method",
            )
        weight = next(parts[name].parameters())
        setattr(block, name, Bottleneck(parts[name], width, size).to(weight.device, weight.dtype))
    return model


def write(model: PreTrainedModel) -> tuple[dict[str, Any], dict[str, torch.Tensor]] | None:
    """Return the configuration and the tensors of the model's bottlenecks, if it has some."""
    found = {name: part for name, part in model.named_modules() if isinstance(part, Bottleneck)}
    if not found:
        return None
    tensors = {
        f"{name}.{side}.{key}": tensor
        for name, part in found.items()
        for side, linear in (("down", part.down), ("up", part.up))
        for key, tensor in linear.state_dict().items()
    }
    size = next(iter(found.values())).down.out_features
    return {"peft_type": KIND, "base_model_name_or_path": model.name_or_path, "size": size}, tensors


def read(model: PreTrainedModel, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Add the bottlenecks that `write` returned."""
    adapted(model, config["size"]).load_state_dict(dict(tensors), strict=False)
