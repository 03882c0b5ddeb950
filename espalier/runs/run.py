"""A run as a program has it: its scores, its report, its model, and how it compares with others."""

from __future__ import annotations

import os
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.errors import RunError
from espalier.core.run import RunFolder, find_run
from espalier.report.gather import scores_of

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from espalier.comparison.records import Comparison
    from espalier.core.records import Estimate
    from espalier.evaluate.scores import Scores
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
        return scores_of(self.path)

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

    def compare(self, *others: str | os.PathLike[str]) -> Comparison:
        """Return how other runs differ from this one; see `espalier.compare`.

        Raises:
            EspalierError: they cannot be compared.
        """
        from espalier.comparison.compare import compare

        return compare([self, *others])

    def __fspath__(self) -> str:
        """Return its folder: a run may stand wherever one can be named."""
        return str(self.path)

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
