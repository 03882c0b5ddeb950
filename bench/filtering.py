"""Filters of building data beside their peers: what is new, what repeats, and what test sets share.

    python -m bench filtering
    python -m bench.filtering novelty --rows 2000
    python -m bench.filtering duplicates --rows 5000
    python -m bench.filtering contamination --rows 1000000

All is plain Python in one thread, so seconds are those of the processor, and the sides take turns on the same
texts: each median is of `--rounds`. A peer that is not installed is left out, and named.
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import random
import statistics
import sys
import time
from functools import partial
from typing import TYPE_CHECKING, Any, TypeVar

from bench.filter_peers import (
    DATASKETCH,
    all_pairs,
    datasketch_pairs,
    datatrove_removed,
    rouge_score_decisions,
)
from bench.rows import BUNDLED, DATA, TASKS
from espalier.core.memory import peak_resident
from espalier.core.text import words
from espalier.filters.alike import Alike, Ranks
from espalier.filters.contamination import LONG, contamination
from espalier.filters.duplicates import duplicates, shingles
from espalier.filters.novelty import novelty
from espalier.filters.same_source import texts_in
from espalier.tasks.task_files import load_task

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    Say = Callable[[str], None]
    Found = TypeVar("Found")
    Pairs = set[tuple[int, int]]

THRESHOLD = 0.8
EDITED = 1 / 20  # rows that are one before with a word changed
HOLDING = 1000  # of so many training rows one has a passage of a test
CHECKED = 20_000  # training rows that are held against a look at every run of words
TESTS = ("*.json", "*.jsonl", "*.tsv")


def main(say: Say, *, rounds: int = 3) -> dict[str, Any]:
    """Measure all three, and return what `novel`, `repeated` and `contaminated` do."""
    return {
        "novelty": novel(say, rounds=rounds),
        "duplicates": repeated(say, rounds=rounds),
        "contamination": contaminated(say),
    }


def novel(say: Say, *, rows: int = 2000, rounds: int = 1) -> dict[str, Any]:
    """Return seconds of the published filter and of ours, and how many of their decisions differ.

    A round of `rouge_score` takes minutes, so that it has one.
    """
    texts = made_texts(rows)
    ours = [_timed(lambda: [near is None for near in novelty(texts)]) for _ in range(rounds)]
    found: dict[str, Any] = {"rows": rows, "new": sum(ours[0][1]), "espalier": _median(ours)}
    if not _has("rouge_score", say):
        return found
    seconds, decisions = _timed(lambda: rouge_score_decisions(texts))
    found["rouge_score"] = round(seconds, 2)
    found["ratio"] = round(seconds / _median(ours))
    found["decisions_differ"] = sum(a != b for a, b in zip(ours[0][1], decisions, strict=True))
    say(f"  novelty: {found}")
    return found


def repeated(say: Say, *, rows: int = 5000, rounds: int = 3) -> dict[str, Any]:
    """Return seconds and recall of near duplicates, ours and datasketch's, and what datatrove removes.

    Pairs are those with a Jaccard index of the threshold or over, among all rows; candidates of either side
    are verified. Datasketch has the settings that `DATASKETCH` names, each measured.
    """
    texts = made_texts(rows)
    exact = all_pairs([shingles(text) for text in texts], THRESHOLD)
    sides: dict[str, Callable[[], Pairs]] = {"espalier": partial(_pairs, texts)}
    if _has("datasketch", say):
        sides |= {
            f"datasketch {name}": partial(datasketch_pairs, texts, setting)
            for name, setting in DATASKETCH.items()
        }
    taken: dict[str, list[tuple[float, Pairs]]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            taken[name].append(_timed(side))
    found: dict[str, Any] = {"rows": rows, "pairs": len(exact)}
    for name, results in taken.items():
        pairs = results[0][1]
        recall = round(len(pairs & exact) / len(exact), 4)
        found[name] = {"seconds": _median(results), "recall": recall, "wrong": len(pairs - exact)}
    whole = [
        _timed(lambda: [near is not None for near in duplicates(texts, THRESHOLD)]) for _ in range(rounds)
    ]
    found["filter"] = {"seconds": _median(whole), "removed": sum(whole[0][1])}
    if _has("datatrove", say):
        seconds, removed = _timed(lambda: datatrove_removed(texts))
        parted = sum(first in removed or later in removed for first, later in exact)
        found["datatrove"] = {
            "seconds": round(seconds, 2),
            "removed": len(removed),
            "in_no_pair": len(removed.difference(*exact)),
            "recall": round(parted / len(exact), 4),
        }
    say(f"  duplicates: {found}")
    return found


def contaminated(say: Say, *, rows: int = 1_000_000) -> dict[str, Any]:
    """Return seconds to hold training rows against all test files, and what a look at every run missed.

    The training rows are words of the tests in another order, so that none is unknown; one of a thousand has
    a passage of a test row.
    """
    tests = _tests()
    train = mixed_rows([text for texts in tests for text in texts], rows)
    seconds, result = _timed(lambda: contamination(([row] for row in train), tests))
    told, peak = set(result.rows), peak_resident()
    wanted = _holding_runs(train[:CHECKED], tests)
    found = {
        "rows": rows,
        "tests": len(tests),
        "seconds": round(seconds, 1),
        "peak_gib": round(peak / 2**30, 2),
        "rows_matched": len(told),
        "tests_matched": len(result.matches),
        "checked": min(rows, CHECKED),
        "checked_with_run": len(wanted),
        "missed": len(wanted - told),
    }
    say(f"  contamination: {found}")
    return found


def made_texts(rows: int, seed: int = 0) -> list[str]:
    """Return short texts in ASCII: halves of real sentences put together, and some edited copies.

    So there are many texts of which a part is the same, and pairs on both sides of any threshold.
    """
    draw = random.Random(seed)
    known = [text.split() for text in _sentences()]
    made: list[list[str]] = []
    while len(made) < rows:
        first, second = draw.choice(known), draw.choice(known)
        text = [*first[: len(first) // 2], *second[len(second) // 2 :]]
        if made and draw.random() < EDITED:
            text = [*draw.choice(made)]
            text[draw.randrange(len(text))] = draw.choice(first)
        made.append(text)
    return [" ".join(text) for text in made]


def mixed_rows(texts: Sequence[str], rows: int, seed: int = 0) -> list[str]:
    """Return training rows of 10 to 30 words of the texts, in no order; some have a passage of a text."""
    draw = random.Random(seed)
    vocabulary = [word for text in texts for word in text.split()]
    passages = [text.split() for text in texts if len(text.split()) >= 2 * LONG]
    made: list[str] = []
    for number in range(rows):
        row = draw.sample(vocabulary, draw.randint(10, 30))
        if number % HOLDING == 0:
            passage = draw.choice(passages)
            start = draw.randrange(len(passage) - 2 * LONG + 1)
            row[len(row) // 2 : len(row) // 2] = passage[start : start + 2 * LONG]
        made.append(" ".join(row))
    return made


def _sentences() -> list[str]:
    """Return inputs of task files, in ASCII and of 6 to 40 words; of the bundled task without the files."""
    files = sorted(TASKS.glob("*.json")) or [BUNDLED]
    found = dict.fromkeys(
        line
        for file in files
        for row in load_task(str(file), lambda _: None).rows[:1000]
        for line in row.input.splitlines()
        if line.isascii() and 6 <= len(line.split()) <= 40
    )
    return [*found]


def _tests() -> list[list[str]]:
    """Return the texts of each row of all test files; without them, of pairs of the bundled task's rows."""
    files = sorted(file for kind in TESTS for file in DATA.rglob(kind) if file.name != "dataset_info.json")
    if not files:
        inputs = [row.input for row in load_task(BUNDLED).rows]
        return [[f"{one} {two}"] for one, two in zip(inputs[::2], inputs[1::2], strict=False)]
    return [texts for file in files for _, texts in texts_in(str(file))]


def _pairs(texts: Sequence[str]) -> Pairs:
    """Return all pairs of near duplicates as our filter finds them: rows that repeat stay here, too."""
    ranks = Ranks(shingles(text) for text in texts)
    alike = Alike(2 * THRESHOLD / (1 + THRESHOLD))
    sets: list[frozenset[int]] = []
    found: Pairs = set()
    for later, text in enumerate(texts):
        elements = ranks.sorted(shingles(text))
        mine = frozenset(elements)
        for first in alike.candidates(elements):
            common = len(mine & sets[first])
            if common >= THRESHOLD * (len(mine) + len(sets[first]) - common):
                found.add((first, later))
        alike.add(elements)
        sets.append(mine)
    return found


def _holding_runs(train: Sequence[str], tests: Sequence[Sequence[str]]) -> set[int]:
    """Return the rows that have 13 words in a row that a test row has, by a look at each."""
    held = {run for texts in tests for text in texts for run in _runs(text)}
    return {number for number, row in enumerate(train) if not held.isdisjoint(_runs(row))}


def _runs(text: str) -> Iterator[tuple[str, ...]]:
    found = words(text)
    return zip(*(found[start:] for start in range(LONG)), strict=False)


def _timed(work: Callable[[], Found]) -> tuple[float, Found]:
    """Return the processor's seconds that something takes, and what it returns."""
    started = time.process_time()
    found = work()
    return time.process_time() - started, found


def _median(taken: Sequence[tuple[float, Any]]) -> float:
    return round(statistics.median(seconds for seconds, _ in taken), 3)


def _has(peer: str, say: Say) -> bool:
    if importlib.util.find_spec(peer) is not None:
        return True
    say(f"  {peer} is left out: it is not installed.")
    return False


def _from_command_line() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["novelty", "duplicates", "contamination"])
    parser.add_argument("--rows", type=int)
    parser.add_argument("--rounds", type=int, default=3)
    asked = parser.parse_args()
    say = partial(print, file=sys.stderr, flush=True)
    sizes = {"rows": asked.rows} if asked.rows else {}
    measure: dict[str, Callable[..., dict[str, Any]]] = {
        "novelty": partial(novel, rounds=asked.rounds),
        "duplicates": partial(repeated, rounds=asked.rounds),
        "contamination": contaminated,
    }
    print(json.dumps(measure[asked.what](say, **sizes)))


if __name__ == "__main__":
    _from_command_line()
