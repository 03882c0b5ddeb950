"""The run folder: what it holds, who may write to it, and which of its stages are done.

A stage is keyed by the hash of all that goes into it. A stage whose key stands in `stages.json` is done and
is not done again, as long as its files are what they were. One process at a time holds the folder.
"""

from __future__ import annotations

import fcntl
import functools
import importlib.metadata
import json
import os
import platform
import time
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from espalier.core.errors import DataError, RunError
from espalier.core.files import disk_hint, jsonl, read_json, write_atomic, write_changed

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Mapping
    from pathlib import Path
    from typing import IO

    Files: TypeAlias = dict[str, list[int | str]]

LOCK = ".lock"
PACKAGES = ("espalier-lm", "torch", "transformers", "tokenizers", "peft", "numpy")


@dataclass(frozen=True, slots=True)
class Done:
    """A stage that is complete: the hash of all that went into it, and the `inventory` of its model.

    An earlier version did not write the latter down: it is {} then.
    """

    key: str
    files: Files


@dataclass(frozen=True)
class RunFolder:
    """The paths and the record keeping of one run; see `open_run` for writing to it.

    `listen` gets every event that is logged, such as a tracker. `same` says that the folder is of a run that
    was finished with this very recipe and inputs, whatever the keys of its stages: a later version of this
    program may hash them otherwise.
    """

    path: Path
    listen: Callable[[Mapping[str, Any]], object] = lambda _: None
    same: bool = False

    @property
    def recipe(self) -> Path:
        """The resolved recipe."""
        return self.path / "recipe.toml"

    @property
    def provenance(self) -> Path:
        """Versions, seeds and the hashes of every input."""
        return self.path / "provenance.json"

    @property
    def precision(self) -> Path:
        """The number formats that were chosen at the first start, and what was measured for it."""
        return self.path / "precision.json"

    @property
    def data(self) -> Path:
        """`train.parquet` and `test.parquet`, and `dev.parquet` where rows are held out of training."""
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
    def stages(self) -> Path:
        """Which stages of the training are done, with the files of their models."""
        return self.path / "stages.json"

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
        events: list[dict[str, Any]] = []
        for line in self.events.read_bytes().split(b"\n"):
            try:
                event: object = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):
                events.append(cast("dict[str, Any]", event))
        return events

    def write_rejects(self, rejects: Mapping[str, list[dict[str, Any]]]) -> bool:
        """Write what each stage has rejected, rows of `where` and `reason`; return whether it is new."""
        rows = [{"stage": stage, **reject} for stage, found in rejects.items() for reject in found]
        return write_changed(self.rejects, jsonl(rows).encode())

    def is_done(self, stage: str, key: str) -> bool:
        """Say whether a stage was completed with this key."""
        done = self.done(stage)
        return done is not None and done.key == key

    def done(self, stage: str) -> Done | None:
        """Return what is known of a stage that was completed; None where it was not."""
        return self._stages().get(stage)

    def mark_done(self, stage: str, key: str, files: Files | None = None) -> None:
        """Record that a stage is complete, with its model's `inventory`, which must be on disk before."""
        self._write_stages({**self._stages(), stage: Done(key, files or {})})

    def forget(self, stage: str) -> None:
        """Record that a stage is not complete."""
        stages = self._stages()
        if stages.pop(stage, None):
            self._write_stages(stages)

    def _stages(self) -> dict[str, Done]:
        """Return the stages that are done. Raises DataError where the file is damaged."""
        if not self.stages.exists():
            return {}
        try:
            table: object = read_json(self.stages)
            if isinstance(table, dict):
                return {name: _done(value) for name, value in cast("dict[str, Any]", table).items() if value}
            wrong = "It holds no object {…}."
        except DataError as error:
            wrong = error.message
        raise DataError(
            f"Which stages are done cannot be read: {wrong}",
            where=str(self.stages),
            hint="Remove the file, and the same command goes on, with a training that was done if need be.",
        )

    def _write_stages(self, stages: Mapping[str, Done]) -> None:
        table = {name: {"key": done.key, "files": done.files} for name, done in stages.items()}
        write_atomic(self.stages, json.dumps(table, indent=1) + "\n")


def _done(value: object) -> Done:
    """Return what stages.json says of a stage; earlier versions wrote the key alone."""
    if isinstance(value, str):
        return Done(value, {})
    table = cast("dict[str, Any]", value if isinstance(value, dict) else {})
    if not table.keys() >= {"key", "files"}:
        raise DataError("A stage has no key or no files.")
    return Done(table["key"], table["files"])


@contextmanager
def open_run(path: Path, patience: float = 0.0) -> Generator[RunFolder]:
    """Hold a run folder for writing; it is made where it does not exist.

    What was made for it goes again where no run has begun in it. `patience` is how many seconds another
    process may take to let go of it.

    Raises:
        RunError: another process holds it, or it cannot be made.
    """
    missing = [folder for folder in (path, *path.parents) if not os.path.lexists(folder)]
    fresh = not os.path.lexists(path / LOCK)
    end = time.monotonic() + patience
    while not (lock := _locked(path)):
        if time.monotonic() > end:
            raise RunError(
                "Another run is writing to this folder.",
                where=str(path),
                hint="Wait for it, or give this run another name with -o name=NEW.",
            )
        time.sleep(0.1)
    run = RunFolder(path)
    with lock:
        try:
            yield run
        finally:
            if fresh and not run.recipe.exists():
                with suppress(OSError):
                    (path / LOCK).unlink()
                    for folder in missing:
                        folder.rmdir()


def _locked(path: Path) -> IO[str] | None:
    """Return the folder's lock, held; None where another process holds it. Raises RunError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        lock = (path / LOCK).open("w")
    except OSError as error:
        dangling = path.is_symlink() and not path.exists()
        why = f"it is a link to {os.readlink(path)}, which is not there" if dangling else error.strerror
        raise RunError(f"The run folder cannot be made: {why}.", where=str(path)) from None
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if os.fstat(lock.fileno()).st_ino == (path / LOCK).stat().st_ino:
            return lock
    except (BlockingIOError, FileNotFoundError):
        pass
    except OSError as error:  # of file systems that know no locks
        raise RunError(f"The run folder cannot be locked: {error.strerror}.", where=str(path)) from None
    lock.close()  # it is held, or was taken away just now by one that had made it
    return None


def find_run(path: Path) -> RunFolder:
    """Return a finished or unfinished run for reading. Raises RunError where there is none."""
    folder = RunFolder(path)
    if not os.path.exists(folder.recipe):
        raise RunError(
            "This is not a run folder: it holds no recipe.toml.",
            where=str(path),
            hint="Name the folder that `espalier run` printed, such as runs/event-duration.",
        )
    return folder


def dev_folder(path: Path) -> Path:
    """Return where the scores of a run on its development rows go: NAME-dev beside it."""
    path = path.resolve()
    return path.with_name(f"{path.name}-dev")


def run_at(folder: Path) -> RunFolder | None:
    """Return the run whose folder, or whose model's folder, this is; None where it is no run's.

    A recipe that somebody has put beside a model makes no run of its folder.
    """
    for path in (folder, *([folder.parent] if folder.name == "model" else [])):
        run = RunFolder(path)
        if not os.path.exists(run.recipe):  # no OSError where no folder can have the name
            continue
        if run.provenance.exists() or not (path / "config.json").exists():
            return run
    return None


def stage_name(number: int, count: int) -> str:
    """Return what stage `number` of `count`, from 0, is called in the records; a single one is 'train'."""
    return "train" if count == 1 else f"train {number}"


def installed() -> dict[str, str]:
    """Return the versions of the packages that decide what comes out."""
    return {name: version_of(name) for name in PACKAGES}


@functools.cache
def version_of(package: str) -> str:
    """Return the version of an installed package; its files are read once for a process."""
    return importlib.metadata.version(package)


def provenance(seed: int, inputs: Mapping[str, str]) -> dict[str, Any]:
    """Return what is needed to know where a run came from: versions, machine, seed and input hashes."""
    return {
        "started": datetime.now(UTC).isoformat(timespec="seconds"),
        "seed": seed,
        "inputs": dict(inputs),
        "python": platform.python_version(),
        "platform": f"{platform.system()} {platform.machine()}",
        "cores": os.cpu_count(),
        "packages": installed(),
    }
