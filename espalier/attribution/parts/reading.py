"""A model that weighs answers behind prompts, from the store or anew: log-probabilities, and gradients.

All variants of many rows are weighed together on prompt trees, and what is known by content is not weighed
again, so that a killed explanation goes on.
"""

from __future__ import annotations

from contextlib import nullcontext
from copy import deepcopy
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from peft import PeftModel

from espalier.core.files import content_hash
from espalier.decode.likelihood import numbers
from espalier.encode.tree import build_tree
from espalier.explain.token_shift import answer_rows
from espalier.models.adapters import without_adapter
from espalier.models.forward import edge_logprobs
from espalier.models.precision import PLAIN, autocast
from espalier.runs.events import bar

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from numpy.typing import NDArray
    from transformers import PreTrainedModel

    from espalier.core.journal import Journal
    from espalier.core.records import Encoded
    from espalier.explain.token_shift import Models
    from espalier.models.load import Loaded

    Asked = tuple[tuple[int, ...], tuple[int, ...]]  # ids of a prompt and of an answer

VERSION = 1  # raised when the same answers are weighed otherwise
STEP = 32  # answers that are weighed between two writings


@dataclass
class Reader:
    """A model as it reads answers.

    Attributes:
        name: what it is called meanwhile.
        loaded: the model.
        store: what was read before.
        bare: whether its adapter is turned off.
        made: how many answers were read now.
    """

    name: str
    loaded: Loaded
    store: Journal
    bare: bool = False
    made: int = field(default=0, compare=False)

    def weigh(self, asked: Sequence[Asked]) -> list[float]:
        """Return the log-probability of each answer behind its prompt, in nats."""

        def read(rows: Sequence[Encoded]) -> list[dict[str, Any]]:
            return [{"logprob": number} for number in numbers(self.loaded, rows)]

        found = self._known("parts", asked, STEP, f"Answers weighed by {self.name}", read)
        return [entry["logprob"] for entry in found]

    def gradients(self, asked: Sequence[Asked]) -> list[NDArray[np.float64]]:
        """Return of each answer gradient × input of its log-probability at each token of the prompt [T]."""

        def read(rows: Sequence[Encoded]) -> list[dict[str, Any]]:
            return [{"tokens": gradient_by_input(self.loaded, row).tolist()} for row in rows]

        found = self._known("parts-gradient", asked, 1, f"Gradients of {self.name}", read)
        return [
            np.array(entry["tokens"])[: len(prompt)] for entry, (prompt, _) in zip(found, asked, strict=True)
        ]

    def _known(
        self,
        kind: str,
        asked: Sequence[Asked],
        step: int,
        title: str,
        read: Callable[[Sequence[Encoded]], list[dict[str, Any]]],
    ) -> list[Mapping[str, Any]]:
        """Return what is known of each, and read the rest in steps, in the order of their tokens."""
        made = [VERSION, self.loaded.weights, self.bare, self.loaded.formats.training]
        keys = {one: f"{kind}:{content_hash([*made, *one])}" for one in set(asked)}
        found: dict[str, Mapping[str, Any]] = dict(self.store.find(keys.values()))
        missing = sorted(one for one, key in keys.items() if key not in found)
        off = (without_adapter(self.loaded.model) if self.bare else None) or nullcontext()
        with off, bar(title, len(missing)) as advance:
            for start in range(0, len(missing), step):
                part = missing[start : start + step]
                rows = answer_rows([prompt for prompt, _ in part], [answer for _, answer in part])
                new = dict(zip([keys[one] for one in part], read(rows), strict=True))
                self.store.add(new)
                found |= new
                advance(len(part), "")
        self.made += len(missing)
        return [found[keys[one]] for one in asked]


def readers(models: Models, store: Journal) -> tuple[Reader, Reader]:
    """Return the tuned model and its base as readers, in fp32: what is told are small differences."""
    exact = [replace(one, formats=PLAIN) for one in (models.tuned, models.before)]
    return Reader("the tuned model", exact[0], store), Reader(
        "the base model", exact[1], store, models.base is None
    )


def gradient_by_input(loaded: Loaded, row: Encoded) -> NDArray[np.float64]:
    """Return each token's embedding times the gradient of the answer's log-probability by it, summed [T].

    The first-order guess of what is lost where an embedding becomes zero (Shrikumar et al. 2016, arXiv
    1605.01713). Tokens behind the last that predicts are left out. One backward a row: on a tree of several
    rows, what they share has their gradients' sum.
    """
    model = loaded.model
    kept: list[torch.Tensor] = []

    def keep(module: object, given: object, out: torch.Tensor) -> torch.Tensor:
        kept.append(out.detach().requires_grad_())
        return kept[-1]

    training = model.training
    model.eval()
    hook = cast("torch.nn.Module", model.get_input_embeddings()).register_forward_hook(keep)
    try:
        with torch.enable_grad(), autocast(model, loaded.formats.training):
            total = edge_logprobs(model, build_tree([row]), shared=False).logprobs.sum()
        (gradient,) = torch.autograd.grad(total, kept[-1:])
    finally:
        hook.remove()
        model.train(training)
    return (gradient.double() * kept[-1].double()).sum(-1).reshape(-1).detach().cpu().numpy()


def randomised(loaded: Loaded, seed: int) -> Loaded:
    """Return a model of the same configuration with weights drawn anew, as before any training."""
    whole: Any = loaded.model
    base = cast("PreTrainedModel", whole.get_base_model() if isinstance(whole, PeftModel) else whole)
    config = deepcopy(base.config)
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = cast("Any", type(base))(config).to(torch.float32).eval()
    torch.nn.Module.to(model, base.device)
    key = content_hash(["randomised", config.to_json_string(), seed])
    return replace(loaded, model=model, template=loaded.template.prefixed(()), weights=key)
