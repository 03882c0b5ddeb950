"""The floors of every score: policies that ignore the input, and some that repeat it.

A run has them as systems (`floors`), each one answer to every row. Beside a single score stands the best
constant for that very measure (`best_for`), and random labels by their expected value.
"""

from __future__ import annotations

import math
from collections import Counter
from itertools import islice
from typing import TYPE_CHECKING

from espalier.core.files import content_hash
from espalier.core.records import Completion, media_in
from espalier.core.scoring import value_of
from espalier.core.text import first_words, folded, unpunctuated, word_count
from espalier.evaluate.facts import expected
from espalier.evaluate.unseen import QUESTION
from espalier.scorers.labels import labels_of, options_of
from espalier.scorers.rouge import is_official, rouge_l_of

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.core.records import Example, Metric, Score, Scorer

_COMPARED = 300  # rows that the constant is chosen on: 90,000 ROUGE-L at most, a tenth of a second
_FREQUENT = 0.05  # share of the rows from which on an answer is more than a coincidence
_LABELS = 20  # labels that one would draw from: with more, closed answers are names or numbers
_TRIED = 10  # constants that are held against the best by ROUGE-L: the most frequent answers
_JUDGED = 20_000  # verdicts that the choice of a constant may cost
_LONG = 4  # times the words of an answer: of such an input a copy is no answer, but its beginning is


def floors(
    examples: Sequence[Example], train: Sequence[Example] = (), worked: Mapping[str, str] | None = None
) -> dict[str, list[Completion]]:
    """Return the answers of each floor by its name, as a system of `scores.json`.

    "majority" is among them where it says something: where one answer is frequent, and not the constant; and
    "lead", the first words of the input, as many as an answer has, where inputs are much longer than answers
    and these are no labels. "random" draws one of the labels where answers are such, by a row's id. "example"
    is the first worked example's answer, where every task has one: `worked` has them by the task's name.
    """
    found = {"constant": constant(examples, train), "copy": copy(examples)}
    size = _mean([word_count(_answers(row)[0]) for row in train or examples])
    given = _mean([word_count(example.input) for example in examples])
    if size and given >= _LONG * size and not expected(examples, train).closed:
        found["lead"] = lead(examples, max(1, round(size)))
    text = most_frequent(train or examples)
    if text and all(unpunctuated(text) != unpunctuated(answer.text) for answer in found["constant"]):
        found["majority"] = [_completion(example.id, text, "majority") for example in examples]
    if labels := labels_to_draw([*train, *examples]):
        found["random"] = [
            _completion(e.id, _drawn(options_of(e) or labels, e.id), "random") for e in examples
        ]
    if asked := by_question(examples, train):
        found[QUESTION] = [_completion(name, text, QUESTION) for name, text in asked.items()]
    if worked and all(worked.get(example.task) for example in examples):
        found["example"] = [_completion(e.id, worked[e.task], "example") for e in examples]
    return found


def labels_to_draw(rows: Sequence[Example]) -> tuple[str, ...]:
    """Return the labels that answers are of, 2 to 20 of them; () where they are free text or numbers.

    Where each row has its own options, those of the first: a row's are drawn from before these.
    """
    if rows and all(len(options_of(row)) > 1 for row in rows):
        return options_of(rows[0])
    form, labels = expected(rows), labels_of(rows)
    return labels if form.closed and not form.numeric and 2 <= len(labels) <= _LABELS else ()


def _drawn(labels: Sequence[str], name: str) -> str:
    return min(labels, key=lambda label: content_hash(["random", name, label]))


def best_for(scorer: Scorer, metric: Metric, rows: Sequence[Example]) -> str:
    """Return the constant that a scorer likes best on rows: of the answers that it takes most references for,
    and the best by ROUGE-L.
    """
    given = [Completion(row.id, _answers(row)[0]) for row in rows]
    read = [
        one.answer or unpunctuated(c.text) for one, c in zip(scorer.score(rows, given), given, strict=True)
    ]
    written = {key: c.text for key, c in zip(reversed(read), reversed(given), strict=True)}
    tried = dict.fromkeys(
        [best_constant(rows), *(written[key] for key, _ in Counter(read).most_common(_TRIED))]
    )
    held = rows[: max(_COMPARED, _JUDGED // max(1, len(tried)))]

    def reached(text: str) -> float:
        value = point(metric, scorer.score(held, [Completion(row.id, text) for row in held]))
        return metric.sign * value if value == value else -math.inf

    return max(tried, key=reached, default="")


def point(metric: Metric, scores: Sequence[Score]) -> float:
    """Return what scores come to, without an interval; NaN where that is not known."""
    if metric.fold:
        parts = [score.parts for score in scores if score.parts]
        return value_of(metric.fold, [sum(column) for column in zip(*parts, strict=True)])
    values = [score.value for score in scores if score.value is not None]
    return sum(values) / len(values) if values else math.nan


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

    pairs = ((candidate, text) for candidate in candidates.values() for texts in answers for text in texts)
    values = iter(rouge_l_of(pairs, official=official))
    totals = {
        candidate: sum(max(islice(values, len(texts))) for texts in answers)
        for candidate in candidates.values()
    }
    return max(reversed(totals), key=totals.__getitem__, default="")


def by_question(examples: Sequence[Example], train: Sequence[Example]) -> dict[str, str]:
    """Return of each example the best constant of the training rows that ask the same; {} without media.

    What was never asked in training gets the best constant of all.
    """
    if not train or not any(media_in(row.prompt) for row in examples):
        return {}
    asking: dict[str, list[Example]] = {}
    for row in train:
        asking.setdefault(folded(row.input), []).append(row)
    wanted = {folded(row.input) for row in examples}
    best = {text: best_constant(rows) for text, rows in asking.items() if text in wanted}
    every = best_constant(train)
    return {row.id: best.get(folded(row.input), every) for row in examples}


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
