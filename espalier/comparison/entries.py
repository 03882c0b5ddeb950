"""A run as a comparison knows it: its verdicts, what they rest on, and all that must be alike to compare."""

from __future__ import annotations

import json
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from espalier.comparison.records import Side, Training
from espalier.core.errors import DataError, RunError, nearest
from espalier.core.files import content_hash, file_sha256
from espalier.core.identity import flat
from espalier.core.recipe import load_recipe
from espalier.core.run import RunFolder, dev_folder, find_run
from espalier.core.standing import read_provenance
from espalier.evaluate.measures import AS_IS, FLOORS, metric_of
from espalier.report.gather import gather
from espalier.scorers.registry import named_scorers

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    from espalier.core.records import Example, Metric
    from espalier.evaluate.scores import Scores
    from espalier.report.gather import Material

TUNED = "tuned"
# What two trainings of one recipe may differ in: the seed, and what does not reach the model.
FREE = (
    *("name", "folder", "seed", "track", "data.seed", "train.checkpoint", "train.parallel", "task.path"),
    *("evaluate", "task.checks", "data.test_limit", "data.sealed"),
    *("train.keep", "train.states"),
)


@dataclass(frozen=True)
class Entry:
    """One training, or one file of another tool.

    Attributes:
        path: the run's folder, or the file.
        side: the training alone.
        measures: by which it was scored, what leads first.
        examples: the scored rows by id, as far as they are known.
        texts: its answers by id.
        trained: inputs that it was trained on.
        template: hash of its chat template; '' where it is not known.
        decoding: the settings by their dotted names; None where they are not known.
        recipe: what makes it the training that it is, but for the seed; None of another tool's.
        seed: of the training.
        formats: the number formats that it was trained and decoded in, in words; '' where they are not known.
        table: sha256 of the table of test rows; '' where there is none.
        notes: what a reader has to know of it.
        doubt: why its numbers are not to be believed; '' for no reason.
        candidate: whether it is one to choose; a base model or a floor is none.
        sealed: whether its recipe seals the test rows.
    """

    path: Path
    side: Side
    measures: list[str]
    examples: Mapping[str, Example]
    texts: Mapping[str, str]
    trained: frozenset[str] = frozenset()
    template: str = ""
    decoding: Mapping[str, object] | None = None
    recipe: Mapping[str, object] | None = None
    seed: int = 0
    formats: str = ""
    table: str = ""
    notes: tuple[str, ...] = ()
    doubt: str = ""
    candidate: bool = True
    sealed: bool = False

    @property
    def name(self) -> str:
        """Its name for a person."""
        return self.side.name


def entry_of(path: Path, system: str = "") -> Entry:
    """Return the run in a folder, with the answers of one of its systems: by default what was tuned or asked.

    Where rows have parts that a metric folds, which no file holds, the recipe's scorers are built anew.

    Raises:
        RunError: there is no run, or it has no scores.
        DataError: it has no such system, or its scores cannot be read.
        RecipeError: its scorers cannot be built.
    """
    folder = RunFolder(find_run(path).path)
    if not folder.scores.exists():
        raise RunError(
            "The run has no scores yet, so it cannot be compared.",
            where=str(path),
            hint="The same `espalier run` goes on where it stopped.",
        )
    material = gather(folder.path)
    if "scores.json" in material.absent:
        raise DataError(material.absent["scores.json"], where=str(path))
    scores = material.scores
    system = system or leading(folder.path)
    if system not in scores.systems:
        raise DataError(
            f"The run has no scores of '{system}'; it has {', '.join(scores.systems)}.",
            where=str(path),
            hint=nearest(system, [*scores.systems]),
        )
    columns = {
        name: {m: scores.of_rows(name, m) for m in scores.listed} for name in (system, *_floors(material))
    }
    name = material.name if system in (TUNED, AS_IS) else f"{material.name}:{system}"
    side = Side(
        name,
        (Training(name, columns.pop(system)),),
        {row.id: row.source for row in scores.examples},
        {**scores.metrics, **_folding(folder, scores)},
        columns,
    )
    test = folder.data / "test.parquet"
    return Entry(
        path=folder.path,
        side=side,
        measures=scores.listed,
        examples={example.id: example for example in material.test},
        texts={row: line["text"] for (who, row), line in material.outputs.items() if who == system},
        trained=frozenset(e.asked for e in material.train if e.asked and system != "base"),
        template=_template(material),
        decoding=flat(material.recipe.get("decode", {})),
        recipe=_recipe(material, system),
        seed=int(material.recipe.get("seed", 0)),
        formats=material.provenance.get("inputs", {}).get("formats", ""),
        table=file_sha256(test) if test.exists() else "",
        candidate=system not in {"base", *FLOORS},
        sealed=bool(material.recipe.get("data", {}).get("sealed")),
    )


def leading(folder: Path) -> str:
    """Return the system that a run is about: what it tuned, or the model that was scored as it is."""
    return AS_IS if "server" in read_provenance(RunFolder(folder)) else TUNED


def entry_on_dev(path: Path) -> Entry:
    """Return the run in a folder with its answers to the rows that it held out; see `entry_of`.

    Raises:
        RunError: these are not scored.
    """
    run, dev = entry_of(path), dev_folder(path)
    if not RunFolder(dev).scores.exists():
        raise RunError(
            "The run's development rows are not scored yet.",
            where=str(path),
            hint=f"Score them first: espalier evaluate {path} --split dev.",
        )
    found = entry_of(dev, AS_IS)
    (training,) = found.side.trainings
    side = replace(found.side, name=run.name, trainings=(replace(training, name=run.name),))
    kept = replace(found, recipe=run.recipe, seed=run.seed, trained=run.trained, sealed=False)
    return replace(kept, side=side)


def _folding(folder: RunFolder, scores: Scores) -> dict[str, Metric]:
    first = scores.examples[:1]
    if not any(score.parts for row in first for one in row.systems.values() for score in one.values()):
        return {}
    built = named_scorers(load_recipe(folder.recipe).evaluate)
    metrics = {name: metric_of(name, scorer) for name, scorer in built.items()}
    return {name: metric for name, metric in metrics.items() if metric.fold}


def _floors(material: Material) -> list[str]:
    return [name for name in FLOORS if name in material.scores.systems]


def _template(material: Material) -> str:
    """Return a name of the chat template with what it is given."""
    made = material.provenance.get("inputs", {}).get("template", "")
    given = material.recipe.get("model", {}).get("template", {})
    return made and (f"{made} given {json.dumps(given, sort_keys=True)}" if given else made)


def _recipe(material: Material, system: str) -> dict[str, object]:
    """Return what makes a training what it is, but for its seed."""
    inputs: dict[str, Any] = material.provenance.get("inputs", {})
    stages = {str(number): stage for number, stage in enumerate(material.sections())}
    leaves = flat({**material.recipe, "train": stages if len(stages) > 1 else stages.get("0", {})})
    kept = {key: value for key, value in leaves.items() if key not in FREE and key != "model.name"}
    named = {f"the {name}": inputs.get(name) for name in ("task", "weights", "template")}
    return {**kept, **named, "the system": system}


def looked_at(entries: list[Entry]) -> int:
    """Return by how many runs beside these the same test rows were scored, these and earlier scores included.

    What is removed is not counted, nor what another folder holds.
    """
    tables = {entry.table for entry in entries} - {""}
    found = 0
    for folder in sorted({entry.path.resolve().parent for entry in entries if entry.table}):
        for run in map(RunFolder, sorted(path for path in folder.iterdir() if path.is_dir())):
            test = run.data / "test.parquet"
            if run.scores.exists() and test.exists() and file_sha256(test) in tables:
                found += 1 + len(list(run.path.glob("earlier/*/scores.json")))
    return found


def prompt_of(example: Example) -> str:
    """Return a hash of what the row asks, worked examples and all."""
    return content_hash([(turn.role, turn.text) for turn in example.prompt])
