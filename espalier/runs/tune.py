"""Rows that a program holds, tuned on: written down as a file, with a recipe that fits them."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import pyarrow as pa

from espalier.core.errors import DataError
from espalier.core.files import content_hash, write_changed
from espalier.core.recipe import as_recipe
from espalier.runs.first_recipe import first_recipe, written
from espalier.runs.look import look_at
from espalier.tasks.raw_rows import kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.recipe import Recipe


def recipe_of_rows(
    rows: Iterable[Mapping[str, Any]],
    model: str,
    overrides: Sequence[str],
    *,
    method: str,
    name: str,
    folder: str,
    cache: Path,
) -> Recipe:
    """Write rows into the folder of the run that they make, and return a recipe that fits them.

    Args:
        rows: dicts in any format that a file may have, a data set of `datasets`, or an Arrow table.
        model: as `model.name`.
        overrides: of the recipe, such as "train.rate=1e-4".
        method: as `train.method`.
        name: of the run; '' makes one up out of the rows.
        folder: of runs.
        cache: folder of converted models.

    Raises:
        DataError: what is given is no rows, or they cannot be used.
    """
    lines = list(lines_of(rows))
    name = name or f"tune-{content_hash(lines)[:8]}"
    file = Path(folder) / name / f"{name}.jsonl"
    write_changed(file, "".join(lines).encode())
    seen = look_at(str(file), Path("recipe.toml"), model, {}, cache)
    table = tomllib.loads(written(first_recipe(seen), "Rows of a program."))
    own = [f"name={name}", f"folder={folder}", f"train.method={method}"]
    return as_recipe(table, [*own, *overrides])


def lines_of(rows: object) -> Iterable[str]:
    """Yield rows that a program holds as lines of JSON. Raises DataError where they are none."""
    table = cast("Any", rows).to_pylist() if isinstance(rows, pa.Table) else rows
    if isinstance(table, str | Path | Mapping) or not isinstance(table, Iterable):
        raise DataError(
            f"These are no rows but {kind(table)}.",
            hint='Give a list of dicts, such as {"prompt": "…", "completion": "…"}. A file of rows is for '
            "espalier.run: its path is task.path of a recipe.",
        )
    for number, row in enumerate(cast("Iterable[object]", table), start=1):
        if not isinstance(row, Mapping):
            raise DataError(
                f"A row should be a dict; it is {kind(row)}.",
                where=f"row {number}",
                hint='Rows of pandas: frame.to_dict("records").',
            )
        try:
            yield json.dumps(dict(cast("Mapping[str, Any]", row)), ensure_ascii=False, default=str) + "\n"
        except (TypeError, ValueError) as error:
            raise DataError(f"The row cannot be written as JSON: {error}.", where=f"row {number}") from None
