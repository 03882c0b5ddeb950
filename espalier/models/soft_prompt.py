"""Soft prompt: trained vectors before every row, as tokens with ids past the vocabulary.

Lester et al. 2021 (arXiv 2104.08691). The virtual tokens are ordinary tokens to the tree, the template and
the decoder: the root of every prompt, computed once. Logits stay as wide as the vocabulary, so none is ever
predicted. Saved as peft saves its own, whose forward takes no positions and so no tree.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, cast

import torch
from torch import nn

if TYPE_CHECKING:
    from collections.abc import Mapping

    from transformers import PreTrainedModel

    Written = tuple[dict[str, Any], dict[str, torch.Tensor]]

TENSOR = "prompt_embeddings"


class PromptedEmbedding(nn.Module):
    """A model's embedding of V words [V, D], and P virtual ones, `prompt` [P, D], with ids from V on."""

    def __init__(self, words: nn.Embedding, prompt: torch.Tensor) -> None:
        super().__init__()
        self.words = words
        self.prompt = nn.Parameter(prompt)

    @property
    def weight(self) -> torch.Tensor:
        """The words' embedding, which an output head may be tied to."""
        return self.words.weight

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Return the embeddings of ids [..., T] as [..., T, D]."""
        words = len(self.weight)
        virtual = ids >= words
        out = self.words(ids.masked_fill(virtual, 0))
        return out.index_put((virtual,), nn.functional.embedding(ids[virtual] - words, self.prompt).to(out))


def prompted(model: PreTrainedModel, tokens: int) -> PreTrainedModel:
    """Add virtual tokens that begin as the embeddings of words drawn at random, and freeze all else."""
    model.requires_grad_(False)
    words = cast("nn.Embedding", model.get_input_embeddings())
    drawn = torch.randint(len(words.weight), (tokens,)).to(model.device)
    model.set_input_embeddings(PromptedEmbedding(words, words.weight[drawn].clone()))
    return model


def virtual_ids(model: nn.Module) -> tuple[int, ...]:
    """Return the ids that every prompt of the model begins with: for `Template.prefixed`."""
    for part in model.modules():
        if isinstance(part, PromptedEmbedding):
            words = len(part.weight)
            return tuple(range(words, words + len(part.prompt)))
    return ()


def write(model: PreTrainedModel) -> Written | None:
    """Return the configuration and the tensors of the model's soft prompt, if it has one."""
    from peft import PromptTuningConfig

    embedding = model.get_input_embeddings()
    if not isinstance(embedding, PromptedEmbedding):
        return None
    size = model.config.get_text_config()
    config = PromptTuningConfig(
        task_type="CAUSAL_LM",
        base_model_name_or_path=model.name_or_path,
        inference_mode=True,
        num_virtual_tokens=len(embedding.prompt),
        token_dim=embedding.prompt.shape[1],
        num_transformer_submodules=1,
        num_attention_heads=size.num_attention_heads,
        num_layers=size.num_hidden_layers,
    )
    return config.to_dict(), {TENSOR: embedding.prompt.detach()}


def read(model: PreTrainedModel, config: Mapping[str, Any], tensors: Mapping[str, torch.Tensor]) -> None:
    """Add the soft prompt that `write` returned, or peft."""
    words = cast("nn.Embedding", model.get_input_embeddings())
    model.set_input_embeddings(PromptedEmbedding(words, tensors[TENSOR].to(model.device)))
