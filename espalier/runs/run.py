"""A run as a program has it: its scores, its report, its model, and how it compares with another."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError, RunError, nearest
from espalier.core.files import read_json
from espalier.core.records import Estimate
from espalier.core.run import RunFolder, find_run
from espalier.evaluate.compare import Difference, compare
from espalier.evaluate.sheet import estimate, listed

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from espalier.runs.model import Model


@dataclass(frozen=True)
class Run:
    """A run that has come to its scores.

    Attributes:
        path: its folder.
        cache: folder of converted models.
    """

    path: Path
    cache: Path

    @property
    def scores(self) -> Mapping[str, Mapping[str, Estimate]]:
        """Each system's estimates by measure, from 0 to 1: `run.scores["tuned"]["rouge_l"]`.

        Systems are "tuned", "base", earlier stages and the floors; measures are the recipe's scorers, the
        task's checks and "all_checks".
        """
        scores = self._sheet()
        names = listed(scores)
        return {
            system: {name: _estimate(estimate(scores, system, name)) for name in names}
            for system in scores["systems"]
        }

    @property
    def gains(self) -> Mapping[str, Estimate]:
        """What tuning changed, by measure: the paired difference to the base model with its interval."""
        scores = self._sheet()
        found = next(d["values"] for d in scores["differences"] if d["b"] == "base")
        return {name: _estimate(found[name]) for name in listed(scores)}

    @property
    def report(self) -> Path:
        """The report's file."""
        return self.path / "report.html"

    @property
    def model(self) -> Model:
        """The tuned model, loaded anew each time."""
        from espalier.runs.model import load

        return load(self, self.cache)

    def compare(self, other: Run) -> Mapping[str, Difference]:
        """Return how this run's tuned model differs from another's, row by row, by measure.

        Raises:
            DataError: the runs were not scored on the same rows, or share no measure.
        """
        mine, theirs = self._sheet(), other._sheet()
        names = [name for name in listed(mine) if name in listed(theirs)]
        if not names:
            raise DataError("The runs share no measure.", where=f"{self.path} and {other.path}")
        sources = {row["id"]: row["source"] for row in mine["examples"]}
        return {
            name: compare(_values(mine, name), _values(theirs, name), sources, mine["seed"]) for name in names
        }

    def _sheet(self) -> dict[str, Any]:
        folder = RunFolder(self.path)
        if not folder.scores.exists():
            raise RunError("The run has no scores yet.", where=str(self.path), hint="Finish it.")
        return read_json(folder.scores)

    def __repr__(self) -> str:
        """Return its folder and what it leads with."""
        scores = self._sheet()
        leads = listed(scores)[0]
        return f"Run({str(self.path)!r}, {leads}: {_estimate(estimate(scores, 'tuned', leads))})"


def open_finished(path: Path, cache: Path) -> Run:
    """Return the run in a folder. Raises RunError where it has no scores."""
    run = Run(find_run(path).path, cache)
    _ = run.scores
    return run


def _values(scores: Mapping[str, Any], measure: str) -> dict[str, float | None]:
    known = [row["systems"]["tuned"]["values"] for row in scores["examples"]]
    ids = [row["id"] for row in scores["examples"]]
    try:
        return {name: values[measure] for name, values in zip(ids, known, strict=True)}
    except KeyError:
        hint = nearest(measure, known[0])
        raise DataError(
            f"There are no values of '{measure}' by row.", where="scores.json", hint=hint
        ) from None


def _estimate(table: Mapping[str, Any]) -> Estimate:
    value, low, high = (math.nan if table[key] is None else table[key] for key in ("value", "low", "high"))
    return Estimate(value, low, high, table["n"], table.get("missing", 0))
