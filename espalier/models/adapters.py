"""Which weights move: each tuning method is a function that prepares a model, chosen by `train.method`."""

from __future__ import annotations

from typing import TYPE_CHECKING, TypeAlias

import torch

from espalier.core.registry import Registry

if TYPE_CHECKING:
    from collections.abc import Callable

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
        return get_peft_model(model, config)

    return prepare
