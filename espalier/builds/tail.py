"""What a data set is made of, asked for by name: its long tail, and what a stricter filter would cost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from espalier.building.longtail import facets, long_tail
from espalier.building.review import decisions_of, reviewed
from espalier.building.tradeoff import tradeoff
from espalier.builds.built import rows_with_verdicts
from espalier.builds.review import journal_at
from espalier.core.errors import DataError, RecipeError
from espalier.data.judgement import filters, weighing
from espalier.tasks.checks import checks as checks_known

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from espalier.building.longtail import LongTail
    from espalier.building.tradeoff import Tradeoff
    from espalier.core.records import Example
    from espalier.data.judgement import Judgement

SWEPT = ("task", "verb", "length", "topic")


@dataclass(frozen=True)
class Sweep:
    """Which filter's threshold to sweep, and what says that a row is right.

    Attributes:
        filter: its name.
        params: its parameters, where it has not judged the rows yet.
        keep: whether high scores stay, or low ones.
        checks: of the task, by name; none are the decisions of a review.
    """

    filter: str
    params: Mapping[str, Any]
    keep: Literal["over", "under"] = "over"
    checks: tuple[str, ...] = ()


def tail_of(place: Path, count_topics: int = 0) -> LongTail:
    """Return the long-tail report of a build's folder or a file. Raises DataError where it cannot be read."""
    rows = [row for row, _ in rows_with_verdicts(place)]
    return long_tail(rows, facets(rows, count_topics=count_topics))


def sweep(place: Path, asked: Sweep) -> Tradeoff:
    """Return what each threshold of a filter leaves of a build's folder or a file.

    Raises:
        DataError: the rows cannot be read, have no score, or nobody judged any.
        RecipeError: no filter has that name, or its parameters do not fit.
    """
    found = list(rows_with_verdicts(place))
    rows = [row for row, _ in found]
    if any(asked.filter in verdicts for _, verdicts in found):
        scores = [verdicts[asked.filter].score if asked.filter in verdicts else None for _, verdicts in found]
    elif asked.filter in weighing.names():
        raise RecipeError(
            f"'{asked.filter}' needs a model, and has not judged these rows.",
            hint="Build with this filter first, and name the build's folder.",
        )
    else:
        scores = [one.score for one in filters.build(asked.filter, asked.params, "filter")(rows)]
    kinds = facets(rows)
    passes = [judgement.ok for judgement in _right(place, rows, asked.checks)]
    return tradeoff(scores, passes, {name: kinds[name] for name in SWEPT}, keep=asked.keep)


def _right(place: Path, rows: Sequence[Example], checks: tuple[str, ...]) -> list[Judgement]:
    if checks:
        return [*filters.build("checks", {"names": checks}, "filter")(rows)]
    found = [judgement for _, judgement in reviewed(rows, decisions_of(journal_at(place)))]
    if all(one.ok is None for one in found):
        raise DataError(
            "Nothing says which rows are right: they have not been reviewed.",
            hint=f"Name checks ({', '.join(checks_known.names())}) or review some: espalier review {place}",
        )
    return found
