"""A build that is there: its table, funnel and report, its rows shown, or compared with another's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.building.exporting import read_exported
from espalier.building.funnel import FUNNEL, TABLE, Funnel, read_funnel
from espalier.builds.recipe import load_build
from espalier.core.errors import RecipeError, RunError, nearest
from espalier.core.run import RunFolder
from espalier.core.spending import NOTHING, Spent
from espalier.data.pairs import Pairs, is_pairs
from espalier.filters.same_source import rows_in
from espalier.formats.load import numbered

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from espalier.building.mixing import Portion
    from espalier.builds.recipe import BuildRecipe
    from espalier.core.records import Example
    from espalier.data.pairs import Verdicts


@dataclass(frozen=True)
class Build:
    """A data set that was built.

    Attributes:
        path: its folder.
        paid: what requests came to in this start; `funnel.written` has it by step, and in all starts.
    """

    path: Path
    paid: Spent = NOTHING

    @property
    def recipe(self) -> BuildRecipe:
        """The resolved recipe."""
        return load_build(RunFolder(self.path).recipe)

    @property
    def pairs(self) -> Pairs:
        """All rows with their verdicts, read anew each time that one goes over them."""
        return Pairs(self.path / TABLE)

    @property
    def funnel(self) -> Funnel:
        """How many rows came in, what was found in them, how many go out. Raises DataError."""
        return read_funnel(self.path / FUNNEL)

    @property
    def exported(self) -> Path | None:
        """The file that went out; None where the recipe names none."""
        asked = self.recipe.export
        return self.path / asked.path if asked else None

    @property
    def portions(self) -> list[Portion]:
        """What each source gave to the mixture that went out; nothing where the recipe has no `[mix]`."""
        exported = read_exported(self.path)
        return list(exported.portions) if exported else []

    @property
    def report(self) -> Path:
        """The report's file."""
        return RunFolder(self.path).report


CODES = {None: 0, True: 1, False: 2}  # what a filter says of a row


@dataclass(frozen=True, slots=True)
class RowsDiffer:
    """How two sets of rows differ, by the ids of rows: those of one only, and whose verdicts changed."""

    same: int
    only_first: list[str]
    only_second: list[str]
    changed: Mapping[str, list[str]]


def find_build(path: Path) -> Build:
    """Return the build in a folder. Raises RunError where there is none, or it has not got that far."""
    if not (path / TABLE).is_file() or not (path / FUNNEL).is_file():
        raise RunError(
            f"This is not the folder of a build: it holds no {TABLE} with its {FUNNEL}.",
            where=str(path),
            hint="Name the folder that `espalier build` printed, such as runs/NAME.",
        )
    return Build(path)


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
    (names, one), (others, other) = (_verdicts(place) for place in (first, second))
    both = one.keys() & other.keys()
    columns = [(name, names.index(name), others.index(name)) for name in names if name in others]
    changed: dict[str, list[str]] = {}
    for row in one:
        if row in both and columns:
            for name, mine, theirs in columns:
                if one[row][mine] != other[row][theirs]:
                    changed.setdefault(name, []).append(row)
    return RowsDiffer(
        len(both),
        [row for row in one if row not in both],
        [row for row in other if row not in both],
        dict(sorted(changed.items())),
    )


def _pairs(place: str | Path) -> Pairs | None:
    path = Path(place)
    if is_pairs(path):
        return Pairs(path)
    return find_build(path).pairs if (path / "recipe.toml").is_file() else None


def _verdicts(place: str) -> tuple[list[str], dict[str, bytes]]:
    """Return the filters, and by the id of each row whether each lets it pass, in a byte each."""
    pairs = _pairs(place)
    if pairs is None:
        return [], {example.id: b"" for example in numbered(rows_in(place))}
    names = pairs.filters
    kept: dict[bytes, bytes] = {}
    found: dict[str, bytes] = {}
    for row, verdicts in pairs.verdicts():
        told = bytes(CODES[verdicts[name].ok] for name in names)
        found[row] = kept.setdefault(told, told)
    return names, found
