"""Models by name: a bundled one, a folder in Hugging Face layout, or a hub id, in one place of the recipe."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from espalier.core.errors import ModelError, nearest
from espalier.core.files import content_hash, file_sha256
from espalier.encode.template import Template
from espalier.models.bundled import KNOWN, fetch

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Loaded:
    """A model in fp32 with its tokenizer and template.

    Attributes:
        weights: hash of the weight files, part of every generation's key.
    """

    name: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    template: Template
    weights: str


def find_model(name: str, cache: Path, say: Callable[[str], None] = lambda _: None) -> str:
    """Return what transformers can load for a model's name: a folder, or the hub id itself.

    Raises:
        ModelError: neither a bundled name, nor a folder with a model, nor of the form of a hub id.
    """
    if name in KNOWN:
        return str(fetch(name, cache, say))
    folder = Path(name)
    if folder.is_dir():
        _check_folder(folder)
        return str(folder)
    if name.count("/") != 1 or name.startswith((".", "/", "~")):
        raise ModelError(
            f"There is no model '{name}': it is no bundled name, no folder and no hub id (owner/model).",
            where="model.name",
            hint=nearest(name, KNOWN),
        )
    return name


def load_tokenizer(place: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a folder or hub id. Raises ModelError."""
    try:
        return AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"The tokenizer cannot be loaded: {_first_line(error)}", where=place) from None


def load_model(place: str, name: str = "") -> Loaded:
    """Load a folder or hub id in fp32, ready for training or decoding.

    Raises:
        ModelError: the weights cannot be loaded, or the model is not a decoder that writes text.
        TemplateError: the tokenizer has no usable chat template.
    """
    tokenizer = load_tokenizer(place)
    template = Template(cast("Any", tokenizer))
    logging.disable_progress_bar()
    try:
        model = AutoModelForCausalLM.from_pretrained(place, dtype=torch.float32, attn_implementation="sdpa")
    except (OSError, ValueError, KeyError, RuntimeError) as error:
        hint = "Without the hub, use a bundled model (`espalier models`) or a local folder."
        is_hub = not Path(place).is_dir()
        raise ModelError(
            f"The model cannot be loaded: {_first_line(error)}", where=place, hint=hint if is_hub else ""
        ) from None
    model.eval()
    return Loaded(name or place, model, tokenizer, template, weights_hash(place, model))


def weights_hash(place: str, model: PreTrainedModel) -> str:
    """Return the hash of a model's weight files, or of its configuration where it comes from the hub."""
    files = sorted(Path(place).glob("*.safetensors")) if Path(place).is_dir() else []
    if files:
        return content_hash([file_sha256(file) for file in files])
    return content_hash([place, model.config.to_dict()])


def _check_folder(folder: Path) -> None:
    """Refuse a folder that lacks a part, and say which."""
    if not (folder / "config.json").exists():
        raise ModelError("The folder holds no config.json, so it is not a model folder.", where=str(folder))
    if not any(folder.glob("tokenizer*")):
        raise ModelError(
            "The model folder holds no tokenizer.",
            where=str(folder),
            hint="Save it beside the weights with tokenizer.save_pretrained(FOLDER).",
        )
    if not any(folder.glob("*.safetensors")) and not any(folder.glob("*.bin")):
        raise ModelError("The model folder holds no weights (*.safetensors).", where=str(folder))


def _first_line(error: Exception) -> str:
    text = str(error).strip().split("\n", 1)[0]
    return text or type(error).__name__
