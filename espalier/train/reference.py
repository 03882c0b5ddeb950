"""What objectives may ask of the model: as a stage found it, or as it is now (`decode/likelihood.py`).

The log-probabilities of the stage's own rows under the reference are computed once and kept in the journal,
keyed by the weights and the rows: neither an interrupted run nor another one computes them again.
"""

from __future__ import annotations

import copy
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

from peft import PeftModel

from espalier.core.files import content_hash
from espalier.decode.likelihood import row_sums, token_logprobs
from espalier.train.objectives import Resources

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager

    from transformers import PreTrainedModel

    from espalier.core.journal import Journal
    from espalier.core.records import Encoded
    from espalier.models.precision import Format
    from espalier.train.loop import Forward
    from espalier.train.objectives import Sampler


def keeping(
    store: Journal, key: str, compute: Callable[[Sequence[Encoded]], list[float]]
) -> Callable[[Sequence[Encoded]], list[float]]:
    """Return `compute` with its results kept in the journal, each under `key` and its rows' hash."""

    def kept(rows: Sequence[Encoded]) -> list[float]:
        name = f"reference:{content_hash([key, [(row.ids, row.weights) for row in rows]])}"
        known = store.find([name]).get(name)
        if known is None:
            known = {"logprobs": compute(rows)}
            store.add({name: known})
        return known["logprobs"]

    return kept


def frozen(model: PreTrainedModel) -> tuple[PreTrainedModel, Callable[[], AbstractContextManager[object]]]:
    """Return the model as it is at this call, and the context in which to ask it, whatever is trained later.

    A fresh adapter of peft is switched off, which costs no memory; other weights are copied.
    """
    if isinstance(model, PeftModel):
        return model, cast("Any", model).disable_adapter
    return copy.deepcopy(model).requires_grad_(False).eval(), nullcontext


def make_resources(
    model: PreTrainedModel,
    forward: Forward,
    *,
    steps: int,
    tokens: int,
    precision: Format,
    store: Journal,
    key: str,
    sampler: Callable[[Mapping[str, float]], Sampler],
    nested: bool = False,
) -> Resources:
    """Return what objectives may use, for a model that no step has changed yet.

    `store` keeps the reference's log-probabilities, and `key` is the hash of what they depend on besides the
    rows; see `Resources` for the others.
    """

    def policy(rows: Sequence[Encoded]) -> list[float]:
        return row_sums(rows, token_logprobs(model, rows, forward, tokens=tokens, precision=precision))

    def reference() -> Callable[[Sequence[Encoded]], list[tuple[float, ...]]]:
        twin, asking = frozen(model)

        def tell(rows: Sequence[Encoded]) -> list[tuple[float, ...]]:
            with asking():
                return token_logprobs(twin, rows, forward, tokens=tokens, precision=precision)

        return tell

    return Resources(steps, keeping(store, key, policy), policy, reference, sampler, nested)
