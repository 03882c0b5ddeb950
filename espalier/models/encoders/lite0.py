"""EfficientNet-Lite0 up to its last map: 49 tokens of 1,280 numbers of a picture of 224 by 224.

Tan and Le 2019 (arXiv 1905.11946) without squeeze-and-excitation and with ReLU6; transformers' EfficientNet
has no such variant. The weights' names are those of `efficientnet-lite-pytorch`, whose twin this is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

SIZE = 224  # pixels a side
WIDTH = 1280
# Of each group of blocks: how many, kernel, stride of the first, expansion, channels.
GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)


def _convolution(into: int, out: int, kernel: int, stride: int = 1, groups: int = 1) -> nn.Sequential:
    """Return a convolution that pads as TensorFlow's "same" does: the odd pixel at the right and below."""
    pad = kernel - stride  # of maps whose sides the stride divides
    near, far = pad // 2, pad - pad // 2
    return nn.Sequential(
        nn.ZeroPad2d((near, far, near, far)),
        nn.Conv2d(into, out, kernel, stride, groups=groups, bias=False),
        nn.BatchNorm2d(out, eps=1e-3),
    )


class _Block(nn.Module):
    """An inverted bottleneck: wider, depthwise, narrower, and added to what it was given where that fits."""

    def __init__(self, into: int, out: int, kernel: int, stride: int, expansion: int) -> None:
        super().__init__()
        wide = into * expansion
        self.expand = (
            nn.Sequential(_convolution(into, wide, 1), nn.ReLU6()) if expansion > 1 else nn.Identity()
        )
        self.depthwise = nn.Sequential(_convolution(wide, wide, kernel, stride, wide), nn.ReLU6())
        self.project = _convolution(wide, out, 1)
        self.adds = stride == 1 and into == out

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = self.project(self.depthwise(self.expand(x)))
        return out + x if self.adds else out


class Lite0(nn.Module):
    """From pictures [B, 3, 224, 224] of values from 0 to 255 to maps [B, 49, 1280], row by row."""

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Sequential(_convolution(3, 32, 3, 2), nn.ReLU6())
        blocks: list[nn.Module] = []
        channels = 32
        for count, kernel, stride, expansion, out in GROUPS:
            for number in range(count):
                blocks.append(_Block(channels, out, kernel, 1 if number else stride, expansion))
                channels = out
        self.blocks = nn.Sequential(*blocks)
        self.head = nn.Sequential(_convolution(channels, WIDTH, 1), nn.ReLU6())

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Return the last map."""
        return self.head(self.blocks(self.stem((pixels - 127) / 128))).flatten(2).transpose(1, 2)


def renamed(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Return the tensors of `efficientnet-lite-pytorch` by the names here; the classifier is left out."""
    parts = {
        "_conv_stem": "stem.0.1",
        "_bn0": "stem.0.2",
        "_conv_head": "head.0.1",
        "_bn1": "head.0.2",
    }
    block = {
        "_expand_conv": "expand.0.1",
        "_bn0": "expand.0.2",
        "_depthwise_conv": "depthwise.0.1",
        "_bn1": "depthwise.0.2",
        "_project_conv": "project.1",
        "_bn2": "project.2",
    }
    out: dict[str, torch.Tensor] = {}
    for name, tensor in tensors.items():
        first, *rest = name.split(".")
        if first == "_blocks":
            number, part, last = rest
            out[f"blocks.{number}.{block[part]}.{last}"] = tensor
        elif first in parts:
            out[f"{parts[first]}.{rest[0]}"] = tensor
    return out
