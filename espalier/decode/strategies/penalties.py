"""Penalties on tokens that a text has already, and bans of what would repeat a run of them.

They change the scores of tokens before one is chosen, greedily, by a draw or by beams, as the processors of
transformers and the penalties of OpenAI's interface do. How likely a row is told to be stays as it is.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from espalier.decode.draws import Penalties
    from espalier.decode.strategy import Row


def penalised(rows: Sequence[Row], scores: Tensor, penalties: Penalties) -> Tensor:
    """Return the scores of the rows' next tokens [R, V] after penalties."""
    scores = scores.clone()
    written = [np.array(row.ids, np.int64) for row in rows]
    texts = [np.concatenate([row.request.prompt, ids]) for row, ids in zip(rows, written, strict=True)]
    if penalties.repetition_penalty != 1:
        at = _places(texts, scores)
        found = scores[at]
        factors = torch.where(found < 0, penalties.repetition_penalty, 1 / penalties.repetition_penalty)
        scores[at] = found * factors
    if penalties.presence_penalty or penalties.frequency_penalty:
        once = [np.unique(ids, return_counts=True) for ids in written]
        counts = torch.from_numpy(np.concatenate([count for _, count in once])).to(scores)
        taken = penalties.presence_penalty + penalties.frequency_penalty * counts
        scores[_places([ids for ids, _ in once], scores)] -= taken
    if penalties.no_repeat:
        scores[_places([_closing(text, penalties.no_repeat) for text in texts], scores)] = -torch.inf
    return scores


def _places(tokens: Sequence[NDArray[np.int64]], scores: Tensor) -> tuple[Tensor, Tensor]:
    """Return rows and columns of these tokens of each row; ids behind the vocabulary are no words."""
    owners = np.repeat(np.arange(len(tokens)), [len(one) for one in tokens])
    columns = np.concatenate(tokens).astype(np.int64)
    words = columns < scores.shape[1]
    owners, columns = torch.from_numpy(owners[words]), torch.from_numpy(columns[words])
    return owners.to(scores.device), columns.to(scores.device)


def _closing(text: NDArray[np.int64], size: int) -> NDArray[np.int64]:
    """Return the tokens with which the text would end in a run of `size` tokens that it has already."""
    begun = text[len(text) - size + 1 :]
    windows = len(text) - size + 1
    if windows < 1:
        return text[:0]
    same = np.ones(windows, bool)
    for place, token in enumerate(begun):
        same &= text[place : place + windows] == token
    return text[size - 1 :][same]
