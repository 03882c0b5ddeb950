"""From a package's own form of weights to safetensors: what `bundled.py` fetches is loaded from that."""

from __future__ import annotations

import contextlib
import io
from typing import TYPE_CHECKING

import torch
from safetensors.torch import save_file

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

WEIGHTS = "model.safetensors"


def language_model(member: Path, folder: Path, name: str) -> None:
    """Save a GGUF as a plain fp32 folder of transformers, with its tokenizer."""
    from transformers import AutoTokenizer
    from transformers.utils import logging

    from espalier.models.gguf_file import read_gguf

    logging.disable_progress_bar()
    plain = read_gguf(member)
    plain.config.name_or_path = name
    with contextlib.redirect_stderr(io.StringIO()):  # the reader draws a bar of its own
        tokenizer = AutoTokenizer.from_pretrained(member.parent, gguf_file=member.name)
    plain.save_pretrained(folder)
    tokenizer.save_pretrained(folder)


def lite0(member: Path, folder: Path, name: str) -> None:
    """Save the weights of EfficientNet-Lite0 without its classifier."""
    from espalier.models.encoders.lite0 import renamed

    tensors = renamed(torch.load(member, weights_only=True))
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / WEIGHTS)


def whisper(member: Path, folder: Path, name: str) -> None:
    """Save Whisper's encoder."""
    from espalier.models.encoders.whisper_file import read_encoder

    tensors = read_encoder(member)
    save_file({key: value.contiguous() for key, value in tensors.items()}, folder / WEIGHTS)


# By the form of the member: takes its path, the folder to fill and the model's name.
CONVERTERS: dict[str, Callable[[Path, Path, str], None]] = {
    "gguf": language_model,
    "lite0": lite0,
    "whisper": whisper,
}
