"""Models by name: a bundled one, a folder in Hugging Face layout, or a hub id, in one place of the recipe."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import AutoModelForCausalLM, AutoTokenizer
from transformers.utils import logging

from espalier.core.errors import ModelError, nearest
from espalier.core.files import content_hash, file_sha256
from espalier.encode.template import Template
from espalier.models.bundled import KNOWN, fetch

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel, PreTrainedTokenizerBase


ADAPTER = "adapter_model.safetensors"


@dataclass(frozen=True)
class Loaded:
    """A model in fp32 with its tokenizer and template.

    Attributes:
        place: the folder or hub id it was loaded from.
        weights: hash of the weight files, part of every generation's key.
    """

    place: str
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


def load_template(place: str) -> Template:
    """Return the rendering of a folder or hub id, without its weights. Raises ModelError, TemplateError."""
    return Template(cast("Any", load_tokenizer(place)))


def load_model(place: str, device: torch.device | str = "cpu") -> Loaded:
    """Load a folder or hub id in fp32 onto a device, ready for training or decoding.

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
    nn.Module.to(model.eval(), device)
    return Loaded(place, model, tokenizer, template, weights_hash(place, model))


def save_tuned(model: PreTrainedModel, base: Loaded, folder: Path) -> None:
    """Save a tuned model with its tokenizer, all or nothing; an adapter stays an adapter.

    Raises:
        ModelError: the disk is full or the folder cannot be written.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    logging.disable_progress_bar()
    try:
        shutil.rmtree(partial, ignore_errors=True)
        model.save_pretrained(str(partial))
        base.tokenizer.save_pretrained(str(partial))
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"The tuned model cannot be saved: {_first_line(error)}",
            where=str(folder),
            hint="Free some space and run the same command again; it goes on from the last checkpoint.",
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_tuned(folder: Path, base: str, device: torch.device | str = "cpu") -> Loaded:
    """Load what `save_tuned` saved; `base` is where an adapter's base model is.

    Raises:
        ModelError: a part is missing or cannot be loaded.
    """
    if not (folder / ADAPTER).exists():
        _check_folder(folder)
        return load_model(str(folder), device)
    from peft import PeftModel

    loaded = load_model(base, device)
    model = PeftModel.from_pretrained(loaded.model, str(folder))
    both = content_hash([loaded.weights, file_sha256(folder / ADAPTER)])
    return replace(loaded, place=str(folder), model=cast("PreTrainedModel", model).eval(), weights=both)


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
