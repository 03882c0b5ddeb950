"""Models by name: a bundled one, a folder in Hugging Face layout, or a hub id, in one place of the recipe."""

from __future__ import annotations

import copy
import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from huggingface_hub import snapshot_download
from safetensors import SafetensorError
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, AutoModelForSequenceClassification, AutoTokenizer
from transformers.utils import logging

from espalier.core.errors import DataError, ModelError, nearest
from espalier.core.files import content_hash, file_sha256, read_json
from espalier.encode.template import Template
from espalier.models.adapters import ADAPTER, CONFIG, add_weights, save_weights
from espalier.models.bundled import KNOWN, fetch
from espalier.models.reward import padding, rates, reward_model
from espalier.models.soft_prompt import virtual_ids

if TYPE_CHECKING:
    from collections.abc import Callable

    from transformers import PreTrainedModel, PreTrainedTokenizerBase


@dataclass(frozen=True)
class Loaded:
    """A model in fp32 with its tokenizer and template.

    Attributes:
        place: the folder it was loaded from.
        weights: hash of the weight files, part of every generation's key.
    """

    place: str
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    template: Template
    weights: str


def find_model(name: str, cache: Path, say: Callable[[str], None] = lambda _: None) -> str:
    """Return the folder of a model by its name; a bundled one or one of the hub is brought first.

    Raises:
        ModelError: neither a bundled name, nor a folder with a model, nor a model of the hub.
    """
    if name in KNOWN:
        return str(fetch(name, cache, say))
    folder = Path(name)
    if not os.path.isdir(name):
        if name.count("/") != 1 or name.startswith((".", "/", "~")):
            raise ModelError(
                f"There is no model '{name}': it is no bundled name, no folder and no hub id (owner/model).",
                where="model.name",
                hint=nearest(name, KNOWN),
            )
        say(f"Asking the hub for {name}")
        folder = _from_hub(name)
    _check_folder(folder)
    return str(folder)


def _from_hub(name: str) -> Path:
    """Return the folder of a hub model, from the hub's own cache where there is no network.

    transformers could be given the id itself, but without a network it tries for 46 s before it says so.
    """
    kept = ["*.json", "*.jinja", "*.model", "*.txt", "*.safetensors"]
    try:
        return Path(snapshot_download(name, allow_patterns=kept, ignore_patterns=["*/*"]))
    except (OSError, ValueError) as error:
        raise ModelError(
            f"There is no such folder, and the hub cannot be asked for it: {_first_line(error)}",
            where=name,
            hint="Without the hub, use a bundled model (`espalier models`) or a local folder.",
        ) from None


def load_tokenizer(place: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model folder. Raises ModelError."""
    try:
        return AutoTokenizer.from_pretrained(place)
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(f"The tokenizer cannot be loaded: {_first_line(error)}", where=place) from None


def load_template(place: str) -> Template:
    """Return the rendering of a model folder, without its weights. Raises ModelError, TemplateError."""
    return _template(place, load_tokenizer(place))


def _template(place: str, tokenizer: PreTrainedTokenizerBase) -> Template:
    try:
        config = AutoConfig.from_pretrained(place).get_text_config()
    except (OSError, ValueError, KeyError) as error:
        raise ModelError(
            f"The model's configuration cannot be loaded: {_first_line(error)}", where=place
        ) from None
    try:  # not from its dictionary: GPT-2 and others have another name for it there
        context = config.max_position_embeddings or sys.maxsize
    except AttributeError:
        context = sys.maxsize
    return Template(cast("Any", tokenizer), context)


def load_model(place: str, device: torch.device | str = "cpu") -> Loaded:
    """Load a model folder in fp32 onto a device, ready for training or decoding; or a reward model's.

    Raises:
        ModelError: the weights cannot be loaded or are not complete, or the model does not write text.
        TemplateError: the tokenizer has no usable chat template.
    """
    tokenizer = load_tokenizer(place)
    template = _template(place, tokenizer)
    logging.disable_progress_bar()
    try:
        names = read_json(Path(place) / "config.json").get("architectures") or [""]
        rating = names[0].endswith("ForSequenceClassification")
        loaded: Any = (
            AutoModelForSequenceClassification if rating else AutoModelForCausalLM
        ).from_pretrained(place, dtype=torch.float32, attn_implementation="sdpa", output_loading_info=True)
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, DataError) as error:
        raise ModelError(f"The model cannot be loaded: {_first_line(error)}", where=place) from None
    model, found = loaded
    missing = sorted(found["missing_keys"])
    if missing:
        # transformers would fill them with random numbers and say so in a log line.
        raise ModelError(
            f"The weights lack {len(missing)} of the model's tensors, such as {missing[0]}.", where=place
        )
    nn.Module.to(model.eval(), device)
    return Loaded(place, model, tokenizer, template, weights_hash(Path(place)))


def save_tuned(model: PreTrainedModel, base: Loaded, folder: Path) -> None:
    """Save a tuned model with its tokenizer, all or nothing; an adapter stays an adapter.

    Raises:
        ModelError: the disk is full or the folder cannot be written.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    logging.disable_progress_bar()
    try:
        shutil.rmtree(partial, ignore_errors=True)
        save_weights(model, partial)
        tokenizer = base.tokenizer
        if rates(model):  # what pads must not be what ends an answer
            tokenizer = copy.deepcopy(tokenizer)
            tokenizer.pad_token_id = padding(tokenizer, base.template.stop_ids)
        tokenizer.save_pretrained(str(partial))
        for file in partial.iterdir():
            file.chmod(0o644)  # safetensors makes files that only their owner can read
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

    A soft prompt's virtual tokens are the template's prefix.

    Raises:
        ModelError: a part is missing or cannot be loaded.
        MissingExtra: the adapter is one to 4-bit weights, and bitsandbytes is not installed.
    """
    if not (folder / ADAPTER).exists():
        _check_folder(folder)
        return load_model(str(folder), device)
    loaded = load_model(base, device)
    try:
        if read_json(folder / CONFIG).get("task_type") == "SEQ_CLS":
            rating = reward_model(loaded.model, loaded.tokenizer, loaded.template.stop_ids)
            loaded = replace(loaded, model=rating)
        model = add_weights(loaded.model, folder).eval()
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError, DataError) as error:
        raise ModelError(f"The adapter cannot be loaded: {_first_line(error)}", where=str(folder)) from None
    both = content_hash([loaded.weights, file_sha256(folder / ADAPTER)])
    template = loaded.template.prefixed(virtual_ids(model))
    return replace(loaded, place=str(folder), model=model, template=template, weights=both)


def weights_hash(folder: Path) -> str:
    """Return the hash of a model's weight files."""
    return content_hash([file_sha256(file) for file in _weights(folder)])


def _weights(folder: Path) -> list[Path]:
    return sorted([*folder.glob("*.safetensors"), *folder.glob("*.bin")])


def _check_folder(folder: Path) -> None:
    """Refuse a folder that lacks a part, and say which."""
    if not (folder / "config.json").exists():
        raise ModelError("The folder holds no config.json, so it is not a model folder.", where=str(folder))
    if not list(folder.glob("tokenizer*")):
        raise ModelError(
            "The model folder holds no tokenizer.",
            where=str(folder),
            hint="Save it beside the weights with tokenizer.save_pretrained(FOLDER).",
        )
    if not _weights(folder):
        raise ModelError("The model folder holds no weights (*.safetensors).", where=str(folder))


def _first_line(error: Exception) -> str:
    text = str(error).strip().split("\n", 1)[0]
    return text or type(error).__name__
