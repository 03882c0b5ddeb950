"""The slow twin of `attribution/parts`: each variant by itself, by the attention of the model, in torch."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from collections.abc import Sequence


@torch.no_grad()
def naive_logprob(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> float:
    """Return the log-probability of an answer behind a prompt."""
    logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].log_softmax(-1)
    return float(sum(logits[len(prompt) + place - 1, token] for place, token in enumerate(answer)))


def naive_gradient(model: Any, prompt: Sequence[int], answer: Sequence[int]) -> list[float]:
    """Return of each token of the prompt its embedding times the gradient by it, as finite differences."""
    embeddings = model.get_input_embeddings()(torch.tensor([[*prompt, *answer]])).detach()

    @torch.no_grad()
    def total(place: int, scale: float) -> float:
        changed = embeddings.clone()
        changed[0, place] *= scale
        logits = model(inputs_embeds=changed).logits[0].log_softmax(-1)
        return float(sum(logits[len(prompt) + at - 1, token] for at, token in enumerate(answer)))

    step = 1e-2  # norms are computed in fp32, whose rounding is divided by this
    return [(total(at, 1 + step) - total(at, 1 - step)) / (2 * step) for at in range(len(prompt))]
