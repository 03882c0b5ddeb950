"""The floors of every score: a policy that ignores the input, and one that repeats it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.core.files import content_hash
from espalier.core.records import Completion
from espalier.evaluate.scorers.exact import normalised
from espalier.evaluate.scorers.rouge import rouge_l

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Example

_COMPARED = 300  # rows that the constant is chosen on: 90,000 ROUGE-L at most, a fifth of a second


def constant(examples: Sequence[Example], train: Sequence[Example] = ()) -> list[Completion]:
    """Answer every example with one text, the best constant of `train`; see `best_constant`.

    Without training rows it is chosen on the scored rows themselves: a floor that has seen the answers.
    """
    text = best_constant(train or examples)
    return [_completion(example.id, text, "constant") for example in examples]


def copy(examples: Sequence[Example]) -> list[Completion]:
    """Answer every example with its own input."""
    return [_completion(example.id, example.input, "copy") for example in examples]


def best_constant(rows: Sequence[Example]) -> str:
    """Return the reference of highest mean ROUGE-L over the first rows; '' for no rows.

    Where answers are labels this is the most frequent one. For free text, where hardly one answer occurs
    twice, the most frequent one would be an arbitrary row and too low a floor: on task009 of
    Super-NaturalInstructions it scores 20, this one 44.
    """
    answers = [row.references or (row.answer,) for row in rows[:_COMPARED]]
    candidates = {normalised(text): text for texts in reversed(answers) for text in reversed(texts)}

    def total(candidate: str) -> float:
        return sum(max(rouge_l(candidate, text) for text in texts) for texts in answers)

    return max(reversed(candidates.values()), key=total, default="")


def _completion(example: str, text: str, name: str) -> Completion:
    return Completion(example=example, text=text, request=content_hash([name, text]))
