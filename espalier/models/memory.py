"""Activation checkpointing: what the backward needs of a layer is computed again instead of being kept.

Only the inputs of the layers are held over the forward (Chen et al. 2016, arXiv 1604.06174), for the price of
one more forward. It is transformers' own, so that every model has it that transformers gives it to; what is
added is that a layer attends along the tree the second time too.
"""

from __future__ import annotations

import warnings
from contextlib import nullcontext
from typing import TYPE_CHECKING

from espalier.core.errors import ModelError
from espalier.models.attention import attending_again

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from torch import nn
    from transformers import PreTrainedModel


def recompute_activations(model: PreTrainedModel) -> None:
    """Let the model's layers keep nothing but their inputs while it trains; gradients stay the same bitwise.

    Evaluation and decoding compute nothing twice. Adapters may be on the model or come later.

    Raises:
        ModelError: the model's code has no such layers.
    """
    settings = {"use_reentrant": False, "context_fn": _contexts}
    try:
        with warnings.catch_warnings():  # its new name is younger than the oldest transformers that we take
            warnings.filterwarnings("ignore", "`gradient_checkpointing_enable` is deprecated", FutureWarning)
            model.gradient_checkpointing_enable(gradient_checkpointing_kwargs=settings)
    except ValueError:
        raise ModelError(
            f"{type(model).__name__} cannot compute its activations again.",
            where="train.recompute",
            hint="Take recompute = false, and a smaller train.tokens if memory is short.",
        ) from None
    # Inputs without a gradient are an affair of reentrant checkpoints, which these are not.
    model.disable_input_require_grads()


def recomputes_without_tree(part: nn.Module) -> bool:
    """Say whether a layer was told to compute again by somebody else, and so would forget the tree."""
    settings = vars(part)
    return bool(settings.get("gradient_checkpointing")) and (
        settings["_gradient_checkpointing_func"].keywords.get("context_fn") is not _contexts
    )


def _contexts() -> tuple[AbstractContextManager[None], AbstractContextManager[None]]:
    """Return what the first and the second computation of a layer run in; called within the first."""
    return nullcontext(), attending_again()
