"""What a data set of a million rows costs: near duplicates, and a build with the filters that need no model.

    python -m bench.building duplicates --rows 1000000 --words 15
    python -m bench.building duplicates --rows 200000 --words 200
    python -m bench.building build --rows 1000000

Rows are made of words as frequent as those of a language (Zipf); one of twenty repeats one before it with a
word changed. Printed are seconds of the clock and of CPU, the peak of memory, and of near duplicates what
share of the pairs that a look at all pairs finds was found, on the first rows.
"""

from __future__ import annotations

import argparse
import json
import resource
import sys
import time
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING

import numpy as np

from espalier.builds.build import build
from espalier.builds.model import Terms
from espalier.builds.recipe import as_build
from espalier.core.memory import peak_resident
from espalier.core.run import RunFolder
from espalier.filters.duplicates import duplicates, shingles

if TYPE_CHECKING:
    from collections.abc import Iterator

VOCABULARY = 50_000
REPEATS = 0.05
THRESHOLD = 0.8
FILTERS = (
    *("length", "form", "beyond_text", "refusal", "self_identification", "personal", "complexity"),
    *("duplicates", "contradictions", "novelty"),
)


def texts(rows: int, words: int, seed: int = 0) -> Iterator[str]:
    """Yield texts of about so many words; the same seed is the same texts."""
    draw = np.random.default_rng(seed)
    letters = np.array(list("abcdefghijklmnopqrstuvwxyz"))
    vocabulary = ["".join(draw.choice(letters, size)) for size in draw.integers(2, 10, VOCABULARY)]
    share = 1 / np.arange(1, VOCABULARY + 1)
    ends = np.cumsum(share / share.sum())
    before: list[list[str]] = []
    for _ in range(rows):
        if before and draw.random() < REPEATS:
            said = list(before[int(draw.integers(len(before)))])
            said[int(draw.integers(len(said)))] = vocabulary[int(draw.integers(VOCABULARY))]
        else:
            size = int(draw.integers(words // 2, words * 3 // 2 + 1))
            said = [vocabulary[place] for place in np.searchsorted(ends, draw.random(size))]
            if len(before) < 10_000:
                before.append(said)
        yield " ".join(said)


@contextmanager
def costs(what: str) -> Iterator[None]:
    """Print what is done within costs."""
    started, cpu = time.monotonic(), time.process_time()
    yield
    print(
        f"{what}: {time.monotonic() - started:.0f} s, {time.process_time() - cpu:.0f} s of CPU, "
        f"peak {peak_resident() / 2**30:.2f} GiB"
    )


def near_duplicates(rows: int, words: int, sample: int) -> None:
    """Measure near duplicates, and hold a sample against all pairs."""
    made = list(texts(rows, words))
    print(f"{rows} rows of {words} words in memory: peak {peak_resident() / 2**30:.2f} GiB")
    with costs("near duplicates"):
        found = sum(near is not None for near in duplicates(made, THRESHOLD))
    print(f"found: {found}")
    some = made[:sample]
    told = {number for number, near in enumerate(duplicates(some, THRESHOLD)) if near}
    sets = [shingles(text) for text in some]
    wanted = {
        later
        for later, mine in enumerate(sets)
        if any(len(mine & one) >= THRESHOLD * len(mine | one) for one in sets[:later])
    }
    print(f"recall on {len(some)} rows against all pairs: {len(told & wanted)} of {len(wanted)}")


def whole_build(rows: int, words: int, filters: list[str]) -> None:
    """Measure a build from a file of lines to a table with verdicts and an export."""
    with TemporaryDirectory() as folder:
        file = Path(folder) / "rows.jsonl"
        with file.open("w", encoding="utf-8") as lines:
            for asked, told in zip(texts(rows, words), texts(rows, 2 * words, seed=1), strict=True):
                lines.write(json.dumps({"instruction": asked, "input": "", "output": told}) + "\n")
        recipe = {
            "name": "bench",
            "folder": folder,
            "source": [{"path": str(file)}],
            "filter": filters,
            "export": {"path": "out.jsonl", "mask": [name for name in filters if name == "personal"]},
        }
        with costs("build"):
            made = build(as_build(recipe), Path(folder) / "bench", Terms(Path(folder)))
        for event in RunFolder(made.path).read_events():
            if event.get("event") == "stage":
                print(f"  {event['stage']}: {event['seconds']:.0f} s, {event['peak_bytes'] / 2**30:.2f} GiB")


def main() -> None:
    """Read the arguments, and measure."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("what", choices=["duplicates", "build"])
    parser.add_argument("--rows", type=int, default=50_000)
    parser.add_argument("--words", type=int, default=15)
    parser.add_argument("--sample", type=int, default=5_000)
    parser.add_argument("--filters", nargs="*", default=list(FILTERS))
    parser.add_argument("--limit", type=float, default=0.0, help="GiB of address space")
    asked = parser.parse_args()
    if asked.limit:
        most = int(asked.limit * 2**30)
        resource.setrlimit(resource.RLIMIT_AS, (most, most))
    if asked.what == "duplicates":
        near_duplicates(asked.rows, asked.words, asked.sample)
    else:
        whole_build(asked.rows, asked.words, asked.filters)


if __name__ == "__main__":
    sys.exit(main())
