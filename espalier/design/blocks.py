"""What a design adds to a study's findings: sentences and a table, made of what was scored."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias

from espalier.evaluate.sheet import in_columns

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from espalier.core.records import Metric
    from espalier.design.record import Effect

    Floats: TypeAlias = NDArray[np.float64]

Cell: TypeAlias = tuple[int, ...]  # the number of each factor's level


@dataclass(frozen=True)
class Reading:
    """What a design reads its own findings from.

    Attributes:
        effects: of its contrasts, in their order.
        reached: what each cell's trainings came to, in the measure's own values, seed by seed.
        rows: of cells, the rows' scores [seeds, rows], the rows that all of them have; NaN
            where there is none, and for all where the measure is no mean over rows.
        sources: of the rows.
        metric: what is measured.
        margin: in points, within which levels are as good as each other; None: not asked.
    """

    effects: tuple[Effect, ...]
    reached: Mapping[Cell, Sequence[float]]
    rows: Callable[[Sequence[Cell]], tuple[Mapping[Cell, Floats], Sequence[str]]]
    metric: Metric
    margin: float | None = None


@dataclass(frozen=True, slots=True)
class Block:
    """A part of the page.

    Attributes:
        title: what it answers.
        said: sentences, the most important first.
        head: names of the columns.
        table: a text for each; the first of a row is its name.
        shades: of each cell but the first of a row, from -1 (bad) to 1 (good); none: no heat map.
        numbers: the same for a program.
    """

    title: str
    said: tuple[str, ...]
    head: tuple[str, ...] = ()
    table: tuple[tuple[str, ...], ...] = ()
    shades: tuple[tuple[float, ...], ...] = ()
    numbers: Mapping[str, Any] = field(default_factory=dict[str, Any])

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        return {
            "title": self.title,
            "said": list(self.said),
            "head": list(self.head),
            "table": [list(row) for row in self.table],
            **self.numbers,
        }

    def __str__(self) -> str:
        """Return the sentences and the table."""
        rows = [self.head, *self.table] if self.table else []
        return "\n".join([self.title, *self.said, *([in_columns(rows)] if rows else [])])


Read: TypeAlias = Callable[[Reading], Sequence[Block]]
