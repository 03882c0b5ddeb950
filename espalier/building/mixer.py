"""Which rows of those that go out are written: a mixture, or a subset. Known when all have been seen.

Rows are seen one by one, and nothing of them is kept but ids, sources and, where they count, tokens.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.building.mixing import Mixture, Portion, Rates, mix, subset

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from espalier.core.records import Example


@dataclass(frozen=True, slots=True)
class Seen:
    """A row that goes out: its id, its place among those, and its tokens."""

    id: str
    place: int
    tokens: int


class Mixer:
    """Rows as they go out, and how much of each source is to.

    Args:
        rates: how much of each.
        seed: decides which rows, and their order.
        names: of the sources, by the number that a row's origin has.
        count_tokens: of a row.
    """

    def __init__(
        self, rates: Rates, seed: int, names: Sequence[str], count_tokens: Callable[[Example], int]
    ) -> None:
        self._rates = rates
        self._seed = seed
        self._names = names
        self._count = count_tokens
        self._seen: dict[str, list[Seen]] = {name: [] for name in names}
        self._rows = 0
        self._mixture: Mixture[Seen] | None = None

    def see(self, row: Example) -> None:
        """Take the next row that goes out."""
        number = row.origin.get("source")
        name = self._names[number] if isinstance(number, int) and number < len(self._names) else ""
        self._seen.setdefault(name, []).append(Seen(row.id, self._rows, self._count(row)))
        self._rows += 1

    def order(self) -> list[int]:
        """Return the places of the rows of the mixture, in its order; some come more than once.

        Raises:
            RecipeError: the rates do not fit the sources.
        """
        return [one.place for one in self._mixed().rows]

    @property
    def portions(self) -> tuple[Portion, ...]:
        """What each source gives, in rows and tokens. Raises RecipeError."""
        return self._mixed().portions

    def _mixed(self) -> Mixture[Seen]:
        if self._mixture is None:
            self._mixture = mix(self._seen, self._rates, self._seed, lambda one: one.tokens)
        return self._mixture


class Subset:
    """So many rows, in their order; see `subset`."""

    def __init__(self, size: int, seed: int) -> None:
        self._size = size
        self._seed = seed
        self._seen: list[tuple[str, str]] = []
        self.portions: tuple[Portion, ...] = ()

    @property
    def words(self) -> str:
        """What it is, for a card."""
        return (
            f"A subset of {self._size} of the {len(self._seen)} rows that pass, by sources in an order that "
            f"the seed {self._seed} draws: it lies in every larger subset of this data set."
        )

    def see(self, row: Example) -> None:
        """Take the next row that goes out."""
        self._seen.append((row.source, row.id))

    def order(self) -> list[int]:
        """Return the places of the rows of the subset. Raises RecipeError where there are not so many."""
        return subset(self._seen, self._size, self._seed)
