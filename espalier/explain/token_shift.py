"""What tuning moved, token by token: the tuned model's answers read by the base model (URIAL).

Each token of an answer has a rank under the base model, given the same prompt and the same tokens before it:
*unshifted* is its first choice, *marginal* its second or third, *shifted* all beyond (Lin et al. 2023, arXiv
2312.01552). A
rank counts the tokens that are likelier, so that of equals all have the best of their ranks. Beside it stands
KL(tuned || base), in nats, over the whole vocabulary.

Both models read the same prompt trees, a prompt once in each, and the output head runs at answer positions
alone. Answers come in parts whose logits fit `LOGITS`, so that memory does not grow with their number.
"""

from __future__ import annotations

from contextlib import nullcontext
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import torch

from espalier.core.errors import ModelError
from espalier.core.records import Encoded
from espalier.decode.likelihood import TOKENS
from espalier.encode.batches import rows_of_trees
from espalier.encode.tree import build_tree
from espalier.models.adapters import without_adapter
from espalier.models.forward import CHUNK, Edges, edge_logprobs
from espalier.models.precision import autocast

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from espalier.encode.tree import Ints, Tree
    from espalier.models.load import Loaded

    Read = Callable[[torch.Tensor, Ints, Ints], Edges]

LOGITS = 2**25  # of one model, held at a time: 128 MB in fp32


class Moved(NamedTuple):
    """What both models say at one token of an answer.

    Attributes:
        token: its id.
        rank: under the base model, from 1.
        ties: other tokens that the base model holds as likely.
        kl: KL(tuned || base) in nats.
        tuned, base: its log-probability under each, in nats.
        instead: id of the base model's first choice.
    """

    token: int
    rank: int
    ties: int
    kl: float
    tuned: float
    base: float
    instead: int


@dataclass(frozen=True)
class Models:
    """A tuned model, and the one that it was made from; None where that is the same without its adapter."""

    tuned: Loaded
    base: Loaded | None

    @property
    def before(self) -> Loaded:
        """What stands for the base model."""
        return self.base or self.tuned


def answer_rows(prompts: Sequence[tuple[int, ...]], answers: Sequence[tuple[int, ...]]) -> list[Encoded]:
    """Return answers behind their prompts, all of an answer weighed, what ends it too."""
    return [
        Encoded(
            (*prompt, *answer),
            (0.0,) * len(prompt) + (1.0,) * len(answer),
            len(prompt),
            str(number),
            "sample",
            number,
        )
        for number, (prompt, answer) in enumerate(zip(prompts, answers, strict=True))
    ]


@torch.no_grad()
def shifts(
    models: Models, rows: Sequence[Encoded], theirs: Sequence[Encoded] | None = None, logits: int = LOGITS
) -> Iterator[list[tuple[int, list[Moved]]]]:
    """Yield what both models say of the rows' answers: of each tree its rows' numbers with their tokens.

    Args:
        models: that are compared.
        rows: see `answer_rows`.
        theirs: the same as the base model is asked, where a soft prompt stands before the tuned one's.
        logits: see `LOGITS`.

    Raises:
        ModelError: the two have not the same vocabulary.
    """
    theirs = rows if theirs is None else theirs
    sizes = [model.model.config.get_text_config().vocab_size for model in (models.tuned, models.before)]
    if sizes[0] != sizes[1]:
        raise ModelError(
            f"The tuned model has {sizes[0]} tokens and its base {sizes[1]}: they cannot be compared.",
            where=models.tuned.place.folder,
        )
    longest = max((len(row.ids) for row in (*rows, *theirs)), default=0)
    for part in _parts(rows, max(1, logits // sizes[0])):
        for several in rows_of_trees([[row] for row in part], max(TOKENS, longest)):
            yield _of_tree(models, several, [theirs[row.number] for row in several])


def _parts(rows: Sequence[Encoded], most: int) -> Iterator[list[Encoded]]:
    """Yield the rows in sorted order, where neighbours share, in parts of so many answer tokens."""
    part: list[Encoded] = []
    held = 0
    for row in sorted(rows, key=lambda row: row.ids):
        size = len(row.ids) - row.prompt
        if part and held + size > most:
            yield part
            part, held = [], 0
        part.append(row)
        held += size
    if part:
        yield part


def _of_tree(
    models: Models, rows: Sequence[Encoded], theirs: Sequence[Encoded]
) -> list[tuple[int, list[Moved]]]:
    tree, other = build_tree(rows), build_tree(theirs)
    assert np.array_equal(tree.targets, other.targets)  # prompts differ by what all of them begin with
    kept: list[torch.Tensor] = []

    def keep(logits: torch.Tensor, places: Ints, targets: Ints) -> Edges:
        kept.append(logits)
        nothing = logits.new_zeros(len(targets))
        return Edges(nothing, nothing)

    def compare(logits: torch.Tensor, places: Ints, targets: Ints) -> Edges:
        found = moved(kept.pop(0), logits, places.reshape(-1), targets)
        return Edges(found, found[:, 0])

    _read(models.tuned, tree, keep)
    off = without_adapter(models.tuned.model) if models.base is None else None
    with off or nullcontext():
        table = _read(models.before, other, compare).logprobs.cpu().numpy()
    entries = np.concatenate([tree.targets[:, None], table], axis=1)[tree.entry_edges]
    cuts = np.searchsorted(tree.entry_rows, np.arange(1, len(rows)))
    return [
        (row.number, [_moved(entry) for entry in part.tolist()])
        for row, part in zip(rows, np.split(entries, cuts), strict=True)
    ]


def _read(loaded: Loaded, tree: Tree, read: Read) -> Edges:
    longest = int(tree.positions.max()) + 1
    shared = loaded.sharing.why_not(longest) is None
    with autocast(loaded.model, loaded.formats.training):
        return edge_logprobs(loaded.model, tree, shared=shared, read=read)


def _moved(entry: Sequence[float]) -> Moved:
    token, rank, ties, kl, tuned, base, instead = entry
    return Moved(int(token), int(rank), int(ties), kl, tuned, base, int(instead))


def moved(tuned: torch.Tensor, base: torch.Tensor, places: Ints, targets: Ints) -> torch.Tensor:
    """Return rank, ties, KL, both log-probabilities and the base's first choice of targets [E, 6], in fp64.

    Args:
        tuned: logits of the tuned model [S, V].
        base: logits of the base model at the same sources [S, V].
        places: each target's source among them [E].
        targets: token ids [E].
    """
    made = torch.empty(len(targets), 6, dtype=torch.float64, device=base.device)
    step = max(1, CHUNK // tuned.shape[1])
    for start in range(0, len(targets), step):
        block = slice(start, start + step)
        at = torch.from_numpy(places[block]).to(base.device)
        own = torch.from_numpy(targets[block]).to(base.device)[:, None]
        theirs = base[at]
        said = theirs.gather(1, own)
        p, q = (logits.float().log_softmax(-1) for logits in (tuned[at], theirs))
        kl = torch.where(p.isneginf(), 0.0, p.exp() * (p - q)).sum(-1).clamp_min(0)  # rounding goes below
        columns = [
            1 + (theirs > said).sum(-1),
            (theirs == said).sum(-1) - 1,
            kl,
            p.gather(1, own)[:, 0],
            q.gather(1, own)[:, 0],
            theirs.argmax(-1),
        ]
        made[block] = torch.stack([column.double() for column in columns], dim=1)
    return made
