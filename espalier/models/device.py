"""The device that a recipe names."""

from __future__ import annotations

import torch

from espalier.core.errors import ModelError


def device_of(wish: str) -> torch.device:
    """Return the device that the recipe names; 'auto' is the first GPU, or the CPU. Raises ModelError."""
    if wish == "auto":
        return torch.device("cuda" if torch.cuda.is_available() else "cpu")
    try:
        device = torch.device(wish)
    except RuntimeError:
        raise ModelError(
            f"There is no device '{wish}'.",
            where="model.device",
            hint="Known: auto, cpu, cuda, cuda:1, mps, …",
        ) from None
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError, NotImplementedError) as error:
        reason = str(error).split("\n", 1)[0].rstrip(".")
        raise ModelError(f"The device '{wish}' cannot be used: {reason}.", where="model.device") from None
    return device
