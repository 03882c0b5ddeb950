"""Encoders on a language model: put there with projectors, saved and loaded beside its weights or adapter.

One file holds the projectors' tensors, and in its head what they were trained on: the encoders with their
settings, and the hash of all that determines features. On other encoders they would mean nothing, and are
refused.
"""

from __future__ import annotations

import json
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import safe_open
from safetensors.torch import save_file

from espalier.core.caches import beside
from espalier.core.errors import ModelError
from espalier.core.files import content_hash
from espalier.core.recipe import Choice
from espalier.models.media import media_embedding, seeing
from espalier.models.multimodal.attached import own_tensors, read_own

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from torch import nn
    from transformers import PreTrainedModel

    from espalier.encode.template import Template
    from espalier.models.encoders.encoders import Encoder
    from espalier.models.encoders.features import KeptFeatures

FILE = "media.safetensors"


def features_of(choices: Sequence[Choice]) -> KeptFeatures:
    """Return what the chosen encoders make of media.

    Raises:
        RecipeError, ModelError: an encoder is not known or cannot be loaded, or two are of one kind.
    """
    from espalier.models.encoders.encoders import encoders  # rows of text need neither
    from espalier.models.encoders.features import KeptFeatures

    found: dict[str, Encoder] = {}
    for number, choice in enumerate(choices):
        where = f"model.encoders.{number}"
        encoder = encoders.build(choice.kind, choice.params, where)
        if encoder.kind in found:
            raise ModelError(
                f"Two encoders take {encoder.kind}: {found[encoder.kind].name} and {encoder.name}.",
                where=where,
                hint="Name one for each kind of media.",
            )
        found[encoder.kind] = encoder
    return KeptFeatures(beside("features"), found, choices)


def attach(model: PreTrainedModel, features: KeptFeatures, seed: int) -> PreTrainedModel:
    """Return the model with a fresh projector for each encoder, which follows the seed."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        return seeing(model, features.sizes, features)


def fresh_hash(weights: str, features: KeptFeatures, seed: int) -> str:
    """Return the hash of a model's weights with those of fresh projectors before it."""
    return content_hash([weights, features.keys, *([seed] if seed else [])])


def template_for(template: Template, model: nn.Module) -> Template:
    """Return the template that renders what the model takes: media too, where it has encoders."""
    embedding = media_embedding(model)
    if embedding is None:
        return template
    return template.seeing(cast("KeptFeatures", embedding.features).takes)


def write_beside(model: nn.Module, folder: Path) -> None:
    """Save the projectors of a model that has some. Raises OSError, SafetensorError."""
    embedding = media_embedding(model)
    if embedding is None:
        return
    features = cast("KeptFeatures", embedding.features)
    if not features.choices:  # they are the model's own
        if embedding.own:
            save_file(own_tensors(embedding), folder / FILE, metadata={"encoders": "[]"})
        return
    head = {
        "encoders": json.dumps([choice.model_dump() for choice in features.choices]),
        "keys": json.dumps(features.keys),
    }
    tensors = {name: one.detach().contiguous() for name, one in embedding.projectors.state_dict().items()}
    save_file(tensors, folder / FILE, metadata=head)


def chosen_beside(folder: Path) -> list[Choice]:
    """Return the encoders of the projectors that `write_beside` saved; none where it did not."""
    if not (path := folder / FILE).exists():
        return []
    with safe_open(path, framework="pt") as file:
        return _chosen(file.metadata() or {})


def _chosen(head: Mapping[str, str]) -> list[Choice]:
    return [Choice.model_validate(one) for one in json.loads(head["encoders"])]


def read_beside(model: PreTrainedModel, folder: Path) -> PreTrainedModel:
    """Return the model with the projectors that `write_beside` saved, if it did.

    Raises:
        ModelError: they were trained on other encoders, or are damaged.
    """
    path = folder / FILE
    if not path.exists():
        return model
    with safe_open(path, framework="pt") as file:
        head: dict[str, str] = file.metadata() or {}
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    if not _chosen(head):
        return read_own(model, tensors, path)
    features = features_of(_chosen(head))
    if features.keys != json.loads(head["keys"]):
        raise ModelError(
            "The projector was trained on other encoders than these, or on other settings of theirs.",
            where=str(path),
            hint="Train it again on these.",
        )
    if media_embedding(model) is None:
        model = attach(model, features, seed=0)
    embedding = media_embedding(model)
    assert embedding is not None
    try:
        embedding.projectors.load_state_dict(tensors)
    except RuntimeError:
        raise ModelError(
            "The projector does not fit the model's width.",
            where=str(path),
            hint="Put it before the model that it was trained with.",
        ) from None
    return model


@contextmanager
def blind(model: nn.Module) -> Generator[None]:
    """Take the media's part off the model meanwhile, so that it is one that transformers knows."""
    embedding = media_embedding(model)
    if embedding is None:
        yield
        return
    base = cast("Any", model)
    base.set_input_embeddings(embedding.words)
    try:
        yield
    finally:
        base.set_input_embeddings(embedding)
