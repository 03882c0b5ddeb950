"""What is done with a build that is there: its rows shown, compared with another's, written out again."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.building.exporting import Exported, export
from espalier.building.funnel import make_funnel
from espalier.builds.build import find_build
from espalier.builds.review import decisions_at
from espalier.core.errors import RecipeError, nearest
from espalier.data.pairs import Pairs, is_pairs
from espalier.filters.same_source import rows_in
from espalier.formats.load import numbered
from espalier.report.dataset_card import Made, write_card
from espalier.runs.events import bar, say

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from espalier.core.records import Example
    from espalier.data.pairs import Verdicts

NONE = "none"


@dataclass(frozen=True, slots=True)
class RowsDiffer:
    """How two sets of rows differ, by the ids of rows: those of one only, and whose verdicts changed."""

    same: int
    only_first: list[str]
    only_second: list[str]
    changed: Mapping[str, list[str]]


def rows_with_verdicts(place: str | Path, filter: str = "") -> Iterator[tuple[Example, Verdicts]]:
    """Yield the rows of a build's folder, or of a file in any format, with their verdicts.

    Args:
        place: a folder or a file.
        filter: only rows that this one does not let pass.

    Raises:
        RecipeError: there are no verdicts of that filter.
        RunError, DataError: the folder or the file cannot be used.
    """
    pairs = _pairs(place)
    names = pairs.filters if pairs else []
    if filter and filter not in names:
        raise RecipeError(f"No filter '{filter}' has judged these rows.", hint=nearest(filter, names))
    rows = pairs.judged() if pairs else ((example, {}) for example in numbered(rows_in(str(place))))
    return ((example, found) for example, found in rows if not filter or found[filter].ok is False)


def compare_rows(first: str, second: str) -> RowsDiffer:
    """Return how the rows of two builds or files differ.

    Raises:
        RunError, DataError: a folder or a file cannot be used.
    """
    one, other = (_verdicts(place) for place in (first, second))
    both = one.keys() & other.keys()
    changed: dict[str, list[str]] = {}
    for row in one:
        if row in both:
            for name in one[row].keys() & other[row].keys():
                if one[row][name] != other[row][name]:
                    changed.setdefault(name, []).append(row)
    return RowsDiffer(
        len(both),
        [row for row in one if row not in both],
        [row for row in other if row not in both],
        dict(sorted(changed.items())),
    )


def export_rows(
    folder: Path, to: Path, format: str, drop: Sequence[str] | None, mask: Sequence[str]
) -> tuple[Exported, Path]:
    """Write the rows of a build to a file, and its card beside it.

    Args:
        folder: of the build.
        to: the file, by its ending JSONL, CSV or Parquet.
        format: of its rows.
        drop: names of the filters whose rows stay behind; None for all but those of `mask`.
        mask: names of the filters of which what they found is replaced by a tag.

    Raises:
        RecipeError: no such filter or format.
        RunError, DataError: see `find_build` and `export`.
    """
    build = find_build(folder)
    names = build.pairs.filters
    dropped = [name for name in names if name not in mask] if drop is None else [n for n in drop if n != NONE]
    for name in (*dropped, *mask):
        if name not in names:
            raise RecipeError(f"No filter '{name}' has judged these rows.", hint=nearest(name, names))
    before, recipe = build.funnel, build.recipe
    funnel = make_funnel(before.name, build.pairs, before.sources, before.steps, dropped, before.written)
    if recipe.mix:
        say("Note: all rows that pass are written; [mix] is of what the build itself writes.")
    with bar(f"Writing {to.name}", funnel.rows) as advance:
        exported = export(
            build.pairs, to, format, dropped, mask, lambda: advance(1, ""), decisions=decisions_at(folder)
        )
    made = Made(to.name, format, dropped, mask, recipe.hash, recipe.to_toml())
    return exported, write_card(to.parent, funnel, exported, made)


def _pairs(place: str | Path) -> Pairs | None:
    path = Path(place)
    if is_pairs(path):
        return Pairs(path)
    return find_build(path).pairs if (path / "recipe.toml").is_file() else None


def _verdicts(place: str) -> dict[str, dict[str, bool | None]]:
    """Return by the id of each row whether each filter lets it pass."""
    pairs = _pairs(place)
    if pairs is None:
        return {example.id: {} for example in numbered(rows_in(place))}
    return {row: {name: one.ok for name, one in found.items()} for row, found in pairs.verdicts()}
