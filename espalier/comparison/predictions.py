"""What another tool wrote, as a side of a comparison: a file of answers to rows.

Files are read as `espalier score` reads them (`tasks/answer_files.py`): by id, by place, or by order, which
is said.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from espalier.comparison.entries import Entry
from espalier.comparison.records import Side, Training
from espalier.core.errors import DataError
from espalier.core.records import Completion
from espalier.core.text import counted
from espalier.evaluate.baselines import constant, copy
from espalier.evaluate.measures import metric_of
from espalier.evaluate.predictions import placed, rows_of
from espalier.scorers.registry import build_scorer, fitted
from espalier.tasks.answer_files import read_answers

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from espalier.core.records import Example, Scorer, Task

SWAPPED = 0.2  # of a measure from 0 to 1, by which the order of lines has to fit better than ids
MEASURES = ("rouge_l", "exact_match")
UNKNOWN = "What template and decoding settings another tool's answers were made with is not known."


@dataclass(frozen=True)
class Answers:
    """A file's texts by the id of their row, and what is to be said of how they were read."""

    path: Path
    texts: Mapping[str, str]
    notes: list[str]


def answers_in(task: Task, path: Path, system: str | None = None) -> Answers:
    """Read a file of answers to a task's rows; `system` is whose, where it is a run's `outputs.jsonl`.

    Raises:
        DataError: the file is of no form, answers a row twice, or no row.
    """
    file = read_answers(path, system)
    found = placed(rows_of(task), file)
    if not found:
        raise DataError("No answer belongs to a row of the task.", where=str(path))
    texts = {task.rows[place].id: text for place, text in found.items() if text is not None}
    told = (
        [f"{path.name} has no ids: its lines are taken in the order of the rows."]
        if file.by == "order"
        else []
    )
    return Answers(path, texts, [*told, *_extra(path, len(file.texts) - len(found))])


def entry_of_answers(task: Task, found: Answers, kinds: Sequence[str]) -> Entry:
    """Return another tool's answers, scored against a task's rows; rows without one count as empty texts.

    Args:
        task: the rows; their sources are what intervals are counted by.
        found: the answers.
        kinds: names of scorers.

    Raises:
        RecipeError: no scorer has such a name.
    """
    path, texts, told = found.path, found.texts, [*found.notes]
    rows = zip(rows_of(task).examples, task.rows, strict=True)
    examples = [replace(example, id=row.id) for example, row in rows]
    judges = {kind: fitted(build_scorer(kind, {}, "scorer"), examples) for kind in dict.fromkeys(kinds)}
    missing = sum(example.id not in texts for example in examples)
    if missing:
        told.append(f"{path.name} has no answer to {counted(missing, 'row')}; they count as the empty text.")
    said = [Completion(example.id, texts.get(example.id, "")) for example in examples]
    scores = _judged(judges, examples, said)
    floors = {"constant": constant(examples), "copy": copy(examples)}
    side = Side(
        path.stem,
        (Training(path.stem, scores),),
        {example.id: example.source for example in examples},
        {kind: metric_of(kind, judge) for kind, judge in judges.items()},
        {name: _judged(judges, examples, answers) for name, answers in floors.items()},
    )
    doubt = _swapped(path, judges, examples, texts)
    asked = {example.id: example for example in examples}
    return Entry(path, side, [*judges], asked, texts, notes=tuple(told), doubt=doubt)


def _judged(
    judges: Mapping[str, Scorer], examples: Sequence[Example], answers: Sequence[Completion]
) -> dict[str, dict[str, Any]]:
    return {
        kind: {e.id: score for e, score in zip(examples, judge.score(examples, answers), strict=True)}
        for kind, judge in judges.items()
    }


def _extra(path: Path, count: int) -> list[str]:
    return [f"{counted(count, 'answer')} of {path.name} belong to no row, and are ignored."] if count else []


def _swapped(
    path: Path, judges: Mapping[str, Scorer], examples: Sequence[Example], texts: Mapping[str, str]
) -> str:
    """Say where the answers fit the rows in the order of the file's lines, and not by their ids; or ''."""
    if len(texts) != len(examples) or [*texts] == [example.id for example in examples]:
        return ""
    ways = [texts[example.id] for example in examples], [*texts.values()]
    for kind, judge in judges.items():
        metric = metric_of(kind, judge)
        by_id, by_line = (_mean(judge, examples, way) for way in ways)
        if metric.sign * (by_line - by_id) > SWAPPED:
            return (
                f"the ids of {path.name} look swapped (by them {metric.title} is {metric.scale * by_id:.1f}, "
                f"in the order of its lines {metric.scale * by_line:.1f})"
            )
    return ""


def _mean(judge: Scorer, examples: Sequence[Example], texts: Sequence[str]) -> float:
    said = [Completion(e.id, text) for e, text in zip(examples, texts, strict=True)]
    values = [score.value or 0.0 for score in judge.score(examples, said)]
    return sum(values) / len(values)
