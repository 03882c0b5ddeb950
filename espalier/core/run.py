"""The run folder: what it holds, who may write to it, and which of its stages are done.

A stage is keyed by the hash of all that goes into it. A stage whose key stands in `stages.json` is done and
is not done again; a changed key is done anew. One process at a time holds the folder.
"""

from __future__ import annotations

import fcntl
import importlib.metadata
import json
import os
import platform
import time
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from espalier.core.errors import RunError
from espalier.core.files import disk_hint, read_json, read_jsonl, write_atomic

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path

PACKAGES = ("espalier-lm", "torch", "transformers", "tokenizers", "peft", "numpy")


@dataclass(frozen=True)
class RunFolder:
    """The paths and the record keeping of one run; see `open_run` for writing to it.

    `listen` gets every event that is logged, such as a tracker.
    """

    path: Path
    listen: Callable[[Mapping[str, Any]], object] = lambda _: None

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.toml"

    @property
    def provenance(self) -> Path:
        """Versions, seeds and the hashes of every input."""
        return self.path / "provenance.json"

    @property
    def data(self) -> Path:
        """`train.parquet` and `test.parquet`."""
        return self.path / "data"

    @property
    def rejects(self) -> Path:
        """Each row that was left out, and why."""
        return self.path / "rejects.jsonl"

    @property
    def checkpoints(self) -> Path:
        """What an interrupted training goes on from."""
        return self.path / "checkpoints"

    @property
    def model(self) -> Path:
        """The tuned model in Hugging Face layout; an adapter stays an adapter."""
        return self.path / "model"

    @property
    def outputs(self) -> Path:
        """Every completion of every system."""
        return self.path / "outputs.jsonl"

    @property
    def scores(self) -> Path:
        """What `evaluate` made of the outputs."""
        return self.path / "scores.json"

    @property
    def events(self) -> Path:
        """What happened, in order; one JSON object a line."""
        return self.path / "events.jsonl"

    @property
    def report(self) -> Path:
        """The report for people."""
        return self.path / "report.html"

    def log(self, event: Mapping[str, Any]) -> None:
        """Append one event, with the time, to `events.jsonl`."""
        line = json.dumps({"time": round(time.time(), 3), **event}, default=str) + "\n"
        try:
            with self.events.open("ab+") as file:
                file.seek(max(file.tell() - 1, 0))
                torn = file.read(1) not in (b"", b"\n")  # by a kill; this event shall not be lost with it
                file.write(("\n" * torn + line).encode())
        except OSError as error:
            raise RunError(
                f"The event log cannot be written: {error.strerror}.",
                where=str(self.events),
                hint=disk_hint(error),
            ) from None
        self.listen(event)

    def log_stage(self, stage: str, started: float, peak_bytes: float) -> None:
        """Log what a stage has cost since `started`, on the monotonic clock.

        One that had nothing to do is not logged, or its true cost would be lost.
        """
        seconds = time.monotonic() - started
        self.log({"event": "stage", "stage": stage, "seconds": seconds, "peak_bytes": peak_bytes})

    def read_events(self) -> list[dict[str, Any]]:
        """Return all events, oldest first; a line that a kill tore is left out."""
        if not self.events.exists():
            return []
        lines = self.events.read_text(encoding="utf-8").split("\n")
        events: list[dict[str, Any]] = []
        for line in lines:
            try:
                events.append(json.loads(line))
            except json.JSONDecodeError:
                continue
        return events

    def is_done(self, stage: str, key: str) -> bool:
        """Say whether a stage was completed with this key."""
        return self._stages().get(stage) == key

    def mark_done(self, stage: str, key: str) -> None:
        """Record that a stage is complete; what it wrote must be on disk before."""
        write_atomic(self.path / "stages.json", json.dumps({**self._stages(), stage: key}, indent=1) + "\n")

    def _stages(self) -> dict[str, str]:
        path = self.path / "stages.json"
        return read_json(path) if path.exists() else {}

    def write_rejects(self, stage: str, rejects: list[dict[str, Any]]) -> None:
        """Replace what a stage rejected: rows of at least `where` and `reason`."""
        kept = (
            [row for _, row in read_jsonl(self.rejects) if row["stage"] != stage]
            if self.rejects.exists()
            else []
        )
        rows = kept + [{"stage": stage, **reject} for reject in rejects]
        write_atomic(self.rejects, "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


@contextmanager
def open_run(path: Path) -> Generator[RunFolder]:
    """Hold a run folder for writing; it is made where it does not exist.

    Raises:
        RunError: another process holds it, or it cannot be made.
    """
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / ".lock").open("w")
    except OSError as error:
        raise RunError(f"The run folder cannot be made: {error.strerror}.", where=str(path)) from None
    with lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise RunError(
                "Another run is writing to this folder.",
                where=str(path),
                hint="Wait for it, or give this run another name with -o name=NEW.",
            ) from None
        yield RunFolder(path)


def find_run(path: Path) -> RunFolder:
    """Return a finished or unfinished run for reading. Raises RunError where there is none."""
    folder = RunFolder(path)
    if not folder.recipe.exists():
        raise RunError(
            "This is not a run folder: it holds no recipe.toml.",
            where=str(path),
            hint="Name the folder that `espalier run` printed, such as runs/event-duration.",
        )
    return folder


def provenance(seed: int, inputs: Mapping[str, str]) -> dict[str, Any]:
    """Return what is needed to know where a run came from: versions, machine, seed and input hashes."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "inputs": dict(inputs),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }
