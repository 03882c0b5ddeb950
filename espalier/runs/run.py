"""A run as a program has it: its scores, its report, its model, and how it compares with another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.errors import RunError
from espalier.core.recipe import load_recipe
from espalier.core.run import RunFolder, find_run
from espalier.evaluate.measures import metric_of
from espalier.evaluate.scores import Scores
from espalier.report.comparing import compare_entries
from espalier.report.entries import entry_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from espalier.core.records import Estimate, Metric
    from espalier.evaluate.comparison import Comparison
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
    def scores(self) -> Scores:
        """Each system's estimates by measure: `run.scores["tuned"]["rouge_l"]`.

        Systems are "tuned", "base", earlier stages and the floors; measures are the recipe's scorers, the
        task's checks and "all_checks".

        Raises:
            RunError: there are none yet.
            DataError: another version of the program wrote them, so that they lack something.
        """
        folder = RunFolder(self.path)
        if not folder.scores.exists():
            raise RunError("The run has no scores yet.", where=str(self.path), hint="Finish it.")
        return Scores.read(folder.scores)

    @property
    def gains(self) -> Mapping[str, Estimate]:
        """What tuning changed, by measure: the paired difference to the base model with its interval."""
        scores = self.scores
        found = {name: scores.difference("base", name) for name in scores.listed}
        return {name: gap.estimate for name, gap in found.items() if gap}

    @property
    def report(self) -> Path:
        """The report's file."""
        return self.path / "report.html"

    @property
    def model(self) -> Model:
        """The tuned model, loaded anew each time."""
        from espalier.runs.model import load

        return load(self, self.cache)

    def compare(self, other: Run) -> Comparison:
        """Return how another run's tuned model differs from this one's, as `espalier.compare` does of two.

        Raises:
            DataError: the runs were not scored on the same rows, template and decoding, or share no measure.
        """
        entries = [entry_of(run.path, folding(run.path)) for run in (self, other)]
        return compare_entries([[entry] for entry in entries])

    def __repr__(self) -> str:
        """Return its folder and what it leads with."""
        scores = self.scores
        leads = scores.listed[0]
        return f"Run({str(self.path)!r}, {leads}: {scores.estimate('tuned', leads)})"


def open_finished(path: Path, cache: Path) -> Run:
    """Return the run in a folder. Raises RunError where it has no scores."""
    run = Run(find_run(path).path, cache)
    _ = run.scores
    return run


def folding(path: Path) -> dict[str, Metric]:
    """Return the metrics of a run that fold parts of rows, which no file holds; they are built anew.

    Raises:
        RunError: there is no run.
        RecipeError: its scorers cannot be built.
    """
    folder = RunFolder(find_run(path).path)
    if not folder.scores.exists():
        return {}
    rows = Scores.read(folder.scores).examples[:1]
    if not any(score.parts for row in rows for one in row.systems.values() for score in one.values()):
        return {}
    from espalier.runs.judging import build_scorers

    built = build_scorers(load_recipe(folder.recipe).evaluate)
    metrics = {name: metric_of(name, scorer) for name, scorer in built.items()}
    return {name: metric for name, metric in metrics.items() if metric.fold}
