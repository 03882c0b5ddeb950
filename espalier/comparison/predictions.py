"""What another tool wrote, as a side of a comparison: JSONL with an id and a text a line, in many spellings.

`{"id", "prediction"}` is the form; `id` may be called example, example_id, doc_id, index or idx, and the text
output, response, answer, completion, generated_text or text. A file without ids is taken in the order of the
rows, which is said. A run's own `outputs.jsonl` and the `{"predictions": [{"index", "output"}]}` of Natural
Instructions are read as `espalier score` reads them.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from espalier.comparison.entries import Entry
from espalier.comparison.records import Side, Training
from espalier.core.errors import DataError
from espalier.core.files import read_jsonl
from espalier.core.records import Completion, Example, message
from espalier.core.text import counted
from espalier.evaluate.baselines import constant, copy
from espalier.evaluate.measures import metric_of
from espalier.evaluate.predictions import read_predictions
from espalier.scorers.registry import build_scorer, fitted

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence
    from pathlib import Path

    from espalier.core.records import Scorer, Task, TaskRow

IDS = ("id", "example", "example_id", "doc_id", "index", "idx")
TEXTS = ("prediction", "output", "response", "answer", "completion", "generated_text", "text")
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
    rows = _lines(path)
    if not rows or {"system", "example", "text"} <= rows[0][1].keys():
        found = read_predictions(task, path, system)
        texts = {task.rows[place].id: text for place, text in found.texts.items()}
        return Answers(path, texts, _extra(path, found.extra))
    first = rows[0][1]
    called = next((name for name in TEXTS if isinstance(first.get(name), str)), "")
    key = next((name for name in IDS if isinstance(first.get(name), str | int)), "")
    if not called:
        raise DataError(
            f"A line has none of {', '.join(TEXTS)}; it has {', '.join(first) or 'nothing'}.",
            where=f"{path}:{rows[0][0]}",
            hint='Write lines such as {"id": "7", "prediction": "…"}.',
        )
    return Answers(
        path, *(_by_id(task, path, rows, key, called) if key else _in_order(task, path, rows, called))
    )


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
    examples = [_example(task, row) for row in task.rows]
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
    rows = {example.id: example for example in examples}
    doubt = _swapped(path, judges, examples, texts)
    return Entry(path, side, [*judges], rows, texts, notes=tuple(told), doubt=doubt)


def _example(task: Task, row: TaskRow) -> Example:
    asked = (message("user", row.input),)
    return Example(row.id, task.name, row.source or row.input, asked, row.outputs, input=row.input)


def _judged(
    judges: Mapping[str, Scorer], examples: Sequence[Example], answers: Sequence[Completion]
) -> dict[str, dict[str, Any]]:
    return {
        kind: {e.id: score for e, score in zip(examples, judge.score(examples, answers), strict=True)}
        for kind, judge in judges.items()
    }


def _lines(path: Path) -> list[tuple[int, dict[str, Any]]] | None:
    """Return the lines of JSONL; None where the file is one JSON object over several lines."""
    try:
        return list(read_jsonl(path))
    except DataError:
        try:
            whole: object = json.loads(path.read_bytes())
        except (ValueError, OSError):
            whole = None
        if isinstance(whole, dict):
            return None
        raise


def _text(path: Path, line: int, row: Mapping[str, Any], called: str) -> str:
    if not isinstance(row.get(called), str):
        raise DataError(f"The line's '{called}' is no text.", where=f"{path}:{line}")
    return row[called]


def _by_id(
    task: Task, path: Path, rows: Sequence[tuple[int, dict[str, Any]]], key: str, called: str
) -> tuple[dict[str, str], list[str]]:
    """Return the answers by their ids, or by the row's place in the file where that is what is counted."""
    places = {str(place): row.id for place, row in enumerate(task.rows)}
    known = {**places, **{row.id: row.id for row in task.rows}}
    texts: dict[str, str] = {}
    unknown: list[str] = []
    for line, row in rows:
        if not isinstance(row.get(key), str | int):
            raise DataError(f"The line has no '{key}', which others have.", where=f"{path}:{line}")
        name = known.get(str(row[key]))
        if name is None:
            unknown.append(str(row[key]))
        elif name in texts:
            raise DataError(f"The row '{row[key]}' is answered twice.", where=f"{path}:{line}")
        else:
            texts[name] = _text(path, line, row, called)
    if not texts:
        raise DataError(
            f"None of the {len(unknown)} answers has the id of a row: theirs are like '{unknown[0]}', "
            f"the rows' like '{task.rows[0].id}'.",
            where=str(path),
        )
    return texts, _extra(path, len(unknown))


def _in_order(
    task: Task, path: Path, rows: Sequence[tuple[int, dict[str, Any]]], called: str
) -> tuple[dict[str, str], list[str]]:
    if len(rows) != len(task.rows):
        raise DataError(
            f"The answers have no ids, and are {len(rows)} to {counted(len(task.rows), 'row')}.",
            where=str(path),
            hint="Give each line the id of its row.",
        )
    texts = {
        row.id: _text(path, line, said, called) for row, (line, said) in zip(task.rows, rows, strict=True)
    }
    return texts, [f"{path.name} has no ids: its lines are taken in the order of the rows."]


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
