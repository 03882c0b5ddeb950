"""Whisper's encoder out of a file of CTranslate2, in which a package ships it.

The file: a version, the model's name, a revision, and its tensors, each with its name, shape and type; little
endian, texts by their length with a zero at the end. Queries, keys and values are one matrix there; keys have
no bias in Whisper (Radford et al. 2022, arXiv 2212.04356), and that is checked.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np
import torch

from espalier.core.errors import ModelError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from numpy.typing import NDArray

TYPES = (np.float32, np.int8, np.int16, np.int32, np.float16)
# Of tiny.en; a file of another size is refused by its shapes.
SHAPE = {"d_model": 384, "encoder_layers": 4, "encoder_attention_heads": 6, "encoder_ffn_dim": 1536}


def read_encoder(path: Path) -> dict[str, torch.Tensor]:
    """Return the encoder's tensors, fp32, by the names of transformers' `WhisperEncoder`.

    Raises:
        ModelError: the file is of another kind.
    """
    with path.open("rb") as file:
        found = {name: torch.from_numpy(value.astype(np.float32)) for name, value in _tensors(file)}
    try:
        return dict(_renamed({name.removeprefix("encoder/"): one for name, one in found.items()}))
    except (KeyError, ValueError) as error:
        raise ModelError(f"The file holds no encoder of Whisper: {error}.", where=str(path)) from None


def _tensors(file: BinaryIO) -> Iterator[tuple[str, NDArray[Any]]]:
    _number(file, "<I")
    _text(file)
    _number(file, "<I")
    for _ in range(_number(file, "<I")):
        name = _text(file)
        shape = [_number(file, "<I") for _ in range(_number(file, "<B"))]
        kind = TYPES[_number(file, "<B")]
        yield name, np.frombuffer(file.read(_number(file, "<I")), kind).reshape(shape)


def _number(file: BinaryIO, form: str) -> int:
    return int(struct.unpack(form, file.read(struct.calcsize(form)))[0])


def _text(file: BinaryIO) -> str:
    return file.read(_number(file, "<H")).rstrip(b"\0").decode()


def _renamed(found: dict[str, torch.Tensor]) -> Iterator[tuple[str, torch.Tensor]]:
    for number in (1, 2):
        yield f"conv{number}.weight", found[f"conv{number}/weight"]
        yield f"conv{number}.bias", found[f"conv{number}/bias"]
    yield "embed_positions.weight", found["position_encodings/encodings"]
    yield from _norm(found, "layer_norm", "layer_norm")
    for number in range(SHAPE["encoder_layers"]):
        there, here = f"layer_{number}", f"layers.{number}"
        yield from _norm(found, f"{there}/self_attention/layer_norm", f"{here}.self_attn_layer_norm")
        yield from _norm(found, f"{there}/ffn/layer_norm", f"{here}.final_layer_norm")
        weights = found[f"{there}/self_attention/linear_0/weight"].chunk(3)
        biases = found[f"{there}/self_attention/linear_0/bias"].chunk(3)
        if biases[1].any():
            raise ValueError("its keys have a bias")
        for name, weight, bias in zip(("q_proj", "k_proj", "v_proj"), weights, biases, strict=True):
            yield f"{here}.self_attn.{name}.weight", weight
            if name != "k_proj":
                yield f"{here}.self_attn.{name}.bias", bias
        for theirs, ours in (
            ("self_attention/linear_1", "self_attn.out_proj"),
            ("ffn/linear_0", "fc1"),
            ("ffn/linear_1", "fc2"),
        ):
            yield f"{here}.{ours}.weight", found[f"{there}/{theirs}/weight"]
            yield f"{here}.{ours}.bias", found[f"{there}/{theirs}/bias"]


def _norm(found: dict[str, torch.Tensor], there: str, here: str) -> Iterator[tuple[str, torch.Tensor]]:
    yield f"{here}.weight", found[f"{there}/gamma"]
    yield f"{here}.bias", found[f"{there}/beta"]
