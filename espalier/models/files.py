"""The files of a model's folder by their names, known without torch."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from pathlib import Path

ADAPTER, CONFIG = "adapter_model.safetensors", "adapter_config.json"


def weight_files(folder: Path) -> list[Path]:
    """Return a folder's files of weights, in order: those in safetensors, and torch's own."""
    return sorted([*folder.glob("*.safetensors"), *folder.glob("pytorch_model*.bin")])
