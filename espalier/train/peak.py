"""The most memory that a process has held: the GPU's where there is one, else its resident memory."""

from __future__ import annotations

from pathlib import Path

import torch

from espalier.core.memory import peak_resident


def peak_mb() -> float:
    """Return the peak so far, in MB: since `forget_peak`, or else since the process began."""
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 1e6
    return peak_resident() / 1e6


def peak_bytes() -> float:
    """Return the same in bytes."""
    return peak_mb() * 1e6


def forget_peak() -> bool:
    """Let the peak start anew from what is held now; return whether this system can."""
    if torch.cuda.is_available():
        torch.cuda.reset_peak_memory_stats()
        return True
    try:
        Path("/proc/self/clear_refs").write_text("5")
    except OSError:
        return False
    return True
