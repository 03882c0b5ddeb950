"""Media before a language model: an embedding that looks words up, and projects what encoders made of media.

The ids of media are past every vocabulary (`encode/media.py`), so that trees, batches and decoding need no
word of them, as with `soft_prompt.py`. A medium that many rows share is one node of the tree: its features
are looked up once and projected once. The encoders are in `encoders.py`.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Protocol, cast

import numpy as np
import torch
from peft import PeftModel
from torch import nn
from transformers import PreTrainedModel

from espalier.core.errors import RecipeError
from espalier.core.records import Media
from espalier.encode.media import FIRST, PLACES, block, medium
from espalier.encode.tree import row_path
from espalier.models.inside import own_projector

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping, Sequence

    from espalier.encode.tree import Ints, Tree
    from espalier.models.soft_prompt import Written

TYPE = "PROJECTOR"


@dataclass(frozen=True, eq=False)
class Grid:
    """Where a medium's N tokens are for a model whose positions have several dimensions (M-RoPE).

    Attributes:
        places: of each, counted from the place of the first [3, N].
        advance: how many places behind the first the text goes on.
    """

    places: Ints
    advance: int


class Features(Protocol):
    """What encoders made of media."""

    def of(self, media: Media) -> torch.Tensor:
        """Return a medium's features [N, F]."""
        ...

    def grid(self, media: Media) -> Grid | None:
        """Return where its tokens are; None where they follow each other as words do."""
        ...


@dataclass(frozen=True)
class Manner:
    """How the layers of a model take media, besides embeddings.

    Attributes:
        deeper: to what so many of the first layers say of a medium's tokens further features are added
            (DeepStack, arXiv 2406.04334).
        grids: whether positions have several dimensions.
        never: tokens of the vocabulary that stand for media, and are never written.
        types: the model's input that says which tokens are media, whose tokens then see each other both ways;
            '' where they see what comes before them, as words do.
    """

    deeper: int = 0
    grids: bool = False
    never: tuple[int, ...] = ()
    types: str = ""


PLAIN = Manner()
# Where the tokens of a medium are with which a model is tried: two rows of three.
PLACES_TRIED = np.array([[0] * 6, [0, 0, 0, 1, 1, 1], [0, 1, 2] * 2])


@dataclass
class Drawn:
    """Features of media that are drawn at random or given, to try a model with."""

    features: torch.Tensor
    where: Grid | None

    def of(self, media: Media) -> torch.Tensor:
        """Return the features."""
        return self.features

    def grid(self, media: Media) -> Grid | None:
        """Return where the tokens are."""
        return self.where


@contextmanager
def tried_with(model: nn.Module) -> Generator[list[int]]:
    """Let a model that takes media see one that is drawn, inside the block; return its ids, none without."""
    embedding = media_embedding(model)
    if embedding is None:
        yield []
        return
    kind = next(iter(embedding.projectors), "image")
    width = embedding.weight.shape[1] * (1 + embedding.manner.deeper)
    if kind in embedding.projectors:
        width = embedding.projector(kind).map.in_features
    drawn = torch.randn(len(PLACES_TRIED[0]), width, generator=torch.Generator().manual_seed(0))
    where = Grid(PLACES_TRIED, 3) if embedding.manner.grids else None
    before, embedding.features = embedding.features, Drawn(drawn * embedding.weight.std().item(), where)
    media = Media(cast("Any", kind), "drawn", sha256(f"drawn {kind}".encode()).hexdigest())
    try:
        yield [*block(media, len(drawn))]
    finally:
        embedding.features = before


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

    Of a kind without a projector the features are embeddings already, with those for deeper layers behind.

    Attributes:
        projected: tokens of media that were projected so far, for the account of a run.
        own: weights of the model's own projector that were trained, by their names in the model.
        learning: whether they are being trained, so that the model's encoder computes media each time.
    """

    def __init__(
        self,
        words: nn.Module,
        projectors: dict[str, Projector],
        features: Features,
        manner: Manner = PLAIN,
    ) -> None:
        super().__init__()
        self.words = words
        self.projectors = nn.ModuleDict(projectors)
        self.features = features
        self.manner = manner
        self.projected = 0
        self.own: dict[str, nn.Parameter] = {}
        self.learning = False
        self.encode: Callable[[Media], torch.Tensor] | None = None
        self._deeper: tuple[torch.Tensor, list[torch.Tensor]] | None = None

    @property
    def weight(self) -> torch.Tensor:
        """The words' embedding, which an output head may be tied to."""
        return cast("torch.Tensor", self.words.weight)

    @property
    def projecting(self) -> list[nn.Parameter]:
        """The weights that project media and are trained with whatever is."""
        return [*self.projectors.parameters(), *(self.own.values() if self.learning else ())]

    def projector(self, kind: str) -> Projector:
        """Return the projector of a kind of media."""
        return cast("Projector", self.projectors[kind])

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of ids [..., T] as [..., T, D]."""
        media = ids >= FIRST
        out: torch.Tensor = self.words(ids.masked_fill(media, 0))
        self._deeper = None
        if not media.any():
            return out
        width = out.shape[-1]
        found = self._projected(ids[media]).to(out)
        if self.manner.deeper:
            self._deeper = media, [*found[:, width:].split(width, -1)]
        return out.index_put((media,), found[:, :width])

    def hand_on(
        self, _: nn.Module, args: tuple[Any, ...], given: dict[str, Any]
    ) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """Give the language model the features for its deeper layers: a hook before its forward."""
        if self._deeper is None:
            return args, given
        media, deeper = self._deeper
        return args, {**given, "visual_pos_masks": media, "deepstack_visual_embeds": deeper}

    def positions(self, ids: Ints) -> Ints:
        """Return the positions of a row's ids [T], and behind them that of what follows [3, T + 1]."""
        key = np.where(ids >= FIRST, (ids - FIRST) // PLACES, -1)
        place = (ids - FIRST) % PLACES
        begins = np.flatnonzero(np.diff(key, prepend=-2) | ((key >= 0) & (place == 0)))
        out = np.empty((3, len(ids) + 1), np.int64)
        at = 0
        for start, end in pairwise([*begins.tolist(), len(ids)]):
            grid = self.features.grid(medium(int(ids[start]))) if key[start] >= 0 else None
            if grid is None:
                out[:, start:end] = np.arange(at, at + end - start)
                at += end - start
            else:
                out[:, start:end] = at + grid.places[:, place[start:end]]
                at += grid.advance
        out[:, -1] = at
        return out

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
            kind, features = media.kind, self._features(media)
            wanted = ((distinct[places] - FIRST) % PLACES).to(features.device)
            rows.setdefault(kind, []).append(features[wanted].to(self._like(kind)))
            order.setdefault(kind, []).append(places)
            start += count
        parts = [self._embedded(kind, torch.cat(of_kind)) for kind, of_kind in rows.items()]
        places = torch.cat([place for kind in rows for place in order[kind]])
        return torch.cat(parts)[places.argsort()][back]

    def _features(self, media: Media) -> torch.Tensor:
        return self.encode(media) if self.learning and self.encode else self.features.of(media)

    def _embedded(self, kind: str, features: torch.Tensor) -> torch.Tensor:
        return self.projector(kind)(features) if kind in self.projectors else features

    def _like(self, kind: str) -> torch.Tensor:
        return self.projector(kind).map.weight if kind in self.projectors else self.weight


def tree_positions(model: nn.Module, tree: Tree) -> Ints:
    """Return where a tree's tokens are: their depths [T], or positions of several dimensions [3, T].

    What a row's beginning says of a token's place is all that counts, so that nodes still share.
    """
    embedding = media_embedding(model)
    if embedding is None or not embedding.manner.grids or tree.ids.max() < FIRST:
        return tree.positions
    out = np.empty((3, len(tree.ids)), np.int64)
    for row in range(len(tree.rows)):
        path = row_path(tree, row)
        out[:, path] = embedding.positions(tree.ids[path])[:, :-1]
    return out


def never_written(model: nn.Module) -> list[int]:
    """Return the tokens of a model's vocabulary that stand for media: no answer has them."""
    embedding = media_embedding(model)
    return [] if embedding is None else [*embedding.manner.never]


def by_whole_rows(model: nn.Module) -> bool:
    """Say whether a model that shares no prefix has to compute rows whole: its cache does not know media."""
    embedding = media_embedding(model)
    return embedding is not None and (embedding.manner.grids or bool(embedding.manner.types))


def further(model: nn.Module, prompt: Sequence[int]) -> int:
    """Return by how much the place of what follows a prompt differs from its number of tokens."""
    embedding = media_embedding(model)
    if embedding is None or not embedding.manner.grids or max(prompt, default=0) < FIRST:
        return 0
    return int(embedding.positions(np.array(prompt))[0, -1]) - len(prompt)


def seeing(model: PreTrainedModel, sizes: dict[str, int], features: Features) -> PreTrainedModel:
    """Return the model with an embedding that takes media of these kinds, by the size of their features."""
    words = cast("nn.Module", model.get_input_embeddings())
    width = model.config.get_text_config().hidden_size
    projectors = {kind: Projector(size, width).to(model.device) for kind, size in sizes.items()}
    model.set_input_embeddings(MediaEmbedding(words, projectors, features))
    return model


def only_projectors(model: PreTrainedModel) -> PreTrainedModel:
    """Freeze all but the projectors. Raises RecipeError where the model has none."""
    embedding = media_embedding(model)
    own = own_projector(model)
    if embedding is None or not (len(embedding.projectors) or own):
        raise RecipeError(
            "The model has no projector to train.",
            where="train.method",
            hint='Name an encoder: model.encoders = ["efficientnet-lite0"].',
        )
    embedding.own, embedding.learning = own, bool(own)
    return model.requires_grad_(False)


def write(model: PreTrainedModel) -> Written | None:
    """Say that a model's projectors are all that was trained; their tensors are in a file of their own."""
    embedding = media_embedding(model)
    own = set(embedding.projecting) if embedding else set[nn.Parameter]()
    if not own or any(one.requires_grad and one not in own for one in model.parameters()):
        return None
    if not any(one.requires_grad for one in own):
        return None
    return {"peft_type": TYPE, "base_model_name_or_path": model.name_or_path}, {}


def read(model: PreTrainedModel, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Leave the model as it is: `encoders/attached.py` has read the projectors."""


def media_embedding(model: nn.Module) -> MediaEmbedding | None:
    """Return the part of a model that takes media, if it has one."""
    # Asked before each call: to look through all of a model's parts would take a share of a short one.
    words = model.get_input_embeddings() if isinstance(model, PreTrainedModel | PeftModel) else model
    return next((part for part in words.modules() if isinstance(part, MediaEmbedding)), None)
