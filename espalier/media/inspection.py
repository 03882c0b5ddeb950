"""Every distinct file is opened before the first step, and what was found is kept for the next run.

Threads do it: Pillow and libsndfile let the interpreter go while they decode. What was found stands in a
ledger, a line of JSON for each sha256 with the state of its file. A file whose state is the same is not
opened again; one with another state is hashed, and where it holds something else it is refused: the row meant
what was there before. What was refused is looked at again each time, since a newer library may read it.
"""

from __future__ import annotations

import hashlib
import itertools
import json
import os
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from espalier.core.errors import DataError, RunError
from espalier.core.files import disk_hint
from espalier.media import pictures, sounds
from espalier.media.finding import state_of
from espalier.media.pictures import Picture
from espalier.media.sounds import Sound

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from espalier.core.records import Media
    from espalier.media.finding import State

NAME = "media.jsonl"
BATCH = 256  # files whose findings are written at once
KINDS = {"image": Picture, "audio": Sound}
LOOKS = {"image": pictures.look, "audio": sounds.look}


@dataclass(frozen=True, slots=True)
class Refused:
    """Why a file cannot be used, and what to do; neither names a path."""

    reason: str
    hint: str = ""


Finding: TypeAlias = Picture | Sound | Refused
Entry: TypeAlias = "tuple[State | None, Finding]"  # with the state of the file, where it can be used


def inspect(
    media: Iterable[Media],
    folder: Path,
    *,
    longest: float | None = None,
    known: dict[str, Entry] | None = None,
    workers: int | None = None,
    say: Callable[[int, int], object] = lambda done, total: None,
) -> Mapping[str, Finding]:
    """Open each distinct file once, and return what it holds, or why it is refused, by its sha256.

    Args:
        media: as rows name them, the same one as often as rows do.
        folder: for the ledger, `media.jsonl`: what it knows of a file that has not changed is not looked up.
        longest: seconds of sound that the encoder hears; a longer one is refused.
        known: what the ledger says, by default read from it; what is found is put there, too.
        workers: threads; by default one for each processor of this process.
        say: told after each file that is opened how many are, and how many will be.

    Raises:
        RunError: the ledger cannot be written, such as on a full disk; what was complete stands.
        MissingExtra: pillow or soundfile is not installed.
    """
    distinct = {one.sha256: one for one in media}
    known = ledger(folder) if known is None else known
    found: dict[str, Entry] = {
        sha256: known[sha256]
        for sha256, one in distinct.items()
        if sha256 in known and known[sha256][0] == _state(one.uri)
    }
    waiting = [one for sha256, one in distinct.items() if sha256 not in found]
    count = itertools.count(1)
    with ThreadPoolExecutor(workers or _processors()) as threads:
        for start in range(0, len(waiting), BATCH):
            batch = waiting[start : start + BATCH]
            new: dict[str, Entry] = {}
            for one, entry in zip(batch, threads.map(_look, batch), strict=True):
                new[one.sha256] = entry
                say(next(count), len(waiting))
            _append(folder / NAME, new)
            found |= new
    known |= {sha256: one for sha256, one in found.items() if not isinstance(one[1], Refused)}
    return {sha256: _heard(found[sha256][1], longest) for sha256 in distinct}


def _look(medium: Media) -> Entry:
    """Return the state of a file and what it holds. Raises MissingExtra."""
    try:
        before = _state(medium.uri)
        with open(medium.uri, "rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        if digest != medium.sha256:
            return None, Refused(
                "The file has changed: it is not the one that was read with the rows.",
                "Put the old one back, or prepare the rows anew.",
            )
        return before, LOOKS[medium.kind](Path(medium.uri))
    except OSError as error:
        return None, Refused(f"The file cannot be read: {error.strerror}.")
    except DataError as error:
        return None, Refused(error.message, error.hint)


def _heard(finding: Finding, longest: float | None) -> Finding:
    """Return what was found, refused where it is longer than is heard."""
    if not isinstance(finding, Sound) or longest is None or finding.seconds <= longest:
        return finding
    return Refused(
        f"The sound is {finding.seconds:.1f} s long, and {longest:g} s are heard.",
        f"Cut it into pieces of at most {longest:g} s, with a row for each.",
    )


def _state(path: str) -> State | None:
    try:
        return state_of(os.stat(path))
    except OSError:
        return None


def ledger(folder: Path) -> dict[str, Entry]:
    """Return what a folder's ledger says, the last line of each; one that a kill tore says nothing."""
    known: dict[str, Entry] = {}
    if not (folder / NAME).is_file():
        return known
    with (folder / NAME).open("rb") as lines:
        for line in lines:
            try:
                entry: dict[str, Any] = json.loads(line)
                state = cast("State", tuple(entry["state"]))
                known[entry["sha256"]] = (state, KINDS[entry["kind"]](**entry["found"]))
            except (ValueError, LookupError, TypeError):
                continue
    return known


def _append(path: Path, entries: Mapping[str, Entry]) -> None:
    """Write findings down, but for refusals. Raises RunError."""
    kinds = {made: kind for kind, made in KINDS.items()}
    lines = [
        json.dumps({"sha256": sha256, "kind": kinds[type(one[1])], "state": one[0], "found": asdict(one[1])})
        for sha256, one in entries.items()
        if not isinstance(one[1], Refused)
    ]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("ab") as file:
            # A line of its own first: the last one may have been torn by a kill.
            file.write(("\n" + "\n".join(lines) + "\n").encode() if lines else b"")
    except OSError as error:
        raise RunError(
            f"What was found in the media cannot be written down: {error.strerror}.",
            where=str(path),
            hint=disk_hint(error),
        ) from None


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if "sched_getaffinity" in dir(os) else os.cpu_count() or 1
