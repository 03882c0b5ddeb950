"""Media before a language model: one picture's tokens are computed once, exactly, and learned from."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import pytest
import torch

from espalier.core.records import Encoded, Media
from espalier.encode.media import block
from espalier.encode.tree import build_tree, stats
from espalier.models.forward import edge_logprobs
from espalier.models.media import MediaEmbedding, media_embedding, seeing

if TYPE_CHECKING:
    from transformers import LlamaForCausalLM, PreTrainedModel

SIZE, WIDTH = 6, 10
KINDS = ("image", "audio")


class Made:
    """Features that are drawn, of both kinds."""

    def __init__(self) -> None:
        self.asked = 0
        self.swapped: dict[Media, Media] = {}

    def of(self, media: Media) -> torch.Tensor:
        """Return the features of a medium."""
        self.asked += 1
        media = self.swapped.get(media, media)
        drawn = torch.Generator().manual_seed(int(media.sha256[:8], 16) >> 1)
        width = WIDTH + KINDS.index(media.kind)
        return torch.randn(SIZE, width, generator=drawn, dtype=torch.float64)


def medium(name: str) -> Media:
    """Return a picture, or of a capital letter a sound, known by what its file would hold."""
    kind = "audio" if name.isupper() else "image"
    return Media(kind, name, hashlib.sha256(name.encode()).hexdigest())


def rows_of(names: str, questions: int) -> list[Encoded]:
    """Return rows that ask so many questions about each of the media."""
    rows: list[Encoded] = []
    for name in names:
        head = (1, 5, *block(medium(name), SIZE), 6)
        for number in range(questions):
            body = (*head, 10 + number, 20, 30 + number, 2)
            weights = (0.0,) * (len(head) + 2) + (1.0, 1.0)
            rows.append(Encoded(body, weights, len(head) + 2, f"{name}{number}"))
    return rows


@pytest.fixture
def features() -> Made:
    """Features of media."""
    return Made()


@pytest.fixture
def model(tiny_llama: LlamaForCausalLM, features: Made) -> PreTrainedModel:
    """A tiny model in fp64 that takes pictures and sounds."""
    torch.manual_seed(0)
    return seeing(tiny_llama, {"image": WIDTH, "audio": WIDTH + 1}, features).double()


def gradients(model: PreTrainedModel, *, shared: bool) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """Return log-probabilities of the rows and the gradients of their sum."""
    model.zero_grad()
    tree = build_tree(rows_of("abAB", 4))
    found = edge_logprobs(model, tree, shared=shared).logprobs
    (found * torch.linspace(1, 2, len(found), dtype=found.dtype)).sum().backward()
    return found.detach(), {
        name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None
    }


def test_a_tree_gives_what_rows_give_with_gradients_of_the_projectors(model: PreTrainedModel) -> None:
    together, of_tree = gradients(model, shared=True)
    alone, of_rows = gradients(model, shared=False)
    assert torch.allclose(together, alone, rtol=0, atol=1e-9)
    assert of_tree.keys() == of_rows.keys()
    projectors = [name for name in of_tree if "projectors" in name]
    assert len(projectors) == 4
    assert all(of_tree[name].abs().max() > 1e-6 for name in projectors)
    for name, gradient in of_tree.items():
        assert torch.allclose(gradient, of_rows[name], rtol=0, atol=1e-6), name


def test_each_medium_is_projected_once_for_all_its_questions(model: PreTrainedModel, features: Made) -> None:
    embedding = media_embedding(model)
    assert embedding is not None
    tree = build_tree(rows_of("abAB", 4))
    with torch.no_grad():
        edge_logprobs(model, tree)
    assert (embedding.projected, features.asked) == (4 * SIZE, 4)
    assert stats(tree).distinct_tokens < stats(tree).row_tokens / 2
    with torch.no_grad():
        edge_logprobs(model, tree, shared=False)
    assert embedding.projected == 4 * SIZE + 16 * SIZE


def test_swapped_pictures_change_the_answers(model: PreTrainedModel, features: Made) -> None:
    """A model that got no features, or all the same, would pass everything else here."""
    tree = build_tree(rows_of("abAB", 2))
    one, other = medium("a"), medium("b")
    with torch.no_grad():
        before = edge_logprobs(model, tree).logprobs
        features.swapped = {one: other, other: one}
        after = edge_logprobs(model, tree).logprobs
    assert (before - after).abs().max() > 1e-3


def test_ids_of_words_are_looked_up_as_before(tiny_llama: LlamaForCausalLM) -> None:
    words = tiny_llama.get_input_embeddings()
    ids = torch.tensor([[1, 5, 7], [2, 3, 4]])
    embedding = MediaEmbedding(words, {}, Made())
    assert torch.equal(embedding(ids), words(ids))
    assert embedding.weight is words.weight
