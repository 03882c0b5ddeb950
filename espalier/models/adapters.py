"""Which weights move: each tuning method is a function that prepares a model, chosen by `train.method`."""

from __future__ import annotations

import warnings
from contextlib import contextmanager
from typing import TYPE_CHECKING, TypeAlias

import torch

from espalier.core.errors import RecipeError
from espalier.core.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable, Generator

    from transformers import PreTrainedModel

# What a method returns: it marks or adds the weights to be trained and returns the model to train.
Method: TypeAlias = "Callable[[PreTrainedModel], torch.nn.Module]"

methods: Registry[Method] = Registry("method")


@methods.register("full")
def full() -> Method:
    """All weights."""

    def prepare(model: PreTrainedModel) -> torch.nn.Module:
        return model.requires_grad_(True)

    return prepare


@methods.register("lora")
def lora(*, rank: int = 16, alpha: int = 32, targets: str | list[str] = "all-linear") -> Method:
    """Low-rank updates of the linear layers (Hu et al. 2021, arXiv 2106.09685), by peft."""

    def prepare(model: PreTrainedModel) -> torch.nn.Module:
        from peft import LoraConfig, get_peft_model

        # No dropout: a dropped token would be dropped for every row that shares it.
        config = LoraConfig(
            r=rank, lora_alpha=alpha, lora_dropout=0.0, target_modules=targets, task_type="CAUSAL_LM"
        )
        try:
            with peft_as_it_is():
                return get_peft_model(model, config)
        except ValueError as error:
            raise RecipeError(f"The adapter cannot be made: {error}", where="train.method") from None

    return prepare


@contextmanager
def peft_as_it_is() -> Generator[None]:
    """Keep a warning from users who can do nothing about it: peft 0.21 asks transformers 5 by an old name."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "`is_gradient_checkpointing` is deprecated", FutureWarning)
        yield
