"""Whether a model computes what its rows share once, and the forward that follows from it."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING

from espalier.models.forward import edge_logprobs
from espalier.models.support import unsupported

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from transformers import PreTrainedModel

    from espalier.encode.tree import Tree
    from espalier.models.forward import Edges


@dataclass(frozen=True)
class Sharing:
    """What computes a tree of rows with a model.

    Attributes:
        forward: from model and tree to the edges' log-probabilities.
        why_not: why a prefix is not computed once; None where it is.
    """

    forward: Callable[[Any, Tree], Edges]
    why_not: str | None

    @property
    def shared(self) -> bool:
        """Whether a prefix is computed once."""
        return self.why_not is None


def sharing_of(model: PreTrainedModel, longest: int) -> Sharing:
    """Find out whether the model computes a prefix of rows of that length once, in training.

    Raises:
        ModelError: the model's code does not train on such rows.
    """
    why_not = unsupported(model, longest, training=True)
    return Sharing(partial(edge_logprobs, shared=why_not is None), why_not)
