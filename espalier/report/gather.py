"""What the report is made of: a run folder read into one record, with a note for each file that is missing.

Of `events.jsonl` it reads seven kinds, whatever else is there:

    {"event": "encoded", "rows", "tokens", "trained_tokens", "distinct_tokens",    of one epoch
     "first": {"pieces": [text, …], "trained": [true, …]},                         first row, token by token
     "media_tokens", "distinct_media_tokens"}                                      where rows have media
    {"event": "media", "kind", "media", "tokens", "encoded", "seconds", "settings"}    of the distinct ones
    {"event": "step", "stage", "step", "loss", "said", "tokens", "distinct_tokens", "seconds", "peak_mb", …}
    {"event": "dev", "stage", "step", "loss", "rows"}                              of rows that are held out
    {"event": "stage", "stage": name, "seconds", "peak_bytes"}
    {"event": "precision", "why"}                                  the number formats, in a sentence
    {"event": "samples", "stage", "round", "answers": [{"example", "number", "text", "rewards", …}, …]}

A stage of training is named "train", or where there are several "train 0", "train 1", …
"""

from __future__ import annotations

import tomllib
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError, RunError
from espalier.core.files import read_json, read_jsonl, read_text
from espalier.core.run import RunFolder, stage_name
from espalier.data.looks import exposure, keys_of, looks_in
from espalier.data.table import read_examples
from espalier.evaluate.scores import Scores
from espalier.evaluate.widened import widened

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from espalier.core.records import Example


@dataclass
class Material:
    """The content of a run folder; `absent` says of each file that could not be read why.

    `outputs` maps (system, example id) to the line of `outputs.jsonl`: of several samples the first, which
    is the one that is scored. `samples` holds, by stage, the answers that the model learned from.
    """

    name: str
    recipe: dict[str, Any] = field(default_factory=dict[str, Any])
    recipe_text: str = ""
    provenance: dict[str, Any] = field(default_factory=dict[str, Any])
    scores: Scores = field(default_factory=Scores)
    outputs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    train: list[Example] = field(default_factory=list)
    test: list[Example] = field(default_factory=list)
    dev: list[Example] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    samples: dict[str, list[dict[str, Any]]] = field(default_factory=dict[str, list[dict[str, Any]]])
    absent: dict[str, str] = field(default_factory=dict[str, str])

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind, oldest first."""
        return [event for event in self.events if event.get("event") == kind]

    def last(self, kind: str) -> dict[str, Any]:
        """Return the latest event of one kind, or an empty one."""
        return (self.of(kind) or [{}])[-1]

    def sections(self) -> list[dict[str, Any]]:
        """Return the recipe's `[train]`, stage by stage."""
        train = self.recipe.get("train", {})
        return train if isinstance(train, list) else [train]

    def trainings(self) -> list[str]:
        """Return the names of the recipe's stages of training."""
        count = len(self.sections())
        return [stage_name(number, count) for number in range(count)]

    def steps(self, training: str = "", kind: str = "step") -> list[dict[str, Any]]:
        """Return the optimizer steps of one stage, or of all, by number; or the evaluations, "dev".

        Of a step that was done again after a kill, the last counts. A training that began again forgets what
        came after: another recipe can have fewer steps.
        """
        found: dict[str, dict[int, dict[str, Any]]] = {}
        for event in self.events:
            known = found.setdefault(event.get("stage", "train"), {})
            if event.get("event") == "train":
                for number in [number for number in known if number > event["step"]]:
                    del known[number]
            elif event.get("event") == kind:
                known[event["step"]] = event
        names = [training] if training else self.trainings()
        return [step for name in names for _, step in sorted(found.get(name, {}).items())]

    def taken_from(self, training: str) -> str:
        """Return the run that a stage of training was taken from; '' where this run trained it itself."""
        run = ""
        for event in self.events:
            if event.get("stage", "train") == training and event.get("event") in ("taken", "train"):
                run = event.get("run", "")
        return run

    def stages(self) -> list[dict[str, Any]]:
        """Return the stages in the order they first ran; of a stage that ran again, the last counts.

        A training that an earlier recipe had is left out. Training takes at least as long as its steps did:
        of one that was interrupted, and of a run that did not get far enough to tell its stages, those know
        more.
        """
        names = self.trainings()
        stages = {
            event["stage"]: dict(event)
            for event in self.of("stage")
            if event["stage"] in names or not event["stage"].startswith("train")
        }
        for name in names:
            steps = [event for event in self.steps(name) if "seconds" in event]
            if steps:
                peak = 1e6 * max(step["peak_mb"] for step in steps)
                train = stages.setdefault(name, {"stage": name, "seconds": 0.0, "peak_bytes": peak})
                train["seconds"] = max(train["seconds"], sum(step["seconds"] for step in steps))
        return list(stages.values())


def gather(path: Path) -> Material:
    """Read a run folder, as far as it goes.

    Raises:
        RunError: there is no such folder.
    """
    if not path.is_dir():
        raise RunError("There is no such run folder.", where=str(path))
    folder, material = RunFolder(path), Material(path.resolve().name)

    def read(file: Path, reader: Callable[[Path], Any]) -> Any:
        name = str(file.relative_to(path))
        if not file.exists():
            material.absent[name] = f"{name} is not in the run folder."
            return None
        try:
            return reader(file)
        except DataError as error:
            material.absent[name] = f"{name} cannot be read: {error.message}"
            return None

    material.recipe_text = read(folder.recipe, read_text) or ""
    material.recipe = read(folder.recipe, _toml) or {}
    material.provenance = read(folder.provenance, read_json) or {}
    material.scores = read(folder.scores, Scores.read) or Scores()
    lines = read(folder.outputs, _lines) or []
    material.outputs = {
        (line["system"], line["example"]): line for line in lines if line.get("sample", 0) == 0
    }
    material.rejects = read(folder.rejects, _lines) or []
    material.train = read(folder.data / "train.parquet", read_examples) or []
    material.test = read(folder.data / "test.parquet", read_examples) or []
    if (folder.data / "dev.parquet").exists():
        material.dev = read(folder.data / "dev.parquet", read_examples) or []
    material.scores = _with_looks(path, material)
    material.events = read(folder.events, lambda _: folder.read_events()) or []
    material.samples = {name: _samples(material, name) for name in material.trainings()}
    return material


def scores_of(path: Path) -> Scores:
    """Return the scores of a run, with how often its rows were looked at, and intervals that hold for that.

    Raises:
        DataError: it has no scores, or they cannot be read.
    """
    folder = RunFolder(path)
    material = Material(path.name, scores=Scores.read(folder.scores))
    for file, reader, name in (
        (folder.recipe, _toml, "recipe"),
        (folder.provenance, read_json, "provenance"),
        (folder.data / "test.parquet", read_examples, "test"),
    ):
        if file.exists():
            with suppress(DataError):
                setattr(material, name, reader(file))
    return _with_looks(path, material)


def _with_looks(path: Path, material: Material) -> Scores:
    split = "dev" if material.provenance.get("split") == "dev" else "test"
    asks = bool(material.recipe.get("data", {}).get("sealed"))
    found = exposure(keys_of(material.test), looks_in(path.resolve().parent), split, asks=asks)
    return replace(widened(material.scores, found.looks), exposure=found)


def _samples(material: Material, training: str) -> list[dict[str, Any]]:
    """Return a stage's samples; of a training that began again, those of before it are forgotten."""
    found: dict[int, list[dict[str, Any]]] = {}
    for event in material.events:
        if event.get("stage") != training:
            continue
        if event.get("event") == "train" and event["step"] == 0:  # the first round is sampled before it
            found = {turn: lines for turn, lines in found.items() if turn == 0}
        elif event.get("event") == "samples":
            found[event["round"]] = [{"round": event["round"], **line} for line in event["answers"]]
    return [line for lines in found.values() for line in lines]


def _lines(path: Path) -> list[dict[str, Any]]:
    return [line for _, line in read_jsonl(path)]


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"It is not TOML: {error}.", where=str(path)) from None
