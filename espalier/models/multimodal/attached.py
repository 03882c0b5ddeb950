"""A model that sees or hears by itself: made ready as it is loaded, and its trained projector saved."""

from __future__ import annotations

import shutil
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from espalier.core.caches import beside
from espalier.core.errors import ModelError, RecipeError
from espalier.core.files import read_json
from espalier.models.folder import PROCESSOR, is_multimodal
from espalier.models.inside import own_projector
from espalier.models.media import media_embedding

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import torch
    from torch import nn
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from espalier.models.encoders.features import KeptFeatures
    from espalier.models.media import MediaEmbedding


def sees_itself(folder: Path) -> bool:
    """Say whether a folder holds a model that sees or hears by itself."""
    config = folder / "config.json"
    return config.exists() and is_multimodal(read_json(config), folder)


def processor_template(folder: Path) -> str | dict[str, str] | None:
    """Return the chat template that a processor has, which its tokenizer may not; None where it has none."""
    if not sees_itself(folder) or (folder / "chat_template.jinja").exists():
        return None
    files = [folder / name for name in ("chat_template.json", PROCESSOR[0])]
    found = (read_json(file).get("chat_template") for file in files if file.exists())
    return next(filter(None, found), None)


def own_features(
    folder: Path,
    tokenizer: PreTrainedTokenizerBase,
    model: PreTrainedModel | None = None,
    pixels: int | None = None,
) -> KeptFeatures:
    """Return what a model that sees or hears by itself makes of media; without it, how many tokens they have.

    Raises:
        ModelError: its processor cannot be loaded, or it takes media in a way that is not known here.
        MissingExtra: pillow or soundfile is not installed.
    """
    from espalier.models.encoders.features import KeptFeatures
    from espalier.models.multimodal.own import encoders_of
    from espalier.models.multimodal.processors import Processor

    found = encoders_of(Processor(folder, tokenizer, pixels), model)
    return KeptFeatures(beside("features"), found, source=folder)


def attach_own(
    model: PreTrainedModel, folder: Path, tokenizer: PreTrainedTokenizerBase, pixels: int | None = None
) -> PreTrainedModel:
    """Return a model that sees or hears by itself, ready for ids of media. Raises as `own_features` does."""
    from espalier.models.multimodal.own import see

    return see(model, own_features(folder, tokenizer, model, pixels))


def cap_pictures(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, pixels: int) -> KeptFeatures:
    """Let a model that sees by itself have pictures of so many pixels at most. Raises RecipeError."""
    from espalier.models.multimodal.own import Encoding, encoders_by
    from espalier.models.multimodal.processors import Processor

    embedding = media_embedding(model)
    if embedding is None or not isinstance(embedding.encode, Encoding):
        raise RecipeError(
            "The model does not see by itself, and an encoder of model.encoders makes all pictures one size.",
            where="model.pixels",
            hint="Leave it out.",
        )
    known = cast("KeptFeatures", embedding.features)
    assert known.source
    processor = Processor(known.source, tokenizer, pixels)
    features = known.having(encoders_by(processor, embedding.encode.model[0], known.encoders))
    embedding.features = features
    return features


def copy_processor(model: nn.Module, folder: Path) -> None:
    """Copy the processor of a model that sees or hears by itself into a folder. Raises OSError."""
    embedding = media_embedding(model)
    source = cast("KeptFeatures", embedding.features).source if embedding else None
    for file in [source / name for name in PROCESSOR] if source else ():
        if file.exists():
            shutil.copyfile(file, folder / file.name)


def own_tensors(embedding: MediaEmbedding) -> dict[str, torch.Tensor]:
    """Return the weights of the model's own projector that were trained, by their names in the model."""
    return {name: weight.detach().contiguous() for name, weight in embedding.own.items()}


def read_own(model: PreTrainedModel, tensors: Mapping[str, torch.Tensor], path: Path) -> PreTrainedModel:
    """Return a model that sees or hears by itself with a projector of its own that was trained.

    Raises:
        ModelError: it was trained in another model.
    """
    from espalier.models.multimodal.own import encoder_hash

    embedding, weights = media_embedding(model), own_projector(model)
    if embedding is None or weights.keys() != tensors.keys():
        raise ModelError(
            "The projector was trained in another model than this, or is damaged.",
            where=str(path),
            hint="Take the model that it was trained in.",
        )
    for name, weight in weights.items():
        weight.data.copy_(tensors[name])
    known, hashed = cast("KeptFeatures", embedding.features), encoder_hash(model)
    embedding.own = weights
    embedding.features = known.having({k: replace(one, weights=hashed) for k, one in known.encoders.items()})
    return model
