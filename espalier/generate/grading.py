"""Grades that an author gives to answers, to choose or to refuse by: those of a model, and no truth."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.generate.author import BATCH, decide
from espalier.generate.parsing import number_in
from espalier.generate.prompts import PROMPTS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.generate.author import Author

MOST = 10


def grades(author: Author, pairs: Sequence[tuple[str, str]]) -> list[int | None]:
    """Return the grade of each (instruction, answer), 1 to 10; None where the author gave none."""
    found: list[int | None] = []
    for start in range(0, len(pairs), BATCH):
        prompts = [
            PROMPTS["grade"].format(instruction=instruction, answer=answer)
            for instruction, answer in pairs[start : start + BATCH]
        ]
        found += [number_in(said.text, MOST) for said in decide(author, prompts)]
    return found
