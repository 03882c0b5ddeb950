"""Beam search: the best of the answers that the likeliest few beginnings lead to.

A request's beams are its rows. Each step ranks what all of them can be continued with, and goes on with the
best; what ends among the best is kept aside (`Row.ended`) until none of the beams can beat it. Ends, scores
and early stopping are those of transformers' `generate`, whose tokens come out in fp32.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from itertools import groupby
from typing import TYPE_CHECKING, Literal, NamedTuple

import numpy as np
import torch

from espalier.decode.draws import Penalties
from espalier.decode.strategies.largest import largest
from espalier.decode.strategies.penalties import penalised
from espalier.decode.strategy import Step, Strategy, require

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from numpy.typing import NDArray
    from torch import Tensor

    from espalier.decode.strategy import Row


class Beam(NamedTuple):
    """What a row is to its search: the group that it belongs to, and the sum of its tokens' scores in nats.

    The scores are log-probabilities, after penalties where there are any.
    """

    group: int
    score: float


class Candidate(NamedTuple):
    """A token that a row can be continued with, and what the row would then be."""

    parent: int
    token: int
    beam: Beam


@dataclass(frozen=True)
class Search:
    """The settings of a search, as `beam` explains them."""

    beams: int
    groups: int
    diversity: float
    length_penalty: float
    early_stopping: bool | Literal["never"]
    penalties: Penalties

    def step(self, rows: Sequence[Row], logits: Tensor) -> Step:
        """Return the tokens with which each request's beams go on or end; see `Strategy.step`."""
        values, tokens = self._likeliest(rows, logits)
        taken: list[Candidate] = []
        for _, places in groupby(range(len(rows)), key=lambda place: rows[place].number):
            taken += self._continued(rows, list(places), values, tokens)
        parents, ids, states = zip(*taken, strict=True) if taken else ((), (), ())
        device = logits.device
        return Step(
            torch.tensor(ids, dtype=torch.long, device=device),
            torch.tensor(parents, dtype=torch.long, device=device),
            states,
        )

    def rank(self, ended: Sequence[Row]) -> list[Row]:
        """Return the answers that the search has found, the best first."""
        groups = [[row for row in ended if row.state.group == group] for group in range(self.groups)]
        kept = [row for group in groups for row in sorted(group, key=self._worth, reverse=True)[: self.size]]
        return sorted(kept, key=self._worth, reverse=True)

    @property
    def size(self) -> int:
        """Beams of a group."""
        return self.beams // self.groups

    def _likeliest(
        self, rows: Sequence[Row], logits: Tensor
    ) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
        """Return the scores of what each row can be continued with, falling, and these tokens [R, K].

        K is enough for all beams to go on from one row whatever ends, and whatever other groups have taken.
        """
        stops = max(len(row.stop_ids) for row in rows)
        count = max(2, 1 + stops) * self.size + (self.beams - self.size)
        scores = logits.log_softmax(-1, dtype=torch.float32)
        if self.penalties:
            scores = penalised(rows, scores, self.penalties)
        tokens = largest(scores if self.penalties else logits, count)
        return scores.gather(1, tokens).double().cpu().numpy(), tokens.cpu().numpy()

    def _continued(
        self,
        rows: Sequence[Row],
        places: Sequence[int],
        values: NDArray[np.float64],
        tokens: NDArray[np.int64],
    ) -> list[Candidate]:
        """Return how the beams of one request at these places are continued, group after group."""
        taken: list[Candidate] = []
        others: Counter[int] = Counter()  # how often the groups before have taken a token in this step
        for group in range(self.groups):
            own = [place for place in places if rows[place].state is None or rows[place].state.group == group]
            if not own:
                continue
            sums = np.array([rows[place].state.score if rows[place].state else 0.0 for place in own])
            scores = (values[own] + sums[:, None]).ravel().tolist()
            again = [others[token] for token in tokens[own].ravel().tolist()] if others else 0
            fined = np.array(scores) - self.diversity * np.array(again)
            best = np.argsort(-fined, kind="stable").tolist()
            width = values.shape[1]
            found = (
                Candidate(own[n // width], int(tokens[own[n // width], n % width]), Beam(group, scores[n]))
                for n in best
            )
            ending, going = self._parted(rows, found)
            if self._done(rows, ending, going):
                going = []
            others.update(one.token for one in going)
            taken += ending + going
        return taken

    def _parted(
        self, rows: Sequence[Row], found: Iterable[Candidate]
    ) -> tuple[list[Candidate], list[Candidate]]:
        """Return those of the best that end, and the beams that go on; what ends further down is dropped."""
        ending: list[Candidate] = []
        going: list[Candidate] = []
        for rank, one in enumerate(found):
            if rank >= self.size and len(going) == self.size:
                break
            if rows[one.parent].ending(one.token) is None:
                going.append(one)
            elif rank < self.size:
                ending.append(one)
        return ending, going[: self.size]

    def _done(self, rows: Sequence[Row], ending: Sequence[Candidate], going: Sequence[Candidate]) -> bool:
        """Say whether a group's beams cannot come to anything better than what has ended."""
        if not going:
            return True
        first = rows[going[0].parent]
        length, group = len(first.ids) + 1, going[0].beam.group
        worths = [self._worth(row) for row in first.ended if row.state.group == group]
        worths += [self._worthy(one.beam.score, length) for one in ending]
        if len(worths) < self.size or self.early_stopping is True:
            return len(worths) >= self.size
        if self.early_stopping == "never" and self.length_penalty > 0:
            length = first.limit
        best = self._worthy(max(one.beam.score for one in going), length)
        return best <= sorted(worths, reverse=True)[self.size - 1]

    def _worth(self, row: Row) -> float:
        return self._worthy(row.state.score, len(row.ids))

    def _worthy(self, score: float, length: int) -> float:
        return score / length**self.length_penalty


def beam(
    *,
    beams: int = 4,
    limit: int = 64,
    length_penalty: float = 1.0,
    early_stopping: bool | Literal["never"] = False,
    groups: int = 1,
    diversity: float = 0.5,
    samples: int = 1,
    repetition_penalty: float = 1.0,
    no_repeat: int = 0,
) -> Strategy:
    """Follow the likeliest `beams` beginnings, and take the answer of the highest log-probability per token.

    Args:
        beams: rows of each prompt; 1 is greedy decoding.
        limit: most new tokens of an answer.
        length_penalty: answers are compared by their log-probability over their length to this power: 0
            compares sums, and the larger it is, the longer answers get.
        early_stopping: true ends as soon as there are `beams` answers; false, as soon as no beam would be
            better if it ended now; "never", as soon as none can become better.
        groups: of as many beams each, searched one after the other; those after the first avoid the tokens
            that the groups before take in the same step (Vijayakumar et al. 2016, arXiv 1610.02424).
        diversity: nats by which a token falls in rank for each time that it was taken; of more groups only.
        samples: the best answers of each prompt, of one search.
        repetition_penalty, no_repeat: as for `sample`.

    Raises:
        RecipeError: a setting that does not fit.
    """
    require(limit >= 1, "limit", "must be at least 1", limit)
    require(beams >= 1, "beams", "must be at least 1", beams)
    require(groups >= 1 and beams % groups == 0, "groups", f"must divide the {beams} beams", groups)
    require(diversity >= 0, "diversity", "must not be below 0", diversity)
    require(1 <= samples <= beams, "samples", f"must be from 1 to the {beams} beams", samples)
    penalties = Penalties(repetition_penalty, no_repeat=no_repeat)
    search = Search(beams, groups, diversity, length_penalty, early_stopping, penalties)
    settings = {
        "kind": "beam",
        "limit": limit,
        "beams": beams,
        "length_penalty": length_penalty,
        "early_stopping": early_stopping,
        **({"groups": groups, "diversity": diversity} if groups > 1 else {}),
        **penalties.settings,
    }
    return Strategy(settings, limit, samples, search.step, max(2, beams), rank=search.rank)
