"""Linear layers in 4 bits, NF4 with double quantisation (QLoRA, arXiv 2305.14314), by bitsandbytes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

from torch import nn

from espalier.core.errors import MissingExtra

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel

MARK = "is_loaded_in_4bit"  # what peft goes by


def bitsandbytes() -> Any:
    """Return the library's layers. Raises MissingExtra."""
    try:
        from bitsandbytes import nn as layers  # pyright: ignore[reportMissingImports]
    except ImportError:
        raise MissingExtra("Training on 4-bit weights", "qlora") from None
    return layers


def to_4_bits(model: PreTrainedModel) -> PreTrainedModel:
    """Quantise every linear layer but the output head, in place. Raises MissingExtra."""
    library = bitsandbytes()

    def quantised(linear: nn.Linear) -> nn.Module:
        twin = library.Linear4bit(
            linear.in_features, linear.out_features, linear.bias is not None, quant_type="nf4", device="meta"
        )
        twin.weight = library.Params4bit(
            linear.weight.data, requires_grad=False, quant_type="nf4", module=twin
        )
        twin.bias = linear.bias
        # On some processors it would repack its weights when it is first evaluated, and then not train.
        twin.support_avx512bf16_for_cpu = False
        return twin.to(linear.weight.device)

    _replace(model, nn.Linear, quantised)
    vars(model)[MARK] = True
    return model


def from_4_bits(model: PreTrainedModel) -> PreTrainedModel:
    """Give the layers of `to_4_bits` plain weights of the same values, in place; others stay."""

    def plain(linear: Any) -> nn.Module:
        from bitsandbytes.functional import dequantize_4bit  # pyright: ignore[reportMissingImports]

        twin = nn.Linear(linear.in_features, linear.out_features, linear.bias is not None, device="meta")
        twin.weight = nn.Parameter(dequantize_4bit(linear.weight.data, linear.weight.quant_state))
        twin.bias = linear.bias
        return twin

    if is_quantised(model):
        _replace(model, bitsandbytes().Linear4bit, plain)
        del vars(model)[MARK]
    return model


def is_quantised(model: nn.Module) -> bool:
    """Whether the model's linear layers are in 4 bits."""
    return MARK in vars(model)


def _replace(model: PreTrainedModel, sort: type[nn.Module], new: Callable[[Any], nn.Module]) -> None:
    head = model.get_output_embeddings()
    for name, part in list(model.named_modules()):
        if type(part) is sort and part is not head:
            model.set_submodule(name, new(cast("Any", part)).requires_grad_(False))
