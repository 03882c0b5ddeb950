"""Rows that have what stands in a held-out set: by its texts and its runs of words (`contamination.py`)."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from espalier.core.errors import RecipeError
from espalier.data.contamination import contamination
from espalier.data.filters.judgement import PASSES, Judgement, filters
from espalier.data.formats.load import load_rows
from espalier.tasks.task_files import is_task, load_task

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from espalier.core.records import Example
    from espalier.data.filters.judgement import Filter

SHOWN = 120  # characters of a passage


@filters.register("contamination")
def against_held_out(*, against: tuple[str, ...]) -> Filter:
    """Rows that have a text, or runs of words, of the files that are held out."""
    if not against:
        raise RecipeError(
            "No held-out file is named.", where="filter.contamination", hint='Write against = ["test.jsonl"].'
        )
    held = [
        (f"{Path(path).name}:{number}", texts)
        for path in against
        for number, texts in enumerate(texts_of(Path(path)), 1)
    ]

    def judge(rows: Iterable[Example]) -> Iterator[Judgement]:
        found = contamination(map(_all_texts, rows), [texts for _, texts in held])
        matches = {match.train: match for match in reversed(found.matches)}
        rest = set(found.rows)
        for number, _ in enumerate(rows):
            match = matches.get(number)
            if number not in rest:
                yield PASSES
            elif match is None:
                yield Judgement(False, "It has what a row before it has of a held-out file.")
            else:
                passage = match.passage if len(match.passage) <= SHOWN else f"{match.passage[:SHOWN]}…"
                same = "the same text" if match.kind == "text" else f"the same {match.kind}"
                why = f"{held[match.test][0]} has {same}: “{passage}”."
                yield Judgement(False, why, match.share, held[match.test][0])

    return judge


def texts_of(path: Path) -> list[tuple[str, ...]]:
    """Return what is to be held out of each row of a file, or of a task: its input and its answers.

    Raises:
        DataError: the file cannot be read as either.
    """
    if path.exists() and is_task(path):
        return [(row.input, *row.outputs) for row in load_task(path).rows]
    return [_texts(example) for example in load_rows(path)]


def _all_texts(example: Example) -> tuple[str, ...]:
    return tuple(dict.fromkeys([*(turn.text for turn in example.messages), *_texts(example)]))


def _texts(example: Example) -> tuple[str, ...]:
    asked = [turn.text for turn in example.prompt if turn.role != "system"]
    return tuple(dict.fromkeys([*([example.input] if example.input else asked), example.answer]))
