"""Media before a language model: an embedding that looks words up, and projects what encoders made of media.

The ids of media are past every vocabulary (`encode/media.py`), so that trees, batches and decoding need no
word of them, as with `soft_prompt.py`. A medium that many rows share is one node of the tree: its features
are looked up once and projected once. The encoders are in `encoders.py`.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Protocol, cast

import torch
from torch import nn

from espalier.core.errors import RecipeError
from espalier.encode.media import FIRST, PLACES, medium

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedModel

    from espalier.core.records import Media
    from espalier.models.soft_prompt import Written

TYPE = "PROJECTOR"


class Features(Protocol):
    """What encoders made of media."""

    def of(self, media: Media) -> torch.Tensor:
        """Return a medium's features [N, F]."""
        ...


class Projector(nn.Module):
    """From an encoder's features [N, F] to a language model's embeddings [N, D], by a linear map.

    Before it stands a norm without weights: encoders differ in scale by orders, and a rate is to mean the
    same for all. LLaVA (arXiv 2304.08485) has such a map.
    """

    def __init__(self, features: int, width: int) -> None:
        super().__init__()
        self.map = nn.Linear(features, width)

    def forward(self, features: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of features [..., F] as [..., D]."""
        return self.map(self.normed(features))

    def normed(self, features: torch.Tensor) -> torch.Tensor:
        """Return what the map is given of features [..., F]."""
        return nn.functional.layer_norm(features, features.shape[-1:])


class MediaEmbedding(nn.Module):
    """A model's embedding of words [V, D], and of media whose ids lie past `encode.media.FIRST`.

    Attributes:
        projected: tokens of media that were projected so far, for the account of a run.
    """

    def __init__(self, words: nn.Module, projectors: dict[str, Projector], features: Features) -> None:
        super().__init__()
        self.words = words
        self.projectors = nn.ModuleDict(projectors)
        self.features = features
        self.projected = 0

    @property
    def weight(self) -> torch.Tensor:
        """The words' embedding, which an output head may be tied to."""
        return cast("torch.Tensor", self.words.weight)

    def projector(self, kind: str) -> Projector:
        """Return the projector of a kind of media."""
        return cast("Projector", self.projectors[kind])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of ids [..., T] as [..., T, D]."""
        media = ids >= FIRST
        out: torch.Tensor = self.words(ids.masked_fill(media, 0))
        if not media.any():
            return out
        return out.index_put((media,), self._projected(ids[media]).to(out))

    def _projected(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the embeddings [M, D] of media's ids [M], each distinct one projected once."""
        distinct, back = ids.unique(return_inverse=True)
        self.projected += len(distinct)
        rows: dict[str, list[torch.Tensor]] = {}
        order: dict[str, list[torch.Tensor]] = {}
        _, counts = (distinct - FIRST).div(PLACES, rounding_mode="floor").unique(return_counts=True)
        start = 0
        for count in counts.tolist():
            places = torch.arange(start, start + count, device=ids.device)
            media = medium(int(distinct[start]))
            kind, features = media.kind, self.features.of(media)
            wanted = ((distinct[places] - FIRST) % PLACES).cpu()
            rows.setdefault(kind, []).append(features[wanted].to(self._like(kind)))
            order.setdefault(kind, []).append(places)
            start += count
        parts = [self.projector(kind)(torch.cat(of_kind)) for kind, of_kind in rows.items()]
        places = torch.cat([place for kind in rows for place in order[kind]])
        return torch.cat(parts)[places.argsort()][back]

    def _like(self, kind: str) -> torch.Tensor:
        return self.projector(kind).map.weight


def seeing(model: PreTrainedModel, sizes: dict[str, int], features: Features) -> PreTrainedModel:
    """Return the model with an embedding that takes media of these kinds, by the size of their features."""
    words = cast("nn.Module", model.get_input_embeddings())
    width = model.config.get_text_config().hidden_size
    projectors = {kind: Projector(size, width).to(model.device) for kind, size in sizes.items()}
    model.set_input_embeddings(MediaEmbedding(words, projectors, features))
    return model


def only_projectors(model: PreTrainedModel) -> PreTrainedModel:
    """Freeze all but the projectors. Raises RecipeError where the model has none."""
    if media_embedding(model) is None:
        raise RecipeError(
            "The model has no projector to train.",
            where="train.method",
            hint='Name an encoder: model.encoders = ["efficientnet-lite0"].',
        )
    return model.requires_grad_(False)


def write(model: PreTrainedModel) -> Written | None:
    """Say that a model's projectors are all that was trained; their tensors are in a file of their own."""
    embedding = media_embedding(model)
    own = set(embedding.projectors.parameters()) if embedding else set[nn.Parameter]()
    if not own or any(one.requires_grad and one not in own for one in model.parameters()):
        return None
    if not any(one.requires_grad for one in own):
        return None
    return {"peft_type": TYPE, "base_model_name_or_path": model.name_or_path}, {}


def read(model: PreTrainedModel, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Leave the model as it is: `encoders/attached.py` has read the projectors."""


def media_embedding(model: nn.Module) -> MediaEmbedding | None:
    """Return the part of a model that takes media, if it has one."""
    return next((part for part in model.modules() if isinstance(part, MediaEmbedding)), None)
