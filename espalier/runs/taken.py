"""A stage that another run of the folder has done: its model is taken from there, with what was told of it.

The journal says which run has done a stage, and what its model's files were; the files themselves stay in
that run's folder. They are held to that before they are taken, as links where the disk has them: a run stays
whole when the one that it was taken from is removed.
"""

from __future__ import annotations

import os
import shutil
from typing import TYPE_CHECKING

from espalier.core.files import content_hash, damage
from espalier.core.run import RunFolder, installed
from espalier.runs.events import say
from espalier.train.states import states_in

if TYPE_CHECKING:
    from pathlib import Path

    from espalier.core.journal import Journal
    from espalier.runs.plan import Stage


def note(run: RunFolder, stage: Stage, key: str, store: Journal) -> None:
    """Write down which run has done a stage. Raises RunError."""
    done = run.done(stage.name)
    if done is None or not done.files:
        return
    where = {"run": run.path.name, "stage": stage.name, "model": str(stage.model.relative_to(run.path))}
    store.add({f"{_entry(stage, key)}{content_hash([where, done.files])}": {**where, "files": done.files}})


def take(run: RunFolder, stage: Stage, key: str, store: Journal) -> bool:
    """Take a stage from another run that has done it and is whole; return whether there is one."""
    for known in store.under(_entry(stage, key)).values():
        other = RunFolder(run.path.parent / known["run"])
        source = other.path / known["model"]
        if source == stage.model or not source.is_dir() or damage(source, known["files"]):
            continue
        states = states_in(source.parent / stage.states.name, key) if stage.section.keep else []
        if stage.section.keep and not states:
            continue
        run.forget(stage.name)
        try:
            _link(source, stage.model, known["files"])
            for path, _ in states:
                link_file(path, stage.states / path.name)
        except OSError:  # it is removed at this moment, or the disk is full, which the training will tell
            continue
        for event in other.read_events():
            if event.get("stage") == known["stage"]:
                run.log({**event, "stage": stage.name})
        run.log({"event": "taken", "stage": stage.name, "run": known["run"]})
        run.mark_done(stage.name, key, known["files"])
        shutil.rmtree(stage.folder / "checkpoints", ignore_errors=True)
        say(f"Training was done in {other.path}: taken from there.")
        return True
    return False


def _entry(stage: Stage, key: str) -> str:
    """Return how the keys of a stage's entries begin; only the last stage's adapter stays one."""
    return f"stage:{content_hash([key, stage.last, installed()])}:"


def _link(source: Path, target: Path, files: dict[str, list[int | str]]) -> None:
    """Make a folder of the same files, all or nothing. Raises OSError."""
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir(parents=True)
    try:
        for name in files:
            link_file(source / name, partial / name)
        if wrong := damage(partial, files):
            raise OSError(wrong)
        shutil.rmtree(target, ignore_errors=True)
        partial.rename(target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def link_file(source: Path, target: Path) -> None:
    """Make a file of the same content, a link where the disk has them. Raises OSError."""
    target.parent.mkdir(parents=True, exist_ok=True)
    target.unlink(missing_ok=True)
    try:
        os.link(source, target)
    except OSError:  # a file system without links
        shutil.copyfile(source, target)
