"""A model that sees or hears by itself: what its own encoder makes of media, and how its layers take that.

What the language model inside is given of a medium is caught where the model hands it on, so that no type's
code is known here: the embeddings, and further features for its deeper layers. They are kept on disk as those
of other encoders are. Whether a picture's tokens see each other both ways is told by trying, and a model that
takes media in yet another way is refused.
"""

from __future__ import annotations

from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from functools import cache, partial
from hashlib import sha256
from inspect import signature
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import nn

from espalier.core.errors import ModelError
from espalier.core.files import content_hash
from espalier.core.records import Media
from espalier.encode.media import SOFT, block
from espalier.models.call import call_model
from espalier.models.encoders.encoders import Encoder
from espalier.models.inside import language_model, outside
from espalier.models.media import Drawn, Grid, Manner, MediaEmbedding, media_embedding

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping, Sequence

    from transformers import PreTrainedModel

    from espalier.media.pictures import Picture
    from espalier.media.sounds import Sound
    from espalier.models.encoders.features import KeptFeatures
    from espalier.models.multimodal.processors import Asked, Kind, Processor

# What a processor gives besides media's values: of these the model makes its masks.
TYPES = ("token_type_ids", "mm_token_type_ids")
# Largest relative gap between what the model says of a medium here and by transformers' own code, in fp32.
GAP = 1e-3


@dataclass(frozen=True)
class Given:
    """What a language model is given of a medium of N tokens.

    Attributes:
        embeddings: in their place [N, D].
        deeper: added to what its first layers say of them [L, N, D].
    """

    embeddings: torch.Tensor
    deeper: tuple[torch.Tensor, ...]


class _Caught(Exception):
    """Ends a forward at the language model."""


@contextmanager
def _catching(model: PreTrainedModel) -> Generator[dict[str, Any]]:
    """Catch what the language model inside is called with, and go no further."""
    found: dict[str, Any] = {}

    def catch(_: nn.Module, args: tuple[Any, ...], given: dict[str, Any]) -> None:
        found.update(given)
        raise _Caught

    hook = language_model(model).register_forward_pre_hook(catch, with_kwargs=True)
    try:
        yield found
    finally:
        hook.remove()


def given_of(model: PreTrainedModel, asked: Asked) -> Given:
    """Return what the language model is given of a medium.

    Raises:
        ModelError: the model does not hand media on as embeddings.
    """
    with _catching(model) as found, suppress(_Caught):
        _called(model, asked)
    if (embeddings := found.get("inputs_embeds")) is None or not asked.places.any():
        raise ModelError(
            f"{type(model).__name__} does not give its language model media as embeddings.",
            where=str(model.name_or_path),
            hint="docs/media.md lists the types that can be tuned with pictures and sounds.",
        )
    deeper = found.get("deepstack_visual_embeds") or ()
    return Given(embeddings[0, asked.places], tuple(deeper))


def _called(model: PreTrainedModel, asked: Asked) -> Any:
    """Return what transformers' own forward says of a medium."""
    inputs = {name: _on(model, value) for name, value in asked.inputs.items()}
    return cast("Any", model)(**inputs, use_cache=False)


def _joined(given: Given) -> torch.Tensor:
    """Return what is given as one tensor, further features behind [N, D · (1 + L)]."""
    return torch.cat([given.embeddings, *given.deeper], -1)


def _on(model: PreTrainedModel, value: Any) -> Any:
    if not isinstance(value, torch.Tensor):
        return value
    return value.to(model.device, model.dtype if value.is_floating_point() else None)


def encoders_of(processor: Processor, model: PreTrainedModel | None) -> dict[str, Encoder]:
    """Return what a model makes of media itself, by kind; without it, how many tokens it makes of them.

    Raises:
        ModelError: the model takes media in a way that is not known here.
    """
    if model is None:
        return {kind: _encoder(processor, kind) for kind in processor.kinds}
    weights = encoder_hash(model)
    return {
        kind: _encoding(processor, kind, model, weights, _tried(model, processor, kind))
        for kind in processor.kinds
    }


def encoders_by(
    processor: Processor, model: PreTrainedModel, known: Mapping[str, Encoder]
) -> dict[str, Encoder]:
    """Return the encoders of a model that were found before, by a processor with other settings."""
    return {
        kind: _encoding(processor, kind, model, known[kind].weights, known[kind].manner)
        for kind in processor.kinds
    }


def _encoder(processor: Processor, kind: Kind) -> Encoder:
    return Encoder(
        name=f"{processor.name}'s own",
        kind=kind,
        width=0,
        settings={"processor": processor.settings},
        weights="",
        length=lambda size: processor.expansion(kind, size).ids.count(SOFT),
        encode=_none,
        longest=processor.longest if kind == "audio" else None,
        dtype=torch.float32,
        shown=processor.shown(kind),
        expansion=partial(processor.expansion, kind),
    )


def _encoding(
    processor: Processor, kind: Kind, model: PreTrainedModel, weights: str, manner: Manner
) -> Encoder:
    return replace(
        _encoder(processor, kind),
        width=model.config.get_text_config().hidden_size * (1 + manner.deeper),
        weights=weights,
        encode=partial(_encode, model, processor, kind),
        grid=cache(partial(_grid, model, processor, kind)) if manner.grids else None,
        asked=partial(processor.asked, kind),
        manner=manner,
    )


def _none(_: Sequence[Path]) -> list[torch.Tensor]:
    raise AssertionError("without its model nothing is encoded")


@torch.inference_mode()
def _encode(
    model: PreTrainedModel, processor: Processor, kind: Kind, paths: Sequence[Path]
) -> list[torch.Tensor]:
    """Return what the language model is given of each file [N, D · (1 + L)], further features behind."""
    out: list[torch.Tensor] = []
    for path in paths:
        out.append(_joined(given_of(model, processor.asked(kind, path))).float().cpu())
    return out


def _turns(model: PreTrainedModel) -> bool:
    """Say whether the model has positions of several dimensions, as M-RoPE (arXiv 2409.12191)."""
    return "get_rope_index" in dir(type(_inner(model)))


def _inner(model: PreTrainedModel) -> Any:
    return cast("Any", model).base_model


def _grid(model: PreTrainedModel, processor: Processor, kind: Kind, size: Picture | Sound) -> Grid:
    """Return where a medium's tokens are."""
    asked = processor.blank(kind, size)
    find = _inner(model).get_rope_index
    known = {name: asked.inputs[name] for name in signature(find).parameters if name in asked.inputs}
    positions, _ = find(**known)
    places = asked.places.numpy()
    found = positions[-3:, 0].numpy().astype(np.int64)
    last = np.flatnonzero(places)[-1]
    start = int(np.flatnonzero(places)[0])
    return Grid(found[:, places] - start, int(found[0, last + 1]) - start)


def encoder_hash(model: PreTrainedModel) -> str:
    """Return a hash of the weights outside the language model: what features depend on."""
    digest = sha256()
    for name, weight in sorted(outside(model).items()):
        digest.update(name.encode())
        digest.update(weight.detach().float().cpu().contiguous().numpy().tobytes())
    return content_hash([digest.hexdigest()])


@dataclass(frozen=True)
class Encoding:
    """A model's own encoder at work, through which gradients reach what is trained of it.

    Attributes:
        model: in a tuple of one, since a part of the model holds this.
    """

    model: tuple[PreTrainedModel]

    def __call__(self, media: Media) -> torch.Tensor:
        """Return what the language model is given of a medium [N, D · (1 + L)]."""
        embedding = cast("MediaEmbedding", media_embedding(self.model[0]))
        encoder, _ = cast("KeptFeatures", embedding.features).usable(media)
        assert encoder.asked
        return _joined(given_of(self.model[0], encoder.asked(Path(media.uri))))


def see(model: PreTrainedModel, features: KeptFeatures) -> PreTrainedModel:
    """Return a model that sees or hears by itself, ready for ids of media; its encoder is frozen."""
    for weight in outside(model).values():
        weight.requires_grad_(False)
    embedding = MediaEmbedding(_words(model), {}, features, features.manner)
    embedding.encode = Encoding((model,))
    model.set_input_embeddings(embedding)
    if embedding.manner.deeper:
        language_model(model).register_forward_pre_hook(embedding.hand_on, with_kwargs=True)
    return model


def _words(model: PreTrainedModel) -> nn.Module:
    return cast("nn.Module", model.get_input_embeddings())


@torch.inference_mode()
def _tried(model: PreTrainedModel, processor: Processor, kind: Kind) -> Manner:
    """Return how a model takes media: the way in which it says what transformers' own code says.

    Raises:
        ModelError: no way does.
    """
    asked, found = processor.drawn(kind), processor.sample(kind)
    given, wanted = given_of(model, asked), _called(model, asked).logits[0]
    media = Media(kind, "a drawn one", sha256(f"drawn {kind}".encode()).hexdigest())
    ids = asked.inputs["input_ids"].numpy().copy()
    ids[:, asked.places.numpy()] = block(media, len(given.embeddings))
    drawn = Drawn(
        _joined(given),
        _grid(model, processor, kind, found) if _turns(model) else None,
    )
    words, never = _words(model), processor.never(kind)
    types = [
        name for name in TYPES if name in asked.inputs and name in signature(type(model).forward).parameters
    ]
    for name in ("", *types):
        manner = Manner(len(given.deeper), drawn.where is not None, never, name)
        embedding = MediaEmbedding(words, {}, drawn, manner)
        model.set_input_embeddings(embedding)
        hook = language_model(model).register_forward_pre_hook(embedding.hand_on, with_kwargs=True)
        try:
            gap = (call_model(model, ids)[0] - wanted).norm() / wanted.norm()
        finally:
            hook.remove()
            model.set_input_embeddings(words)
        if gap < GAP:
            return manner
    raise ModelError(
        f"{type(model).__name__} takes {kind} in a way that is not known here: what it says of one differs "
        f"from what transformers' own code says (by {gap:.1g} of it).",
        where=str(model.name_or_path),
        hint="docs/media.md lists the types that can be tuned with pictures and sounds.",
    )
