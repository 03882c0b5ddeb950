"""Who has looked at which rows, and how often: the ledger that the runs of a folder share.

A look shows the scores of a model on some rows that no look before has shown. Rows are known by what they
ask and what answers them, not by their file's name, their order or the words of the prompt; a look at some
rows of a set is a look at the set. A model is known by its answers' requests, so that the same weights in
another verb are no new look.

The ledger is `.store/looks.jsonl`: a line a look, appended under a lock, and before anybody sees the scores.
Each run keeps the lines on its own rows in its own `looks.jsonl`. What is known is all of these together, so
that a ledger that was removed is written again from the runs that are left, and a run that is copied
elsewhere brings what it knew.
"""

from __future__ import annotations

import fcntl
import json
import os
from contextlib import contextmanager
from dataclasses import dataclass, fields, replace
from datetime import UTC, datetime
from functools import lru_cache
from typing import TYPE_CHECKING, Any

from espalier.core.errors import RunError
from espalier.core.files import content_hash, disk_hint, file_sha256, write_atomic
from espalier.core.journal import STORE
from espalier.evaluate.score_records import Exposure

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Sequence
    from pathlib import Path
    from typing import IO

    from espalier.core.records import Completion, Example

NAME = "looks.jsonl"
LOSS = "held-out loss"  # of checkpoints, one of which was chosen by it
COMPARISON = "comparison"


@dataclass(frozen=True, slots=True)
class Look:
    """A line of the ledger.

    Attributes:
        rows: the rows, see `row_key`; in a file only its first line on them lists them.
        models: the hash of each model whose scores it shows first.
        times: how many looks it is; 0 is none, where rows were only sealed.
        purpose: what it was for: the verb, or "held-out loss" or "comparison".
        run: name of the folder of who looked; of files those that were compared.
        split: what the rows were to them: "test" or "dev".
        sealed: whether they have the rows sealed.
        time: when, in UTC.
    """

    rows: frozenset[str]
    models: tuple[str, ...]
    times: int
    purpose: str
    run: str
    split: str
    sealed: bool
    time: str

    @property
    def key(self) -> tuple[object, ...]:
        """What two lines on the same look have in common."""
        return set_of(self.rows), self.models, self.run if self.times == 0 else ""


def row_key(example: Example) -> str:
    """Return the hash of what a row asks and what answers it, whatever its task and its prompt say."""
    asked = example.asked or example.prompt[-1].text
    return content_hash([asked, sorted(example.references), [turn.text for turn in example.rejected]])


def keys_of(examples: Iterable[Example]) -> frozenset[str]:
    """Return the rows of a set; what is there twice is one."""
    return frozenset(map(row_key, examples))


@lru_cache
def set_of(rows: frozenset[str]) -> str:
    """Return the name of a set: the hash of its rows, in whatever order they came."""
    return content_hash(sorted(rows))


def model_of(answers: Iterable[Completion]) -> str:
    """Return the hash of who answered: of weights, settings and prompts where they are known, or of texts."""
    first = (one for one in answers if one.sample == 0)
    return content_hash(sorted(one.request or content_hash([one.example, one.text]) for one in first))


def ledger_of(folder: Path) -> Path:
    """Return the ledger of a folder of runs."""
    return folder / STORE / NAME


def looks_in(folder: Path) -> list[Look]:
    """Return all that is known of looks in a folder of runs, oldest first. Raises RunError."""
    files = [ledger_of(folder), *sorted(folder.glob(f"*/{NAME}"))]
    known = {look.key: look for file in reversed(files) for look in _read(file)}
    return sorted(known.values(), key=lambda look: look.time)


def looks_at(rows: frozenset[str], known: Iterable[Look]) -> list[Look]:
    """Return the looks at any of the rows."""
    return [look for look in known if not look.rows.isdisjoint(rows)]


def sealed_by(rows: frozenset[str], known: Iterable[Look]) -> dict[str, str]:
    """Return those of the rows that are sealed, each with the run that has sealed it."""
    found = [look for look in known if look.sealed]
    return {row: look.run for look in reversed(found) for row in look.rows & rows}


def exposure(
    rows: frozenset[str], known: Iterable[Look], split: str = "test", *, asks: bool = True
) -> Exposure:
    """Return how often rows were looked at; `asks` is whether the recipe that asks has them sealed."""
    known = [*known]
    sealed = sealed_by(rows, known)
    found = looks_at(frozenset(sealed) or rows, known)
    by_loss = sum(look.times for look in found if look.purpose == LOSS)
    owner = next((look.run for look in found if look.sealed), "")
    count = sum(look.times for look in found)
    return Exposure(split, count, by_loss, len(sealed) / max(1, len(rows)), owner, asks)


def record(folder: Path, look: Look, *, each: bool = False) -> bool:
    """Count a look if it shows a model that none before has, or seals what nobody has; `times` is set here.

    Args:
        folder: of the runs.
        look: what is looked at, and by whom.
        each: every new model is a look; else all of them together are one.

    Returns:
        Whether the ledger had to be written again, from what the runs keep.

    Raises:
        RunError: the ledger cannot be written, so that nothing may be shown.
    """
    with _held(ledger_of(folder)) as file:
        known = looks_in(folder)
        found = looks_at(look.rows, known)
        shown = {model for other in found for model in other.models}
        new = tuple(model for model in dict.fromkeys(look.models) if model not in shown)
        made = replace(look, models=new, times=len(new) if each else min(1, len(new)))
        lost = known if file.tell() == 0 else []
        seals = look.sealed and sealed_by(look.rows, known).keys() != look.rows
        if new or seals:
            _append(file, [*lost, made], ledger_of(folder))
    return bool(lost)


def keep(run: Path, rows: frozenset[str]) -> None:
    """Keep what is known of looks at the rows in a run's own folder. Raises RunError."""
    own = rows.union(*(look.rows for look in _read(run / NAME)))  # of its other split
    found = looks_at(own, looks_in(run.parent))
    if found:
        write_atomic(run / NAME, _lines(found, set()))


def look_of_file(folder: Path, examples: Iterable[Example], file: Path) -> str:
    """Count a look by another tool's answers where rows are sealed, and say so; else ''. Raises RunError.

    Those of a run in the folder were counted with it.
    """
    rows, known = keys_of(examples), looks_in(folder)
    if not sealed_by(rows, known):
        return ""
    if not (file.parent / NAME).exists():
        record(folder, Look(rows, (file_sha256(file),), 0, "score", file.name, "test", False, now()))
    return exposure(rows, looks_in(folder)).told


def now() -> str:
    """Return the time as a look has it."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def _read(path: Path) -> list[Look]:
    """Return the looks of a file; a line that a kill tore, or that is none, is left out. Raises RunError."""
    try:
        lines = path.read_bytes().split(b"\n") if path.exists() else []
    except OSError as error:
        raise RunError(
            f"How often rows were looked at cannot be read, so no score is shown: {error.strerror}.",
            where=str(path),
            hint="Mend its rights; what was answered is kept.",
        ) from None
    rows: dict[str, frozenset[str]] = {}
    found: list[Look] = []
    for line in lines:
        try:
            table: Any = json.loads(line)
            name = table.pop("set")
            listed, models = table.pop("rows", ()), table.pop("models")
            found.append(Look(rows=rows.setdefault(name, frozenset(listed)), models=tuple(models), **table))
        except (ValueError, TypeError, KeyError, AttributeError):
            continue
    return found


def _lines(looks: Sequence[Look], named: set[str]) -> str:
    """Return looks as lines; the rows of a set that is `named` already are not listed again."""
    lines: list[str] = []
    for look in looks:
        name = set_of(look.rows)
        rows = {} if name in named else {"rows": sorted(look.rows)}
        named.add(name)
        rest = {one.name: getattr(look, one.name) for one in fields(look) if one.name != "rows"}
        lines.append(json.dumps({"set": name, **rest, **rows}, ensure_ascii=False) + "\n")
    return "".join(lines)


@contextmanager
def _held(path: Path) -> Generator[IO[bytes]]:
    """Hold the ledger for appending. Raises RunError."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab+") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            file.seek(0, os.SEEK_END)
            yield file
    except OSError as error:
        raise RunError(
            f"The look at these rows cannot be counted, so no score is shown: {error.strerror}.",
            where=str(path),
            hint=disk_hint(error) or "Make the folder writable; what was answered is kept.",
        ) from None


def _append(file: IO[bytes], looks: Sequence[Look], path: Path) -> None:
    named = {set_of(look.rows) for look in _read(path)}
    file.seek(max(file.tell() - 1, 0))
    torn = file.read(1) not in (b"", b"\n")
    file.write(("\n" * torn + _lines(looks, named)).encode())
    file.flush()
    os.fsync(file.fileno())
