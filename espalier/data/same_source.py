"""What training data has of test sets, file by file: the same texts, and tasks that come from one source.

A task that was derived from the same data set as a test task tells a model its answers even where no text
is the same. So Super-NaturalInstructions trains on none (Wang et al. 2022, arXiv 2204.07705). Its field
`Source` says what a task was made of; where it says nothing the file's name does, behind its number:
`task003_mctaco_…` and `subtask020_mctaco_…` are both of "mctaco".
"""

from __future__ import annotations

import re
from bisect import bisect_right
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.text import folded
from espalier.data.contamination import contamination
from espalier.data.formats.folders import files_of
from espalier.data.formats.hub import place_of
from espalier.data.formats.rows import iter_rows
from espalier.data.pairs import Pairs, is_pairs
from espalier.data.templates import Show, to_examples
from espalier.tasks.rows import is_placeholder
from espalier.tasks.task_files import is_task, load_task

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.core.records import Example

_NAMED = re.compile(r"(?:sub)?task\d+_([^_]+)_")
UNKNOWN = {"unknown", "synthetic", "self-written", "custom", "crowdsourced", "original"}


@dataclass(frozen=True, slots=True)
class Match:
    """A test row that training data has: both as file:row, and see `contamination.Match`."""

    test: str
    train: str
    kind: str
    passage: str
    share: float


@dataclass(frozen=True, slots=True)
class Shared:
    """What training files have of test files.

    Attributes:
        rows_matched: training rows that have something of a test row.
        tests_matched: test rows that they have.
        same_source: pairs of a training and a test file whose tasks come from one source.
        matches: one for each test row that is there.
    """

    rows_matched: int
    tests_matched: int
    same_source: tuple[tuple[str, str], ...]
    matches: tuple[Match, ...]

    def table(self) -> dict[str, Any]:
        """Return it as JSON has it."""
        return asdict(self)


def shared(train: Sequence[str], test: Sequence[str]) -> Shared:
    """Return what training files have of test files: rows in any format, task files, or tables of builds.

    Raises:
        DataError: a file cannot be used.
    """
    seen, tests = _Places(), _Places()
    found = contamination(seen.texts(train), list(tests.texts(test)))
    matches = [
        Match(tests.of(one.test), seen.of(one.train), one.kind, one.passage, round(one.share, 4))
        for one in found.matches
    ]
    pairs = [
        (mine, theirs)
        for mine in seen.files
        for theirs in tests.files
        if mine != theirs and shared_source(mine, theirs)
    ]
    return Shared(len(found.rows), len(matches), tuple(pairs), tuple(matches))


def shared_source(one: str, other: str) -> str:
    """Return the source that the tasks of two files share; '' where they share none, or none is known."""
    return next(iter(sorted(sources_of(one) & sources_of(other))), "")


def sources_of(file: str) -> set[str]:
    """Return what a task was made of, in small letters and digits; nothing where nobody says."""
    path = Path(file)
    named = load_task(path).sources if path.is_file() and is_task(path) else ()
    told = [name for name in named if not is_placeholder(name) and folded(name) not in UNKNOWN]
    if not told and (found := _NAMED.match(path.name)):
        told = [found.group(1)]
    return {re.sub(r"[\W_]", "", folded(name)) for name in told} - {""}


def rows_in(path: str) -> Iterator[Example]:
    """Yield the rows of a file: of a task, of a table, or of any format. Raises DataError."""
    file = place_of(path)
    if is_pairs(file):
        yield from Pairs(file)
    elif file.exists() and is_task(file):
        yield from to_examples(load_task(path), Show(positive=0, negative=0))
    else:
        yield from iter_rows(file, own=True)


def texts_of(example: Example) -> list[str]:
    """Return a row's own texts, each once: what it asks, without a task's words, and all its answers."""
    *before, asked = example.prompt or (None,)
    turns = [turn.text for turn in before if turn and turn.role != "system"]
    own = example.input or (asked.text if asked else "")
    later = [turn.text for turn in example.messages[len(example.prompt) :]]
    worse = [turn.text for turn in example.rejected]
    return list(dict.fromkeys(text for text in (*turns, own, *later, *example.references, *worse) if text))


class _Places:
    """Where the rows stand that were read, by their number."""

    def __init__(self) -> None:
        self.files: list[str] = []
        self._starts: list[int] = []
        self._rows: list[str] = []

    def texts(self, paths: Sequence[str]) -> Iterator[list[str]]:
        """Yield the texts of the rows of files, one file after another."""
        for path in paths:
            for file in map(str, files_of(place_of(path)).paths):
                self.files.append(file)
                self._starts.append(len(self._rows))
                counted = is_pairs(Path(file)) or is_task(Path(file))
                for number, example in enumerate(rows_in(file), start=1):
                    self._rows.append(str(number if counted else example.origin.get("row", number)))
                    yield texts_of(example)

    def of(self, number: int) -> str:
        """Return file:row."""
        return f"{self.files[bisect_right(self._starts, number) - 1]}:{self._rows[number]}"
