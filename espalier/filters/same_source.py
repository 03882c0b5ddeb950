"""What training data has of test sets, file by file: the same texts, and tasks that come from one source.

A task that was derived from the same data set as a test task tells a model its answers even where no text
is the same. So Super-NaturalInstructions trains on none (Wang et al. 2022, arXiv 2204.07705). Its field
`Source` says what a task was made of; where it says nothing the file's name does, behind its number:
`task003_mctaco_…` and `subtask020_mctaco_…` are both of "mctaco".
"""

from __future__ import annotations

import re
from bisect import bisect_right
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError
from espalier.core.text import folded
from espalier.data.judgement import of_media
from espalier.data.mixture import place_of
from espalier.data.pairs import Pairs, is_pairs
from espalier.filters.contamination import contamination
from espalier.formats.folders import files_of
from espalier.formats.load import TOLD, detect_format, iter_rows, spelt
from espalier.formats.readers import rows_of
from espalier.tasks.raw_rows import is_placeholder
from espalier.tasks.task_files import is_task, load_task
from espalier.tasks.templates import Show, to_examples

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.core.records import Example
    from espalier.tasks.raw_rows import Reject

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
    with suppress(DataError):  # of a file that is gone only the name is known
        path = place_of(file)
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
    """Return a row's own texts, each once: what it asks, without a task's words, answers and facts.

    Of media the name is one, long enough to be found by itself; what is asked of them is of them.
    """
    *before, asked = example.prompt or (None,)
    turns = [turn.text for turn in before if turn and turn.role != "system"]
    own = example.input or (asked.text if asked else "")
    shown = [f"The {one.kind} {one.sha256[:32]} {one.sha256[32:]}" for one in example.media]
    later = [turn.text for turn in example.messages[len(example.prompt) :]]
    worse = [turn.text for turn in example.rejected]
    known = _strings(dict(example.facts))
    said = [of_media(example, text) for text in (*turns, own) if text]
    texts = (*shown, *said, *later, *example.references, *worse, *known)
    return list(dict.fromkeys(text for text in texts if text))


def texts_in(path: str) -> Iterator[tuple[str, list[str]]]:
    """Yield the place of each row of a file within it, counted from 1, and its texts.

    A test set need not be anything to train on: of a file in no known format, and of a row that cannot be
    used, all texts count, a table's first line too.

    Raises:
        DataError: the file cannot be read.
    """
    file = place_of(path)
    if is_pairs(file) or is_task(file):
        for number, example in enumerate(rows_in(path), start=1):
            yield str(number), texts_of(example)
    elif not _is_known(file):
        for raw in rows_of(file):
            value = raw.value
            if raw.tabular and raw.number == 2 and isinstance(value, dict):
                yield "1", list(cast("dict[str, object]", value))
            yield str(raw.number), list(_strings(cast("object", value)))
    else:
        rejects: list[Reject] = []
        try:
            for example in iter_rows(file, on_reject=rejects.append, own=True):
                yield str(example.origin["row"]), texts_of(example)
        except DataError:
            if not rejects:
                raise
        for reject in rejects:
            place = re.search(r"(\d+)\D*$", reject["where"].removeprefix(path))
            yield place.group(1) if place else "", list(_strings(reject["row"]))


def _is_known(file: Path) -> bool:
    """Tell whether rows are in a format that can be trained on. Raises DataError where there are none."""
    rows = [raw for raw in islice(spelt(rows_of(file), ()), TOLD) if not raw.error]
    try:
        detect_format(file, rows)
    except (DataError, IndexError):
        return not rows  # who reads them says what is wrong
    return True


def _strings(value: object) -> Iterator[str]:
    """Yield all texts in a value of JSON."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict | list):
        inner = (
            cast("dict[str, object]", value).values()
            if isinstance(value, dict)
            else cast("list[object]", value)
        )
        for item in inner:
            yield from _strings(item)


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
                for place, texts in texts_in(file):
                    self._rows.append(place)
                    yield texts

    def of(self, number: int) -> str:
        """Return file:row."""
        return f"{self.files[bisect_right(self._starts, number) - 1]}:{self._rows[number]}"
