"""How likely a model holds answers, and what a reward model says of them: as numbers, without a graph."""

from __future__ import annotations

from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
import torch

from espalier.core.errors import DataError
from espalier.core.records import message
from espalier.encode.batches import build_trees, group_size, groups_of
from espalier.encode.tokens import encode, read_ahead
from espalier.models.forward import edge_logprobs, with_likeliest
from espalier.models.precision import autocast
from espalier.models.reward import as_rated, leaf_scores, rates

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import Any

    from transformers import PreTrainedModel

    from espalier.core.records import Encoded, Example
    from espalier.encode.template import Template
    from espalier.encode.tree import Tree
    from espalier.models.forward import Edges
    from espalier.models.load import Loaded
    from espalier.models.precision import Format

    Forward: TypeAlias = Callable[[Any, Tree], Edges]

TOKENS = 4096  # distinct tokens in one forward, where no row is longer
AHEAD = 64  # examples whose options the tokenizer is given at once


def answer_row(example: Example, answer: str, template: Template) -> Encoded:
    """Return an answer behind an example's prompt in tokens; it alone is weighed. Raises TemplateError."""
    return encode(_answered(example, answer), template)


def answer_rows(
    examples: Sequence[Example], options: Sequence[Sequence[str]], template: Template
) -> list[list[Encoded]]:
    """Return each example's options behind its prompt in tokens, as `answer_row` does, many read at once."""
    found: list[list[Encoded]] = []
    for start in range(0, len(examples), AHEAD):
        part = list(zip(examples, options, strict=True))[start : start + AHEAD]
        asked = [_answered(example, option) for example, texts in part for option in texts]
        read_ahead(asked, template)
        rows = iter([encode(one, template) for one in asked])
        found += [[next(rows) for _ in texts] for _, texts in part]
    return found


def _answered(example: Example, answer: str) -> Example:
    prompt = tuple(replace(turn, trained=False) for turn in example.prompt)
    turns = (*prompt, message("assistant", answer, trained=True))
    return replace(example, messages=turns, rejected=())


def check_context(rows: Sequence[Encoded], context: int) -> None:
    """Raise DataError where a prompt with its answer has more tokens than the model's context."""
    row = max(rows, key=lambda row: len(row.ids), default=None)
    if row is not None and len(row.ids) > context:
        raise DataError(
            f"A prompt with its answer has {len(row.ids)} tokens; the model's context is {context}.",
            where=f"example {row.example}",
            hint="Shorten the prompt or the answer.",
        )


def numbers(loaded: Loaded, rows: Sequence[Encoded]) -> list[float]:
    """Return a reward model's number for each row [R]; of one that writes, the answer's log-probability.

    What rows share is computed once, in trees of `TOKENS` tokens, or as many as the longest row has.
    """
    rating = rates(loaded.model)
    rows = [as_rated(row) if rating else row for row in rows]
    return _summed(loaded, rows, leaf_scores if rating else edge_logprobs)


def told(loaded: Loaded, rows: Sequence[Encoded]) -> list[tuple[float, bool]]:
    """Return of each row its log-probability, as `numbers` does, and whether it is what greedy would say."""
    greedy: dict[int, bool] = {}

    def forward(model: PreTrainedModel, tree: Tree, *, shared: bool) -> Edges:
        edges = edge_logprobs(model, tree, shared=shared, read=with_likeliest)
        best = edges.means.cpu().numpy()[tree.entry_edges]
        for place, row in enumerate(tree.rows):
            greedy[row.number] = bool(best[tree.entry_rows == place].all())
        return edges

    found = _summed(loaded, rows, forward)
    return [(number, greedy[place]) for place, number in enumerate(found)]


def _summed(loaded: Loaded, rows: Sequence[Encoded], forward: Callable[..., Edges]) -> list[float]:
    if not rows:
        return []
    rows = [replace(row, role="sample", number=number) for number, row in enumerate(rows)]
    longest = max(len(row.ids) for row in rows)
    forward = partial(forward, shared=loaded.sharing.why_not(longest) is None)
    tokens, precision = max(TOKENS, longest), loaded.formats.training
    return row_sums(rows, token_logprobs(loaded.model, rows, forward, tokens=tokens, precision=precision))


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
