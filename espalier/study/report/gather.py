"""What the report is made of: a run folder read into one record, with a note for each file that is missing.

Of `events.jsonl` it reads three kinds, whatever else is there:

    {"event": "encoded", "rows", "tokens", "trained_tokens", "distinct_tokens",    of one epoch
     "first": {"pieces": [text, …], "trained": [true, …]}}                         first row, token by token
    {"event": "step", "step", "loss", "tokens", "distinct_tokens", "seconds", "peak_mb", …}
    {"event": "stage", "stage": name, "seconds", "peak_bytes"}
"""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError, RunError
from espalier.core.files import read_json, read_jsonl, read_text
from espalier.core.run import RunFolder
from espalier.data.table import read_examples

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from espalier.core.records import Example


@dataclass
class Material:
    """The content of a run folder; `absent` says of each file that could not be read why.

    `outputs` maps (system, example id) to the line of `outputs.jsonl`: of several samples the first, which
    is the one that is scored.
    """

    name: str
    recipe: dict[str, Any] = field(default_factory=dict[str, Any])
    recipe_text: str = ""
    provenance: dict[str, Any] = field(default_factory=dict[str, Any])
    scores: dict[str, Any] = field(default_factory=dict[str, Any])
    outputs: dict[tuple[str, str], dict[str, Any]] = field(default_factory=dict)
    rejects: list[dict[str, Any]] = field(default_factory=list)
    train: list[Example] = field(default_factory=list)
    test: list[Example] = field(default_factory=list)
    events: list[dict[str, Any]] = field(default_factory=list)
    absent: dict[str, str] = field(default_factory=dict[str, str])

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the events of one kind, oldest first."""
        return [event for event in self.events if event.get("event") == kind]

    def last(self, kind: str) -> dict[str, Any]:
        """Return the latest event of one kind, or an empty one."""
        return (self.of(kind) or [{}])[-1]

    def steps(self) -> list[dict[str, Any]]:
        """Return the optimizer steps by number; of one that was done again after a kill, the last counts.

        A training that began again forgets what came after: another recipe can have fewer steps.
        """
        by_number: dict[int, dict[str, Any]] = {}
        for event in self.events:
            if event.get("event") == "train":
                by_number = {number: step for number, step in by_number.items() if number <= event["step"]}
            elif event.get("event") == "step":
                by_number[event["step"]] = event
        return [by_number[number] for number in sorted(by_number)]

    def stages(self) -> list[dict[str, Any]]:
        """Return the stages in the order they first ran; of a stage that ran again, the last counts.

        Training takes at least as long as its steps did: of one that was interrupted, and of a run that did
        not get far enough to tell its stages, those know more.
        """
        stages = {event["stage"]: dict(event) for event in self.of("stage")}
        steps = [event for event in self.steps() if "seconds" in event]
        if steps:
            peak = 1e6 * max(step["peak_mb"] for step in steps)
            train = stages.setdefault("train", {"stage": "train", "seconds": 0.0, "peak_bytes": peak})
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
    material.scores = read(folder.scores, read_json) or {}
    lines = read(folder.outputs, _lines) or []
    material.outputs = {
        (line["system"], line["example"]): line for line in lines if line.get("sample", 0) == 0
    }
    material.rejects = read(folder.rejects, _lines) or []
    material.train = read(folder.data / "train.parquet", read_examples) or []
    material.test = read(folder.data / "test.parquet", read_examples) or []
    material.events = read(folder.events, lambda _: folder.read_events()) or []
    return material


def _lines(path: Path) -> list[dict[str, Any]]:
    return [line for _, line in read_jsonl(path)]


def _toml(path: Path) -> dict[str, Any]:
    try:
        return tomllib.loads(read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise DataError(f"It is not TOML: {error}.", where=str(path)) from None
