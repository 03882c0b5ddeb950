"""A projector by least squares from sums of products, against numpy's on the rows themselves."""

from __future__ import annotations

import hashlib

import numpy as np
import pytest
import torch
from torch import nn

from espalier.core.records import Media
from espalier.models.alignment import RIDGES, Aligned, aligned, laid, set_projectors, undone
from espalier.models.media import MediaEmbedding, Projector

FEATURES, WIDTH, VOCABULARY = 9, 5, 30


class Drawn:
    """Features that tell the words of a medium, token by token, through a mixing and some noise."""

    def __init__(self, words: torch.Tensor, noise: float) -> None:
        generator = torch.Generator().manual_seed(1)
        self.found: dict[Media, torch.Tensor] = {}
        self.said: list[tuple[Media, list[int]]] = []
        mixing = torch.randn(WIDTH, FEATURES, generator=generator, dtype=torch.float64)
        for number in range(60):
            name = hashlib.sha256(str(number).encode()).hexdigest()
            ids = torch.randint(0, VOCABULARY, (1 + number % 4,), generator=generator)
            tokens = 3 + number % 5
            shown = laid(len(ids), tokens) @ words[ids] @ mixing
            drawn = torch.randn(tokens, FEATURES, generator=generator, dtype=torch.float64)
            medium = Media(("image", "audio")[number % 3 == 0], name, name)
            self.found[medium] = shown + noise * drawn
            self.said.append((medium, ids.tolist()))

    def of(self, media: Media) -> torch.Tensor:
        """Return the features of a medium."""
        return self.found[media]

    def grid(self, media: Media) -> None:
        """Tokens follow each other as words do."""


def made(noise: float) -> tuple[MediaEmbedding, Drawn]:
    """Return an embedding of both kinds with what its media say."""
    torch.manual_seed(0)
    words = nn.Embedding(VOCABULARY, WIDTH).double()
    drawn = Drawn(words.weight.detach(), noise)
    projectors = {kind: Projector(FEATURES, WIDTH).double() for kind in ("image", "audio")}
    return MediaEmbedding(words, projectors, drawn), drawn


def slow(embedding: MediaEmbedding, said: list[tuple[Media, list[int]]], ridge: float) -> np.ndarray:
    """Return map and bias [F + 1, D]: the penalty as rows of their own under those of the tokens."""
    x, y = stacked(embedding, said)
    scale = ((x - x.mean(0)) ** 2).sum(0).mean()
    penalty = np.sqrt(ridge * scale) * np.eye(FEATURES, FEATURES + 1)
    rows = np.vstack([np.hstack([x, np.ones((len(x), 1))]), penalty])
    return np.linalg.lstsq(rows, np.vstack([y, np.zeros((FEATURES, WIDTH))]), rcond=None)[0]


def stacked(embedding: MediaEmbedding, said: list[tuple[Media, list[int]]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the features of all tokens, normalised, and the embedding of what each should be."""
    x: list[np.ndarray] = []
    y: list[np.ndarray] = []
    for medium, ids in said:
        own = embedding.features.of(medium).numpy()
        spread = np.sqrt(own.var(1, keepdims=True) + 1e-5)
        x.append((own - own.mean(1, keepdims=True)) / spread)
        fine = 420  # places of each token, each of one word: all counts here divide it
        place = np.arange(len(own) * fine) * len(ids) // (len(own) * fine)
        words = embedding.weight.detach().numpy()[np.array(ids)[place]]
        y.append(words.reshape(len(own), fine, WIDTH).mean(1))
    return np.vstack(x), np.vstack(y)


@pytest.mark.parametrize("noise", [0.01, 3.0])
def test_least_squares_is_numpys_with_the_penalty_that_is_best_on_media_held_out(noise: float) -> None:
    embedding, drawn = made(noise)
    found = aligned(embedding, drawn.said)
    assert found.keys() == {"image", "audio"}
    for kind, one in found.items():
        said = [row for row in drawn.said if row[0].kind == kind]
        held = said[4::5]
        learned = [row for row in said if row not in held]
        x, y = stacked(embedding, held)
        left: dict[float, float] = {}
        for ridge in RIDGES:
            solution = slow(embedding, learned, ridge)
            left[ridge] = float(((x @ solution[:-1] + solution[-1] - y) ** 2).sum())
        assert one.ridge == min(left, key=left.__getitem__)
        assert one.explained == pytest.approx(1 - left[one.ridge] / ((y - y.mean(0)) ** 2).sum(), abs=1e-9)
        best = slow(embedding, said, one.ridge)
        assert np.allclose(one.weight.T, best[:-1], rtol=0, atol=1e-9)
        assert np.allclose(one.bias, best[-1], rtol=0, atol=1e-9)
        assert one.media == len(said)
    assert found["image"].explained is not None
    assert (found["image"].explained > 0.7) == (noise < 1)  # features that tell little explain little


def test_an_aligned_projector_makes_words_of_features() -> None:
    embedding, drawn = made(0.01)
    set_projectors(embedding, aligned(embedding, drawn.said))
    medium, ids = next(row for row in drawn.said if len(row[1]) == 1)
    shown = embedding.projector(medium.kind)(drawn.of(medium))
    nearest = torch.cdist(shown, embedding.weight).argmin(1)
    assert nearest.tolist() == ids * len(shown)


@pytest.mark.parametrize(("rate", "lost"), [(0.1, True), (1e-3, False)])
def test_a_rate_that_undoes_an_alignment_is_told_from_one_that_does_not(rate: float, lost: bool) -> None:
    embedding, drawn = made(0.01)
    set_projectors(embedding, aligned(embedding, drawn.said))
    medium, ids = next(row for row in drawn.said if len(row[1]) == 1)
    projector = embedding.projector(medium.kind)
    optimizer = torch.optim.Adam(projector.parameters(), rate)
    for _ in range(5):
        (-projector(drawn.of(medium)).sum()).backward()
        optimizer.step()
    nearest = torch.cdist(projector(drawn.of(medium)), embedding.weight).argmin(1)
    assert (set(nearest.tolist()) != set(ids)) == lost == undone(embedding, medium.kind, rate)


def test_too_few_media_to_hold_some_out_are_aligned_all_the_same() -> None:
    embedding, drawn = made(0.01)
    (one,) = aligned(embedding, drawn.said[1:3]).values()
    assert isinstance(one, Aligned)
    assert one.explained is None
    assert one.weight.isfinite().all()


def test_features_that_are_all_alike_make_the_mean_of_all_words() -> None:
    embedding, drawn = made(0.1)
    alike = torch.linspace(0.3, 0.9, FEATURES)
    drawn.found = {medium: alike.expand(len(found), -1) for medium, found in drawn.found.items()}
    for one in aligned(embedding.float(), drawn.said).values():
        assert one.weight.abs().max() < 10  # of rounding, not of what they say
        assert one.bias.abs().max() < embedding.weight.abs().max()


def test_one_medium_under_two_captions_is_never_both_learned_from_and_held_out() -> None:
    embedding, drawn = made(0.01)
    pictures = [row for row in drawn.said if row[0].kind == "image"][:4]
    (one,) = aligned(embedding, [*pictures, pictures[0]]).values()
    assert (one.media, one.explained) == (4, None)


@pytest.mark.parametrize(
    ("words", "tokens", "laid_out"),
    [
        (1, 3, [[1], [1], [1]]),
        (2, 3, [[1, 0], [0.5, 0.5], [0, 1]]),
        (3, 2, [[2 / 3, 1 / 3, 0], [0, 1 / 3, 2 / 3]]),
        (2, 2, [[1, 0], [0, 1]]),
    ],
)
def test_words_are_laid_evenly(words: int, tokens: int, laid_out: list[list[float]]) -> None:
    assert torch.allclose(laid(words, tokens), torch.tensor(laid_out, dtype=torch.float64))
