"""What a model says of rows, as numbers without a graph: the model as a stage found it, or as it is now.

The log-probabilities of the stage's own rows under the reference are computed once and kept in a file of the
run, keyed by the weights and the rows, so that an interrupted run does not compute them again.
"""

from __future__ import annotations

import copy
import json
from contextlib import nullcontext
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from peft import PeftModel

from espalier.core.errors import DataError
from espalier.core.files import content_hash, read_json, write_atomic
from espalier.encode.batches import build_trees, group_size
from espalier.train.loop import autocast
from espalier.train.objectives import Tools
from espalier.train.steps import groups_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from contextlib import AbstractContextManager
    from pathlib import Path

    from transformers import PreTrainedModel

    from espalier.core.records import Encoded
    from espalier.models.precision import Format
    from espalier.train.loop import Forward
    from espalier.train.objectives import Sampler


@torch.no_grad()
def token_logprobs(
    model: PreTrainedModel, rows: Sequence[Encoded], forward: Forward, *, tokens: int, precision: Format
) -> list[tuple[float, ...]]:
    """Return the log-probability of each row's weighted tokens, in nats, in the precision of training.

    Rows of one example that do not fit `tokens` together are computed in one tree all the same: nothing is
    kept here for a backward.
    """
    places = {id(row): place for place, row in enumerate(rows)}
    found: dict[int, tuple[float, ...]] = {}
    training = model.training
    model.eval()
    groups = groups_of(rows)
    for tree in build_trees(groups, max([tokens, *map(group_size, groups)])):
        with autocast(model, precision):
            edges = forward(model, tree)
        values = edges.logprobs.cpu().numpy()[tree.entry_edges]
        cuts = np.searchsorted(tree.entry_rows, np.arange(1, len(tree.rows)))
        for row, part in zip(tree.rows, np.split(values, cuts), strict=True):
            found[places[id(row)]] = tuple(part.tolist())
    model.train(training)
    return [found[place] for place in range(len(rows))]


def row_sums(rows: Sequence[Encoded], logprobs: Sequence[Sequence[float]]) -> list[float]:
    """Return each row's log-probabilities, times their weights, added up [R]."""
    return [
        float(np.dot(np.array(row.weights)[np.flatnonzero(row.weights)], values))
        for row, values in zip(rows, logprobs, strict=True)
    ]


def keeping(
    path: Path, key: str, compute: Callable[[Sequence[Encoded]], list[float]]
) -> Callable[[Sequence[Encoded]], list[float]]:
    """Return `compute` with its results kept in the JSON file `path`, each under `key` and its rows' hash.

    A file that is damaged is written again.
    """

    def kept(rows: Sequence[Encoded]) -> list[float]:
        name = content_hash([key, [(row.ids, row.weights) for row in rows]])
        try:
            table = read_json(path)
        except DataError:
            table = {}
        known = table if isinstance(table, dict) else {}
        if not isinstance(known.get(name), list):
            known[name] = compute(rows)
            write_atomic(path, json.dumps(known) + "\n")
        return known[name]

    return kept


def frozen(model: PreTrainedModel) -> tuple[PreTrainedModel, Callable[[], AbstractContextManager[object]]]:
    """Return the model as it is at this call, and the context in which to ask it, whatever is trained later.

    A fresh adapter of peft is switched off, which costs no memory; other weights are copied.
    """
    if isinstance(model, PeftModel):
        return model, cast("Any", model).disable_adapter
    return copy.deepcopy(model).requires_grad_(False).eval(), nullcontext


def make_tools(
    model: PreTrainedModel,
    forward: Forward,
    *,
    steps: int,
    tokens: int,
    precision: Format,
    keep: Path,
    key: str,
    sampler: Callable[[Mapping[str, float]], Sampler],
) -> Tools:
    """Return what objectives may use, for a model that no step has changed yet.

    `keep` is the file of the reference's log-probabilities and `key` the hash of what they depend on besides
    the rows; see `Tools` for the others.
    """

    def policy(rows: Sequence[Encoded]) -> list[float]:
        return row_sums(rows, token_logprobs(model, rows, forward, tokens=tokens, precision=precision))

    def reference() -> Callable[[Sequence[Encoded]], list[tuple[float, ...]]]:
        twin, asking = frozen(model)

        def tell(rows: Sequence[Encoded]) -> list[tuple[float, ...]]:
            with asking():
                return token_logprobs(twin, rows, forward, tokens=tokens, precision=precision)

        return tell

    return Tools(steps, keeping(keep, key, policy), policy, reference, sampler)
