"""What a run's model was made from: the runs before it, and what their rows ask."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError, EspalierError
from espalier.core.recipe import load_recipe
from espalier.core.run import run_at
from espalier.core.standing import read_provenance
from espalier.data.table import read_examples

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.core.records import Example
    from espalier.core.run import RunFolder


def parents(name: str, weights: str) -> list[dict[str, str]]:
    """Return what a run is made of, the first model first; [] where `name`, its model, is no run.

    Each has a "name" and the hash of its "weights", and a run that of its "recipe" besides. What came before
    the last run stands in its own provenance, so that no other folder has to be there.
    """
    run = run_at(Path(name))
    if run is None:
        return []
    known = read_provenance(run)
    inputs: dict[str, str] = known.get("inputs", {})
    first = {"name": Path(load_recipe(run.recipe).model.name).name, "weights": inputs.get("weights", "")}
    own = {"name": run.path.resolve().name, "recipe": inputs.get("recipe", ""), "weights": weights}
    return [*(known.get("parents") or [first]), own]


def chain(provenance: dict[str, Any], name: str) -> str:
    """Return what a run comes from, as 'smollm2-135m → event-duration → NAME'; '' where that is no run."""
    before = [parent["name"] for parent in provenance.get("parents", [])]
    return " → ".join([*before, name]) if before else ""


def asked_before(name: str, rows: Sequence[Example]) -> int:
    """Return how many rows ask what a run that the model was made from was trained on.

    `name` is the model's. Known are the runs that are there, and of each the rows of its task.
    """
    trained = {row.asked for run in _runs(name) for row in _rows(run)}
    return sum(row.asked in trained for row in rows)


def _runs(name: str) -> Iterator[RunFolder]:
    seen: set[Path] = set()
    while (run := run_at(Path(name))) and run.path.resolve() not in seen:
        yield run
        seen.add(run.path.resolve())
        try:
            name = load_recipe(run.recipe).model.name
        except EspalierError:
            return


def _rows(run: RunFolder) -> list[Example]:
    try:
        return read_examples(run.data / "train.parquet")
    except DataError:
        return []
