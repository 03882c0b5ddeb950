"""A copy of a model in fp64, in which two ways of computing the same agree to the last digits."""

from __future__ import annotations

import copy
from typing import cast

from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel


def in_fp64(model: nn.Module) -> PreTrainedModel:
    """Return a copy in fp64; its experts are computed one by one, since the grouped kernels know no fp64."""
    twin = copy.deepcopy(model).double()
    base = cast("PreTrainedModel", twin.get_base_model() if isinstance(twin, PeftModel) else twin)
    if base._can_set_experts_implementation():
        base.set_experts_implementation("eager")
    return cast("PreTrainedModel", twin)
