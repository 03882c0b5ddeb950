"""Prompt lookup: guesses at what follows, out of the text that is there, so that a step takes several tokens.

Where an answer copies its input, or itself, the last few tokens stand somewhere before, and what came after
them there is likely to come again (Yang et al. 2023, arXiv 2304.04487).
The guess is run in one go with the last token, and what the model would not have taken is dropped: the text
is the one of greedy decoding. A row whose guesses do not come true makes them on trial only, which costs no
run, until they do.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import TYPE_CHECKING

from espalier.decode.strategies.sampling import greedy
from espalier.decode.strategy import Strategy, require
from espalier.encode.tree import common_prefix

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.decode.strategy import Row

# Tokens that a step runs for all rows together, guesses included: about where a step's cost, which at first
# is that of reading the weights, becomes that of its tokens.
TOGETHER = 48


def lookup(*, limit: int = 64, ngram: int = 3, guess: int = 12) -> Strategy:
    """Take the likeliest token each time, several at once where the text before says what follows.

    `ngram` is how many tokens have to be found again, 2 being tried after more of them; `guess` is how many
    are guessed at most. It is as fast as greedy where nothing repeats.
    """
    require(ngram >= 2, "ngram", "must be at least 2", ngram)
    require(guess >= 1, "guess", "must be at least 1", guess)
    plain = greedy(limit=limit)

    def draft(rows: Sequence[Row]) -> list[Sequence[int]]:
        left = TOGETHER - len(rows)
        found: list[Sequence[int]] = []
        for place, row in enumerate(rows):
            share = max(0, left) // (len(rows) - place)  # what a row leaves over is for those behind it
            found.append(() if row.finish else _trail(row, ngram, guess).guesses(row, share))
            left -= len(found[-1])
        return found

    settings = {"kind": "lookup", "limit": limit, "ngram": ngram, "guess": guess}
    return Strategy(settings, limit, 1, plain.step, draft=draft)


@dataclass(slots=True)
class _Trail:
    """What a row has seen: where each run of tokens stood last, and how its guesses came out.

    Attributes:
        sizes: of the runs that are looked up, the longest first.
        most: tokens of a guess.
        ids: prompt and answer.
        after: where the text goes on behind a run of tokens.
        allowed: tokens of the next guess; of 0 it is made on trial.
        guess: the last one, and how long the text was.
    """

    sizes: range
    most: int
    ids: list[int]
    after: dict[tuple[int, ...], int] = field(default_factory=dict[tuple[int, ...], int])
    allowed: int = 2
    guess: tuple[int, ...] = ()

    def guesses(self, row: Row, left: int) -> tuple[int, ...]:
        """Return what may follow the row's last token, at most `left` tokens of it."""
        new = (*row.ids[len(self.ids) - len(row.request.prompt) :],)
        if self.guess:
            right = common_prefix(self.guess, new)
            all_right = right == min(len(self.guess), len(new))
            self.allowed = min(self.most, max(2, 2 * self.allowed)) if all_right else right
        for token in new:
            self.add(token)
        start = next(
            (self.after[run] for size in self.sizes if (run := (*self.ids[-size:],)) in self.after), 0
        )
        known = self.ids[start:]
        self.guess = (*islice(cycle(known), max(1, self.allowed)),) if start else ()
        return self.guess[: min(self.allowed, left)]

    def add(self, token: int) -> None:
        """Add a token; what runs end before it is known now."""
        for size in self.sizes:
            self.after[(*self.ids[-size:],)] = len(self.ids)
        self.ids.append(token)


def _trail(row: Row, ngram: int, guess: int) -> _Trail:
    if row.state is None:
        row.state = _Trail(range(ngram, 1, -1), guess, [])
        for token in row.request.prompt:
            row.state.add(token)
    return row.state
