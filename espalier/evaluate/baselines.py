"""The floors of every score: policies that ignore the input, and some that repeat it."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING

from espalier.core.files import content_hash
from espalier.core.records import Completion
from espalier.core.text import first_words, unpunctuated, word_count
from espalier.evaluate.facts import expected
from espalier.scorers.rouge import is_official, rouge_l

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Example

_COMPARED = 300  # rows that the constant is chosen on: 90,000 ROUGE-L at most, a fifth of a second
_FREQUENT = 0.05  # share of the rows from which on an answer is more than a coincidence
_LONG = 4  # times the words of an answer: of such an input a copy is no answer, but its beginning is


def floors(examples: Sequence[Example], train: Sequence[Example] = ()) -> dict[str, list[Completion]]:
    """Return the answers of each floor by its name, as a system of `scores.json`.

    "majority" is among them where it says something: where one answer is frequent, and not the constant; and
    "lead", the first words of the input, as many as an answer has, where inputs are much longer than answers
    and these are no labels.
    """
    found = {"constant": constant(examples, train), "copy": copy(examples)}
    size = _mean([word_count(_answers(row)[0]) for row in train or examples])
    given = _mean([word_count(example.input) for example in examples])
    if size and given >= _LONG * size and not expected(examples, train).closed:
        found["lead"] = lead(examples, max(1, round(size)))
    text = most_frequent(train or examples)
    if text and all(unpunctuated(text) != unpunctuated(answer.text) for answer in found["constant"]):
        found["majority"] = [_completion(example.id, text, "majority") for example in examples]
    return found


def constant(examples: Sequence[Example], train: Sequence[Example] = ()) -> list[Completion]:
    """Answer every example with one text, the best constant of `train`; see `best_constant`.

    Without training rows it is chosen on the scored rows themselves: a floor that has seen the answers.
    """
    text = best_constant(train or examples)
    return [_completion(example.id, text, "constant") for example in examples]


def copy(examples: Sequence[Example]) -> list[Completion]:
    """Answer every example with its own input."""
    return [_completion(example.id, example.input, "copy") for example in examples]


def lead(examples: Sequence[Example], words: int) -> list[Completion]:
    """Answer every example with the first words of its input: the usual floor of summaries."""
    return [_completion(example.id, first_words(example.input, words), "lead") for example in examples]


def best_constant(rows: Sequence[Example]) -> str:
    """Return the reference of highest mean ROUGE-L over the first rows; '' for no rows.

    Where answers are labels this is mostly the most frequent one. For free text, where hardly one answer
    occurs twice, the most frequent one would be an arbitrary row and too low a floor: on task009 of
    Super-NaturalInstructions it scores 20, this one 44.
    """
    answers = [_answers(row) for row in rows[:_COMPARED]]
    candidates = {unpunctuated(text): text for texts in reversed(answers) for text in reversed(texts)}
    official = is_official(text for texts in answers for text in texts)

    def total(candidate: str) -> float:
        return sum(max(rouge_l(candidate, text, official=official) for text in texts) for texts in answers)

    return max(reversed(candidates.values()), key=total, default="")


def most_frequent(rows: Sequence[Example]) -> str:
    """Return the reference that most rows accept; '' where it is that of one row or of less than 5 %."""
    written: dict[str, str] = {}
    counts: Counter[str] = Counter()
    for row in rows:
        accepted = {unpunctuated(text): text for text in reversed(_answers(row))}
        counts.update(accepted.keys())
        written = {**accepted, **written}
    top, count = counts.most_common(1)[0] if counts else ("", 0)
    return written[top] if count > max(1, _FREQUENT * len(rows)) else ""


def _answers(row: Example) -> tuple[str, ...]:
    return row.references or (row.answer,)


def _mean(counts: Sequence[int]) -> float:
    return sum(counts) / len(counts) if counts else 0.0


def _completion(example: str, text: str, name: str) -> Completion:
    return Completion(example=example, text=text, request=content_hash([name, text]))
