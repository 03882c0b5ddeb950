"""An encoder of the tests' own: the colours of the quarters of a picture, the loudness of a sound."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

from espalier.media.pictures import pixels
from espalier.media.sounds import samples
from espalier.models.encoders.encoders import Encoder

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

TOKENS = 4


def colours() -> Encoder:
    """Sees pictures, in four tokens."""
    return Encoder("colours", "image", 3, {}, "none", lambda _: TOKENS, _seen)


def loudness() -> Encoder:
    """Hears sounds, in four tokens."""
    return Encoder("loudness", "audio", 3, {}, "none", lambda _: TOKENS, _heard, longest=2.0)


def _seen(paths: Sequence[Path]) -> list[torch.Tensor]:
    return [torch.from_numpy(_quarters(pixels(path))) for path in paths]


def _quarters(image: np.ndarray) -> np.ndarray:
    rows = [part for half in np.array_split(image, 2) for part in np.array_split(half, 2, axis=1)]
    return np.stack([part.reshape(-1, 3).mean(0) for part in rows]).astype(np.float32) / 255


def _heard(paths: Sequence[Path]) -> list[torch.Tensor]:
    parts = [np.array_split(np.abs(samples(path, 16_000)), TOKENS) for path in paths]
    return [torch.tensor([[float(part.max())] * 3 for part in own]) for own in parts]
