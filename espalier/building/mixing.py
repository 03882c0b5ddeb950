"""How much of each source goes into a data set, and which of its rows.

The rates are those of T5 and FLAN (Raffel et al. 2020, arXiv 1910.10683, section 3.5.2; Wei et al. 2022,
arXiv 2109.01652): in proportion to the rows of a source, counted up to a cap, to the power of one over a
temperature, times a weight. Or shares of the tokens are given; or passes over a source, exactly so many.

Which rows is decided by a hash of the seed and the row alone: a smaller mixture takes a beginning of what a
larger one takes, and rows that are added move no other.
"""

from __future__ import annotations

import hashlib
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Generic, Protocol, TypeVar

from espalier.core.errors import RecipeError, nearest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Mapping, Sequence


class Identified(Protocol):
    """Whatever stands for a row: an example, or where one is."""

    @property
    def id(self) -> str:
        """The row's."""
        ...


T = TypeVar("T", bound=Identified)


@dataclass(frozen=True, slots=True)
class Rates:
    """How sources are mixed.

    Attributes:
        rows: of the mixture; 0 is as many as there are without a source that comes more than once.
        cap: rows of a source from which on more of them do not raise its rate; 0 is none.
        temperature: 1 is in proportion to the rows, and the larger, the more equal sources become.
        weights: by source; a source without one has 1.
        tokens: shares of the tokens by source, which then decide alone. They need not sum to 1.
        epochs: passes over a source, which are then exactly that; the other sources share what is left.
    """

    rows: int = 0
    cap: int = 0
    temperature: float = 1.0
    weights: Mapping[str, float] = field(default_factory=dict[str, float])
    tokens: Mapping[str, float] = field(default_factory=dict[str, float])
    epochs: Mapping[str, float] = field(default_factory=dict[str, float])


@dataclass(frozen=True, slots=True)
class Portion:
    """What a source gives to a mixture.

    Attributes:
        source: its name.
        available: rows that it has.
        rows: rows of it that are in the mixture, each counted as often as it comes.
        tokens: of those rows.
        row_share: of all rows of the mixture, 0 to 1; `token_share` the same of the tokens.
    """

    source: str
    available: int
    rows: int
    tokens: int
    row_share: float
    token_share: float

    @property
    def epochs(self) -> float:
        """How often its rows come, on average."""
        return self.rows / self.available


@dataclass(frozen=True, slots=True)
class Mixture(Generic[T]):
    """The rows of a mixture, mixed, and what each source gave."""

    rows: tuple[T, ...]
    portions: tuple[Portion, ...]


def mix(
    sources: Mapping[str, Sequence[T]],
    rates: Rates,
    seed: int,
    count_tokens: Callable[[T], int],
) -> Mixture[T]:
    """Return a mixture of sources.

    Args:
        sources: the rows of each; one without rows gives none.
        rates: how much of each.
        seed: decides which rows where not all are taken, and their order.
        count_tokens: tokens of a row, called once for each row that is looked at.

    Raises:
        RecipeError: the rates do not fit the sources.
    """
    full = {name: rows for name, rows in sources.items() if rows}
    lengths: dict[str, list[int]] = {}
    if rates.tokens:
        lengths = {name: [count_tokens(row) for row in full[name]] for name in rates.tokens if name in full}
    means = {name: sum(found) / len(found) for name, found in lengths.items()}
    counts = row_counts({name: len(rows) for name, rows in full.items()}, rates, means)
    drawn: list[tuple[bytes, T]] = []
    portions: list[Portion] = []
    tokens: dict[str, int] = {}
    for name, rows in full.items():
        taken = _taken(rows, counts[name], seed, name)
        sizes: dict[str, int] = {}
        for _, row in taken:
            if row.id not in sizes:
                sizes[row.id] = count_tokens(row)
        tokens[name] = sum(sizes[row.id] for _, row in taken)
        drawn += taken
    drawn.sort(key=lambda pair: pair[0])
    all_rows, all_tokens = max(1, len(drawn)), max(1, sum(tokens.values()))
    for name, rows in full.items():
        count = counts[name]
        shares = (count / all_rows, tokens[name] / all_tokens)
        portions.append(Portion(name, len(rows), count, tokens[name], *shares))
    return Mixture(tuple(row for _, row in drawn), tuple(portions))


def row_counts(sizes: Mapping[str, int], rates: Rates, means: Mapping[str, float]) -> dict[str, int]:
    """Return how many rows each source gives; more than it has where it comes more than once.

    Args:
        sizes: rows of each source, over 0.
        rates: how much of each.
        means: mean tokens of the rows of each source that `rates.tokens` names.

    Raises:
        RecipeError: a source is unknown, a number does not fit, or nothing is left to share.
    """
    check_rates(sizes, rates)
    fixed = {name: round(passes * sizes[name]) for name, passes in rates.epochs.items() if name in sizes}
    free = {name: size for name, size in sizes.items() if name not in fixed}
    shares = _shares(free, rates, means)
    total = rates.rows - sum(fixed.values())
    if rates.rows and (total < 0 or (total and not free)):
        raise RecipeError(
            f"The passes alone are {sum(fixed.values())} rows; the mixture is to have {rates.rows}.",
            where="mix.rows",
            hint="Change mix.rows or mix.epochs.",
        )
    if not rates.rows:
        # As many as there can be while no source comes again: the first one that is used up decides.
        total = math.floor(
            min((free[name] / part for name, part in shares.items() if part), default=0) + 1e-9
        )
    return {**_rounded(shares, total), **fixed}


def _shares(sizes: Mapping[str, int], rates: Rates, means: Mapping[str, float]) -> dict[str, float]:
    """Return the share of rows of each source that is not fixed."""
    if rates.tokens:
        parts = {name: rates.tokens.get(name, 0.0) / max(means.get(name, 1.0), 1e-9) for name in sizes}
    else:
        parts = {
            name: min(size, rates.cap or size) ** (1 / rates.temperature) * rates.weights.get(name, 1.0)
            for name, size in sizes.items()
        }
    total = sum(parts.values())
    if sizes and not total:
        raise RecipeError("No source has a share.", where="mix", hint="Give at least one more than 0.")
    return {name: part / total for name, part in parts.items()}


def _rounded(shares: Mapping[str, float], total: int) -> dict[str, int]:
    """Return whole numbers that add up to the total, none further than 1 from its share of it."""
    counts = {name: math.floor(share * total + 1e-9) for name, share in shares.items()}
    rest = total - sum(counts.values())
    wanting = sorted(shares, key=lambda name: (counts[name] - shares[name] * total, name))
    for name in wanting[: max(0, rest)] if shares else ():
        counts[name] += 1
    return counts


def check_rates(sizes: Collection[str], rates: Rates) -> None:
    """Refuse rates that fit no rows of these sources. Raises RecipeError."""
    for key, given in (("weights", rates.weights), ("tokens", rates.tokens), ("epochs", rates.epochs)):
        for name, value in given.items():
            if name not in sizes:
                raise RecipeError(
                    f"No row that goes out is from '{name}'.", where=f"mix.{key}", hint=nearest(name, sizes)
                )
            if not (math.isfinite(value) and value >= 0):
                raise RecipeError(f"{value} does not fit: it must be 0 or more.", where=f"mix.{key}.{name}")
    if not (math.isfinite(rates.temperature) and rates.temperature > 0):
        raise RecipeError("The temperature must be over 0.", where="mix.temperature")
    if rates.rows < 0 or rates.cap < 0:
        raise RecipeError("A number of rows must be 0 or more.", where="mix")
    both = sorted(set(rates.tokens) & set(rates.epochs))
    if both:
        raise RecipeError(
            f"'{both[0]}' has a share of the tokens and passes.", where="mix", hint="Leave one of them out."
        )


def _taken(rows: Sequence[T], count: int, seed: int, source: str) -> list[tuple[bytes, T]]:
    """Return so many rows with their places in the mixture: whole passes, and the first of one more."""
    ordered = in_order(rows, seed, source)
    passes, rest = divmod(count, len(rows))
    picked = [(turn, row) for turn in range(passes) for row in ordered]
    picked += [(passes, row) for row in ordered[:rest]]
    return [(_place(seed, f"mixed\0{source}\0{turn}", row.id), row) for turn, row in picked]


def in_order(rows: Iterable[T], seed: int, purpose: str = "") -> list[T]:
    """Return rows in an order that depends on the seed and on each row alone."""
    return sorted(rows, key=lambda row: (_place(seed, purpose, row.id), row.id))


def subset(rows: Sequence[tuple[str, str]], size: int, seed: int) -> list[int]:
    """Return the places of a subset, ascending, for studies of size: it lies in every larger one.

    Args:
        rows: source and id of each. The rows of a source stay together, as splits keep them, but for those
            of the source at the subset's end.
        size: of the subset.
        seed: draws the order of the sources.

    Raises:
        RecipeError: the size is under 1, or over the number of rows.
    """
    if not 0 < size <= len(rows):
        message = f"A subset of {size} rows does not fit: {len(rows)} go out."
        raise RecipeError(message, where="--nested")

    def key(at: int) -> tuple[bytes, bytes, int]:
        source, name = rows[at]
        return _place(seed, "nested source", source), _place(seed, "nested", name), at

    return sorted(sorted(range(len(rows)), key=key)[:size])


def _place(seed: int, purpose: str, name: str) -> bytes:
    return hashlib.sha256(f"{purpose}\0{seed}\0{name}".encode()).digest()
