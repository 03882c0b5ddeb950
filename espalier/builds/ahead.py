"""What is looked at before a build's model is asked: all that could stop the build when answers are paid.

Rows that are only counted or put into the table are read after generation; filters judge, and a mixture
counts tokens, later still. So each is tried before the first request: sources are read, filters judge some
rows, and it is found whose tokens count.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from espalier.building.mixing import Rates, check_rates
from espalier.builds.generation import check_drawn
from espalier.builds.model import settings_of, token_counter
from espalier.builds.sources import at_key
from espalier.runs.events import working

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from espalier.builds.generation import Writing
    from espalier.builds.recipe import BuildRecipe
    from espalier.builds.sources import Place
    from espalier.core.records import Example
    from espalier.data.judgement import Filter

WHOLE = 256 << 20  # bytes of a source that is read whole
BEGIN = 2000  # rows that are read of a larger one


@dataclass(frozen=True)
class Named:
    """A filter, and where the recipe has it."""

    where: str
    judge: Filter


def check_ahead(
    recipe: BuildRecipe,
    places: Sequence[Place],
    todo: Sequence[Writing],
    judges: Iterable[Named],
    cache: Path,
) -> None:
    """Try all that comes after generation.

    Args:
        recipe: of the build.
        places: its sources.
        todo: its steps of generation.
        judges: its filters, but for those that weigh.
        cache: folder of bundled models.

    Raises:
        DataError, RecipeError, ModelError, MissingExtra: as it would come later.
    """
    gives = [place.name for place in places if place.section.use == "rows"]
    gives += [writing.name for writing in todo if writing.kept]
    if recipe.mix:
        check_rates(gives, Rates(**recipe.mix.model_dump(exclude={"tokenizer"})))
        token_counter(recipe, cache)
    if not recipe.model.server:
        from espalier.decode.local import strategy_of

        strategy_of(settings_of(recipe))
    check_drawn(todo, settings_of(recipe))
    with working("Looking at all sources before anything is asked"):
        shown = [row for place in places for row in _begin(place) if place.section.use == "rows"]
        for one in judges:
            _try(one, shown)


def _begin(place: Place) -> list[Example]:
    """Read a source, all of it if that is quick, and return the first row of each of its files."""
    whole = sum(file.stat().st_size for file in place.files) <= WHOLE
    first: dict[object, Example] = {}
    for row in islice(place.read(), None if whole else BEGIN):
        first.setdefault(row.origin.get("file"), row)
    return list(first.values())


def _try(filter: Named, rows: Sequence[Example]) -> None:
    with at_key(filter.where):
        for _ in filter.judge(rows):
            pass
