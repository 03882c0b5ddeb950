"""A projector's start in closed form: least squares from features to the words that media are said to hold.

The words of a caption or a transcript are laid evenly over the tokens of its medium, and the projector
becomes the ridge regression from a token's features to the embedding of its words. How much better that is
than a random projector is a matter of the data (docs/training.md).

Only sums of products are kept of the features, [F, F] and [F, D] of a kind of media, however many there are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

import torch

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from espalier.core.records import Media
    from espalier.models.media import MediaEmbedding

    Solution: TypeAlias = tuple[torch.Tensor, torch.Tensor]

# Penalties that are tried, as shares of the mean square of a feature.
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)
TOGETHER = 2048  # tokens whose products are summed at a time
LEAST = 1e-6  # variance of normalised features; below it, as where all are alike, is rounding
APART = 5  # every so many-th medium tells which of them is best


@dataclass(frozen=True)
class Aligned:
    """What least squares made of one kind of media.

    Attributes:
        weight: of the projector's map, [D, F].
        bias: of it, [D].
        media: how many it was made from.
        ridge: the penalty, as a share of the mean square of a feature.
        explained: share of the variance of the words' embeddings that it explains on media held out while the
            penalty was chosen; None where there were too few media for that.
    """

    weight: torch.Tensor
    bias: torch.Tensor
    media: int
    ridge: float
    explained: float | None


class Moments:
    """Sums of products of features [N, F] and embeddings [N, D], in fp64."""

    def __init__(self) -> None:
        self.count = 0
        self._sums: list[torch.Tensor] = []
        self._waiting: list[Solution] = []

    def add(self, x: torch.Tensor, y: torch.Tensor) -> None:
        """Take in the features of more tokens and what they should become."""
        self.count += len(x)
        self._waiting.append((x, y))
        if sum(len(one) for one, _ in self._waiting) >= TOGETHER:
            self._multiply()

    @property
    def sums(self) -> list[torch.Tensor]:
        """The sums of x [F], y [D], x times x [F, F], x times y [F, D] and y squared."""
        self._multiply()
        return self._sums

    def _multiply(self) -> None:
        if self._waiting:
            x, y = (torch.cat(parts) for parts in zip(*self._waiting, strict=True))
            self._waiting = []
            products = (x.sum(0), y.sum(0), x.T @ x, x.T @ y, (y * y).sum())
            self._add([one.double() for one in products])

    def _add(self, sums: Sequence[torch.Tensor]) -> None:
        if not self._sums:
            self._sums = [torch.zeros_like(one) for one in sums]
        for own, new in zip(self._sums, sums, strict=True):
            own += new

    def both(self, other: Moments) -> Moments:
        """Return the sums of these and others together."""
        out = Moments()
        out.count = self.count + other.count
        for one in filter(lambda one: one.count, (self, other)):
            out._add(one.sums)
        return out

    def solved(self, ridge: float) -> Solution:
        """Return the map [F, D] and the bias [D] of least squares with a penalty on the map alone."""
        sx, sy, xx, xy, _ = self.sums
        x, y = sx / self.count, sy / self.count
        centred = xx - self.count * torch.outer(x, x)
        scale = centred.diagonal().mean().clamp_min(LEAST * self.count)
        centred.diagonal().add_(ridge * scale)
        found = torch.linalg.solve(centred, xy - self.count * torch.outer(x, y))
        return found, y - x @ found

    def error(self, solution: Solution) -> float:
        """Return the sum of squares that a map with its bias leaves."""
        found, bias = solution
        sx, sy, xx, xy, yy = self.sums
        square = (found * (xx @ found)).sum() + self.count * bias @ bias + 2 * (sx @ found) @ bias
        return float(yy - 2 * ((found * xy).sum() + sy @ bias) + square)


def aligned(embedding: MediaEmbedding, said: Iterable[tuple[Media, Sequence[int]]]) -> dict[str, Aligned]:
    """Return what each kind's projector becomes; the embedding stays as it is.

    Args:
        embedding: of a model with encoders.
        said: media, each with the ids of the words that it holds, at least one.
    """
    moments: dict[str, tuple[Moments, Moments]] = {}
    media: dict[str, dict[Media, int]] = {}  # numbered, so that no medium is on both sides
    for medium, words in said:
        numbers = media.setdefault(medium.kind, {})
        number = numbers.setdefault(medium, len(numbers))
        learned, held = moments.setdefault(medium.kind, (Moments(), Moments()))
        (held if number % APART == APART - 1 else learned).add(*_pairs(embedding, medium, words))
    return {kind: _best(*of_kind, len(media[kind])) for kind, of_kind in moments.items()}


def set_projectors(embedding: MediaEmbedding, made: dict[str, Aligned]) -> None:
    """Give the projectors the weights that `aligned` found."""
    with torch.no_grad():
        for kind, one in made.items():
            embedding.projector(kind).map.weight.copy_(one.weight)
            embedding.projector(kind).map.bias.copy_(one.bias)


@torch.no_grad()
def undone(embedding: MediaEmbedding, kind: str, rate: float) -> bool:
    """Say whether a few of Adam's steps at a rate would undo an alignment.

    A step moves each weight by the rate, and what is made of normalised features by that times their number;
    a fourth of what words' embeddings differ by is much.
    """
    return rate * embedding.projector(kind).map.in_features > float(embedding.weight.std()) / 4


def laid(words: int, tokens: int) -> torch.Tensor:
    """Return how much of each token [tokens, words] each of some words takes, laid evenly one after another.

    A token that several words fall on is their mean, by how much of it each of them takes.
    """
    edges = torch.arange(tokens + 1, dtype=torch.float64)[:, None] * words / tokens
    begins, number = edges[:-1], torch.arange(words, dtype=torch.float64)
    overlap = (torch.minimum(edges[1:], number + 1) - torch.maximum(begins, number)).clamp_min(0)
    return overlap / overlap.sum(1, keepdim=True)


@torch.no_grad()
def _pairs(embedding: MediaEmbedding, medium: Media, words: Sequence[int]) -> Solution:
    """Return what the projector's map is given of a medium, [N, F], and what it should make of it, [N, D]."""
    projector = embedding.projector(medium.kind)
    x = projector.normed(embedding.features.of(medium).to(projector.map.weight))
    y = embedding.words(torch.tensor(words, device=x.device)).to(x)
    return x, laid(len(words), len(x)).to(x) @ y


def _best(learned: Moments, held: Moments, media: int) -> Aligned:
    """Return the solution for all, with the penalty that is best on those held out; a middle one without."""
    ridge, explained = RIDGES[len(RIDGES) // 2], None
    if held.count:
        errors = {one: held.error(learned.solved(one)) for one in RIDGES}
        ridge = min(RIDGES, key=errors.__getitem__)
        _, sy, _, _, yy = held.sums
        spread = float(yy - sy @ sy / held.count)
        explained = 1 - errors[ridge] / spread if spread > 0 else None
    found, bias = learned.both(held).solved(ridge)
    return Aligned(found.T.contiguous(), bias, media, ridge, explained)
