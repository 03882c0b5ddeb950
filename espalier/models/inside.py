"""Models that see or hear by themselves: which part is the language model, and which is not.

A layer of the encoder is none of the model's blocks: it attends in its own way, and no method tunes it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    from torch import nn
    from transformers import PreTrainedModel

# Where a configuration has those of the encoders inside a model.
ENCODERS = ("vision_config", "audio_config")
# What lies between an encoder and the language model, by the names of transformers' types.
PROJECTORS = re.compile(r"projector|connector|merger|aligner|embed_(vision|audio)")


def sees_itself(model: PreTrainedModel) -> bool:
    """Say whether a model has an encoder of its own."""
    return any(name in vars(model.config) for name in ENCODERS)


def language_model(model: PreTrainedModel) -> PreTrainedModel:
    """Return the language model inside a model with an encoder of its own; else the model."""
    return cast("Any", model).get_decoder() if sees_itself(model) else model


def outside(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return the weights that are not the language model's of a model with an encoder of its own, by name."""
    if not sees_itself(model):
        return {}
    output: Any = model.get_output_embeddings()
    inside = {id(weight) for weight in language_model(model).parameters()}
    inside |= set() if output is None else {id(weight) for weight in output.parameters()}
    return {name: weight for name, weight in model.named_parameters() if id(weight) not in inside}


def own_projector(model: PreTrainedModel) -> dict[str, nn.Parameter]:
    """Return the weights between the model's own encoder and its language model, by name."""
    return {name: weight for name, weight in outside(model).items() if PROJECTORS.search(name)}
