"""Block expansion: new transformer blocks among the frozen ones, each the identity until it is trained.

LLaMA Pro (Wu et al. 2024, arXiv 2401.02415). Zero output matrices get a gradient at once; the rest of a new
block follows as soon as they have left zero.
"""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Literal

import torch
from torch import nn

from espalier.core.errors import ModelError
from espalier.models.inside import language_model

if TYPE_CHECKING:
    from transformers import PreTrainedModel

Place = Literal["between", "top"]

# The parts of a block whose output goes to the residual stream, by the names that transformers gives them.
WRITERS = {"o_proj", "down_proj", "dense", "dense_4h_to_h", "c_proj", "out_proj", "fc2", "fc_out", "wo", "w2"}


def expand(model: PreTrainedModel, count: int, place: Place) -> PreTrainedModel:
    """Add `count` new blocks to the model in place, frozen but for these.

    Each is a copy of the block below it whose output matrices are zero, so that it adds nothing at first. The
    model stays one of its class, with more layers.

    Raises:
        ModelError: copies of its blocks do not become the identity that way.
    """
    model.requires_grad_(False)
    before = _trial(model)
    old = list(blocks(model))
    below = _below(len(old), count, place)
    new: list[nn.Module] = []
    for index, block in enumerate(old):
        new += [block, *(_identity(block) for _ in range(below.count(index)))]
    _put(model, new, [index for index in range(len(old)) for _ in range(1 + below.count(index))])
    if not torch.equal(_trial(model), before):
        raise ModelError(
            "A copy of this model's blocks does not become the identity by zeros in its output matrices.",
            where="train.method",
        )
    return model


def blocks(model: PreTrainedModel) -> nn.ModuleList:
    """Return the model's transformer blocks, lowest first. Raises ModelError."""
    count = model.config.get_text_config().num_hidden_layers
    for part in language_model(model).modules():
        if isinstance(part, nn.ModuleList) and len(part) == count:
            return part
    raise ModelError(f"The model has no list of its {count} blocks.", where="train.method")


def _below(old: int, count: int, place: Place) -> list[int]:
    """Return the old block below each new one; between, they end groups of equal size, the last on top."""
    if place == "top":
        return [old - 1] * count
    return [max(0, round((number + 1) * old / count) - 1) for number in range(count)]


def _identity(block: nn.Module) -> nn.Module:
    """Return a copy that adds nothing to the residual stream, with all its weights to be trained."""
    twin = copy.deepcopy(block).requires_grad_(True)
    for name, weight in twin.named_parameters():
        if WRITERS.intersection(name.split(".")):
            nn.init.zeros_(weight)
    return twin


def _put(model: PreTrainedModel, new: list[nn.Module], sources: list[int]) -> None:
    """Put the blocks in the place of the old ones, and tell them and the configuration where each one is."""
    held = blocks(model)
    config = model.config.get_text_config()
    del held[:]
    held.extend(new)
    config.num_hidden_layers = len(new)
    sorts = config.to_dict().get("layer_types")
    if sorts:
        config.layer_types = [sorts[source] for source in sources]
    for place, block in enumerate(new):
        for part in block.modules():
            if "layer_idx" in vars(part):
                vars(part)["layer_idx"] = place


@torch.no_grad()
def _trial(model: PreTrainedModel) -> torch.Tensor:
    """Return the logits of a few tokens."""
    training = model.training
    ids = torch.arange(8, device=model.device)[None]
    logits = model.eval()(input_ids=ids, use_cache=False).logits
    model.train(training)
    return logits
