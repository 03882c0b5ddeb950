"""Answers to prompts that are there: good ones, chosen among several, and wrong ones beside the right."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, TypeAlias

from rapidfuzz.distance import LCSseq

from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, Message, Scorer, Task, example_id, message
from espalier.core.text import unpunctuated, words
from espalier.evaluate.rewards import reward_of
from espalier.generate.author import (
    Answer,
    Author,
    Drawing,
    Made,
    Reject,
    answered,
    ask,
    asked_in,
    batches,
    origin_of,
    steps,
)
from espalier.generate.grading import grades
from espalier.generate.parsing import after_label
from espalier.generate.prompts import PROMPTS
from espalier.scorers.checks import CheckScorer, check_scorer, single
from espalier.tasks.task_files import load_task

if TYPE_CHECKING:
    from espalier.generate.author import Step


@dataclass(frozen=True, slots=True)
class Candidate:
    """An answer that can be used: the row that it is to, by its place in the batch, and its own place."""

    number: int
    row: Example
    said: Answer
    place: int


Judge: TypeAlias = Callable[[Sequence[Candidate], Author], Sequence[float]]


@steps.register("respond")
def respond(
    *,
    candidates: int = 1,
    checks: tuple[str, ...] = (),
    judge: str = "first",
    task: str = "",
    shots: int = 3,
) -> Step:
    """Answers for the rows' prompts: of the candidates that pass the checks, the one that the judge chooses.

    The judge is "first", "agreement" (what most resembles the other candidates), "author" (the author's own
    grade), a scorer or a check by name, or "module:function".

    With a `task`, by name or file, its checks are added, and the author is asked for the rows' inputs with so
    many good examples as turns before. A small author goes on with turns where it does not do as it is told:
    of eight sentences the bundled model answered none by the task's prompt, and all of them so.
    """
    if candidates < 1:
        raise RecipeError("There must be at least 1 candidate.", where="generate.candidates")
    judging = JUDGES.get(judge) or _judge_of(reward_of(judge, "generate.judge"))
    known = load_task(task, lambda _: None) if task else None
    named = tuple(dict.fromkeys((*checks, *single(known.checks if known else ()))))
    checking = check_scorer(single(named)) if named else None

    def write(rows: Sequence[Example], author: Author) -> Iterator[Made]:
        drawing = author.drawing(candidates, "generate.candidates")
        for part in batches(rows):
            good: list[Candidate] = []
            prompts = [_in_turns(known, row.input, shots) if known else row.prompt for row in part]
            said = ask(drawing, prompts)
            for number, (row, answers) in enumerate(zip(part, said, strict=True)):
                for place, one in enumerate(answers):
                    if fault := one.fault or _broken(checking, row, one.text):
                        yield Reject("respond", fault, one.text, (row.id,), one.request)
                    else:
                        good.append(Candidate(number, row, one, place))
            for best in _best(good, judging(good, author)):
                origin = origin_of("respond", author, [best.said.request], [best.row.id])
                origin = {**origin, "candidate": best.place} if candidates > 1 else origin
                yield answered(best.row.prompt, best.said.text, best.row, origin, own=True)

    return Drawing(write, candidates, "generate.candidates")


@steps.register("wrong_answers")
def wrong_answers(*, count: int = 1) -> Step:
    """Wrong answers to rows that have right ones, as their rejected answers."""
    if count < 1:
        raise RecipeError("There must be at least 1 wrong answer.", where="generate.count")

    def write(rows: Sequence[Example], author: Author) -> Iterator[Made]:
        drawing = author.drawing(count, "generate.count")
        for part in batches(row for row in rows if row.answer):
            prompts = [
                PROMPTS["wrong-answer"].format(instruction=asked_in(row), answer=row.answer) for row in part
            ]
            for row, answers in zip(part, ask(drawing, prompts), strict=True):
                right = {unpunctuated(text) for text in (*row.references, row.answer)}
                wrong: dict[str, Answer] = {}
                for one in answers:
                    text = after_label(one.text, "answer", "wrong answer", "incorrect answer")
                    fault = one.fault or ("It is a right answer." if unpunctuated(text) in right else "")
                    if fault := fault or ("It was written before." if text in wrong else ""):
                        yield Reject("wrong_answers", fault, one.text, (row.id,), one.request)
                    else:
                        wrong[text] = one
                if wrong:
                    yield _beside(row, wrong, author)
        for row in rows:
            if not row.answer:
                yield Reject("wrong_answers", "The row has no right answer.", asked_in(row), (row.id,))

    return Drawing(write, count, "generate.count")


def _in_turns(task: Task, text: str, shots: int) -> list[Message]:
    """Return the prompt for an input, with a task's good examples as turns."""
    turns: list[Message] = []
    for shown in task.positive[:shots]:
        turns += [message("user", f"Input: {shown.input}"), message("assistant", shown.output)]
    first, *rest = [*turns, message("user", f"Input: {text}")]
    return [message("user", f"{task.definition}\n\n{first.text}"), *rest]


def _broken(checking: CheckScorer | None, row: Example, text: str) -> str:
    """Return which checks an answer breaks, in a sentence; '' where none."""
    if checking is None:
        return ""
    scores = checking.each(row, Completion(row.id, text))
    names = [name for name, score in scores.items() if score.value == 0]
    return f"It breaks {', '.join(names)}." if names else ""


def _best(candidates: Sequence[Candidate], marks: Sequence[float]) -> list[Candidate]:
    """Return the candidate of each row with the highest mark, the first of equals."""
    best: dict[int, tuple[float, Candidate]] = {}
    for candidate, mark in zip(candidates, marks, strict=True):
        if candidate.number not in best or mark > best[candidate.number][0]:
            best[candidate.number] = (mark, candidate)
    return [candidate for _, candidate in best.values()]


def _first(candidates: Sequence[Candidate], author: Author) -> Sequence[float]:
    return [0.0] * len(candidates)


def _agreement(candidates: Sequence[Candidate], author: Author) -> Sequence[float]:
    """Return how much of each is, in the same order, in the other candidates of its row."""
    cut = [words(candidate.said.text) for candidate in candidates]
    return [
        sum(
            LCSseq.normalized_similarity(cut[place], cut[other])
            for other, near in enumerate(candidates)
            if near.number == candidate.number and other != place
        )
        for place, candidate in enumerate(candidates)
    ]


def _grade(candidates: Sequence[Candidate], author: Author) -> Sequence[float]:
    pairs = [(asked_in(candidate.row), candidate.said.text) for candidate in candidates]
    return [float(grade or 0) for grade in grades(author, pairs)]


def _judge_of(scorer: Scorer) -> Judge:
    def judge(candidates: Sequence[Candidate], author: Author) -> Sequence[float]:
        rows = [candidate.row for candidate in candidates]
        answers = [Completion(candidate.row.id, candidate.said.text) for candidate in candidates]
        scores = scorer.score(rows, answers)
        return [float("-inf") if score.value is None else score.value for score in scores]

    return judge


JUDGES: dict[str, Judge] = {"first": _first, "agreement": _agreement, "author": _grade}


def _beside(row: Example, wrong: dict[str, Answer], author: Author) -> Example:
    """Return a row with wrong answers beside its right one."""
    learned = any(turn.trained for turn in row.messages)
    right = () if learned else (message("assistant", row.answer, trained=True),)
    origin = origin_of("wrong-answer", author, [one.request for one in wrong.values()], [row.id])
    rejected = (*row.rejected, *(message("assistant", text) for text in wrong))
    name = example_id(row.id, [turn.text for turn in rejected])
    return replace(row, id=name, messages=(*row.messages, *right), rejected=rejected, origin=origin)
