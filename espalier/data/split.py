"""Which rows are learned from, which are held out of that, which are kept for the scores; unbiased subsets.

All is decided per source (for instance the sentence that several questions are about), so that nothing of a
test row's source is trained on. A source's place is a hash of its name and the seed: rows that are added move
no other row.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.core.errors import DataError
from espalier.core.joined import joined
from espalier.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Example


def split(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Return (train, test), each in the given order; about `share` of the sources are in train.

    With few sources the hash may put all on one side; the source nearest to the border then changes sides, so
    that neither is empty.

    Raises:
        DataError: fewer than two sources, or a share that is not between 0 and 1.
    """
    if not 0 < share < 1:
        raise DataError(f"The share to train on is {share}; expected more than 0 and less than 1.")
    return _divided(examples, share, _places(examples, "split", seed), "train and test")


def hold_out(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Return (train, dev), each in the given order; about `share` of the sources, at least one, are in dev.

    Raises:
        DataError: fewer than two sources.
    """
    dev, train = _divided(examples, share, _places(examples, "dev", seed), "rows to train on and data.dev")
    return train, dev


def split_tasks(examples: Sequence[Example], share: float, seed: int) -> tuple[list[Example], list[Example]]:
    """Return (train, test), each in the given order; about `share` of the tasks are in train, each whole.

    Tasks that share a source (the same sentence, asked about twice) go to the same side.

    Raises:
        DataError: fewer than two tasks without a source in common, or a share that is not between 0 and 1.
    """
    groups = _joined(examples)
    if len(set(groups.values())) < 2:
        raise DataError(
            f"{counted(len(groups), 'task')} cannot be split into tasks to train on and tasks to score"
            f"{': all share sources with each other' if len(groups) > 1 else ''}.",
            where="data.split",
            hint='Add tasks with other inputs, or split each one by data.split = "sources".',
        )
    train, _ = split([replace(row, source=groups[row.task]) for row in examples], share, seed)
    kept = {row.task for row in train}
    return [row for row in examples if row.task in kept], [row for row in examples if row.task not in kept]


def held_out(examples: Sequence[Example], share: float, seed: int) -> set[str]:
    """Return the names of the tasks that are scored, see `split_tasks`. Raises DataError."""
    return {row.task for row in split_tasks(examples, share, seed)[1]}


def _joined(examples: Sequence[Example]) -> dict[str, str]:
    """Return for each task the first of those that it is joined with by sources, directly or by others."""
    first: dict[str, str] = {}
    return joined(
        [first.setdefault(row.source, row.task) if row.source else row.task, row.task] for row in examples
    )


def sources_of(example: Example) -> set[str]:
    """Return what an example has in common with others: its source, and each of its media."""
    return {example.source, *(one.name for one in example.media)}


def _divided(
    examples: Sequence[Example], share: float, places: dict[str, float], parts: str
) -> tuple[list[Example], list[Example]]:
    """Return the rows of sources whose place is below `share`, and the others; neither is empty."""
    if len(places) < 2:
        raise DataError(
            f"{counted(len(examples), 'row')} of {counted(len(places), 'source')} cannot be split into "
            f"{parts}.",
            hint="Add rows with other inputs, or give rows that are independent a 'source' of their own.",
        )
    ordered = sorted(places, key=places.__getitem__)
    count = sum(place < share for place in places.values())
    first = set(ordered[: min(max(count, 1), len(ordered) - 1)])
    return [e for e in examples if e.source in first], [e for e in examples if e.source not in first]


def limit(examples: Sequence[Example], n: int, seed: int) -> list[Example]:
    """Return at most `n` rows, all rows of sources drawn at random, in the given order.

    Sources are drawn until one does not fit, and none is skipped to fill the rest: large sources are as
    likely as small ones.

    Raises:
        DataError: the first source drawn has more than `n` rows.
    """
    places = _places(examples, "limit", seed)
    sizes = Counter(example.source for example in examples)
    kept: set[str] = set()
    total = 0
    for source in sorted(places, key=places.__getitem__):
        total += sizes[source]
        if total > n:
            break
        kept.add(source)
    if examples and not kept:
        raise DataError(
            f"No source fits into {counted(n, 'row')}: whole sources are drawn, and the first has {total}.",
            hint="Raise the limit.",
        )
    return [example for example in examples if example.source in kept]


def nested(examples: Sequence[Example], seed: int) -> list[Example]:
    """Return the rows in the order in which `limit` would draw them, whatever its number: see there."""
    places = _places(examples, "limit", seed)
    return sorted(examples, key=lambda example: (places[example.source], example.source))


def _places(examples: Sequence[Example], purpose: str, seed: int) -> dict[str, float]:
    """Return for each source a number in [0, 1) that depends on it, the purpose and the seed alone."""
    places: dict[str, float] = {}
    for source in {example.source for example in examples}:
        digest = hashlib.sha256(f"{purpose}\0{seed}\0{source}".encode()).digest()
        places[source] = int.from_bytes(digest[:8]) / 2**64
    return places
