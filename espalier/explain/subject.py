"""The run that is explained: its rows, its judges, and its two models, one in memory at a time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from espalier.core.errors import RunError
from espalier.core.journal import store_of
from espalier.core.recipe import Choice
from espalier.core.run import RunFolder, find_run
from espalier.core.text import counted
from espalier.data.split import limit
from espalier.data.table import read_examples
from espalier.decode.journal import Generations
from espalier.evaluate.harness import evaluate
from espalier.explain.token_shift import Models
from espalier.models.adapters import without_adapter
from espalier.runs.events import bar
from espalier.runs.load import load_base_of, load_run, load_to_decode
from espalier.runs.precision import of_run
from espalier.runs.rating import raters_from
from espalier.runs.run import Run
from espalier.trials.decoding_subject import subject_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path
    from typing import Literal, TypeAlias

    from espalier.core.journal import Journal
    from espalier.core.recipe import Recipe
    from espalier.core.records import Completion, Example
    from espalier.decode.local import Local
    from espalier.evaluate.scores import Scores
    from espalier.trials.decoding_subject import Subject

    System: TypeAlias = Literal["tuned", "base"]

FOLDER = "explain"
FEW = 20  # sources, below which intervals are rough


@dataclass(frozen=True)
class Explained:
    """A run with what explains it.

    Attributes:
        run: its folder.
        judges: its rows and those who judge answers to them.
        scores: of the run.
        test: rows that are asked: all, or some by whole sources.
        cache: folder of converted models.
        journal: the answers that are made here; other runs have them, too.
    """

    run: RunFolder
    judges: Subject
    scores: Scores
    test: Sequence[Example]
    cache: Path
    journal: Generations

    @property
    def recipe(self) -> Recipe:
        """Of the run."""
        return self.judges.recipe

    @property
    def store(self) -> Journal:
        """What the runs of its folder share."""
        return store_of(self.run.path.parent)

    @property
    def train(self) -> Sequence[Example]:
        """The rows that it learned from."""
        file = self.run.data / "train.parquet"
        return read_examples(file) if file.exists() else []

    def local(self, system: System) -> Local:
        """Load a model, ready to answer as it did in the run. Raises RunError, ModelError."""
        made = load_to_decode(self.run, self.cache, base=system == "base")
        return replace(made, journal=self.journal, raters=raters_from(self.cache))

    def models(self) -> Models:
        """Load both models to be compared; an adapter on the recipe's own model is both in one."""
        tuned = of_run(self.run, load_run(self.run, self.cache), "training")
        if len(self.recipe.train) == 1 and without_adapter(tuned.model) is not None:
            return Models(tuned, None)
        return Models(tuned, replace(load_base_of(self.run, self.cache), formats=tuned.formats))

    def answers(
        self, local: Local, examples: Sequence[Example], settings: Choice, title: str
    ) -> dict[str, Completion]:
        """Return a model's answers by the rows' ids, of several samples the first; none is made twice.

        Raises:
            DataError, GenerationError: see `Generator`.
        """
        found: dict[str, Completion] = {}
        with bar(title, len(examples)) as advance:
            for completion in local.generate(examples, settings):
                if completion.sample == 0:
                    found[completion.example] = completion
                    advance(1, "")
        return found

    def judged(self, rows: Sequence[Example], systems: Mapping[str, Sequence[Completion]]) -> Scores:
        """Score answers as the run did."""
        judges = self.judges
        return evaluate(rows, systems, judges.scorers, judges.checks, self.recipe.seed, own=judges.own)


def explained(run: Path, cache: Path, rows: int | None = None) -> Explained:
    """Return a run as it can be explained.

    Args:
        run: its folder.
        cache: folder of converted models.
        rows: most test rows that are asked, by whole sources.

    Raises:
        RunError: it is none, is not finished, or has no model that writes.
    """
    folder = find_run(run)
    if not folder.scores.exists():
        raise RunError("The run has no scores yet.", where=str(run), hint="Finish it with `espalier run`.")
    judges = subject_of(folder.path, (), cache)
    test = limit(judges.test, rows, judges.recipe.seed) if rows else judges.test
    journal = Generations(folder.path / FOLDER / "generations.jsonl", store_of(folder.path.parent))
    return Explained(folder, judges, Run(folder.path, cache).scores, test, cache, journal)


def greedy_of(subject: Explained) -> Choice:
    """Return how the answers that are read are written: as the run's own, where these are greedy."""
    decode = subject.recipe.decode
    limit = decode.params.get("limit")
    plain = {"kind": "greedy", **({"limit": limit} if isinstance(limit, int) else {})}
    return decode if decode.kind == "greedy" else Choice.model_validate(plain)


def few_sources(rows: Sequence[Example]) -> list[str]:
    """Return what is to be said where rows are of so few sources that intervals are rough."""
    sources = len({row.source for row in rows})
    few = f"The rows are of {counted(sources, 'source')}: intervals are rough below {FEW}."
    return [few] if sources < FEW else []
