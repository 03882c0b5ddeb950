"""Scoring the predictions of any tool against a task file, as the Natural Instructions evaluations do.

Three forms are read, told apart by content. JSONL of `{"id", "prediction"}` (v2): every row of the task is
scored, a row without a prediction as the empty text. `{"predictions": [{"index", "output"}]}` (v1): `index`
counts the task's instances from 0, and the rows that the file names are scored. A run's own `outputs.jsonl`
(`{"system", "example", "text"}`): the rows that a system answered are scored, of several samples the first.
With `first`, all score the task's first rows (the official v2 evaluation: 100). Predictions of no scored row
are ignored, and counted.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError, nearest
from espalier.core.files import parse_json, read_jsonl, read_text
from espalier.core.records import Completion, Estimate, Example, message
from espalier.evaluate.baselines import constant, copy
from espalier.evaluate.compare import estimate
from espalier.evaluate.measures import metric_of
from espalier.scorers.checks import check_scorer, single
from espalier.scorers.registry import build_scorer, fitted

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from espalier.core.records import Scorer, Task


@dataclass(frozen=True, slots=True)
class Predictions:
    """Predicted texts by the row's place in the task; `extra` counts those of no row.

    `of_some` tells a form whose file says itself which rows are meant.
    """

    texts: dict[int, str]
    extra: int
    of_some: bool


@dataclass(frozen=True, slots=True)
class PredictionScore:
    """What the predictions reach by a scorer, beside the floors on the same rows.

    `missing` counts rows without a prediction (scored as empty), `extra` predictions of no scored row.
    """

    scorer: str
    title: str
    estimate: Estimate
    missing: int
    extra: int
    constant: Estimate
    constant_text: str
    copy: Estimate

    def percent(self) -> dict[str, Any]:
        """Return it as JSON can hold it: values as they are shown, to 4 places as the official one."""
        return {
            "scorer": self.scorer,
            "title": self.title,
            **_shown(self.estimate),
            "n": self.estimate.n,
            "missing": self.missing,
            "extra": self.extra,
            "baselines": {
                "constant": {**_shown(self.constant), "text": self.constant_text},
                "copy": _shown(self.copy),
            },
        }


def score_predictions(
    task: Task, path: Path, kind: str, first: int | None = None, system: str | None = None
) -> PredictionScore:
    """Score a file of predictions with the scorer of that name; "checks" means all of the task's own checks.

    Args:
        task: whose rows are scored.
        path: the predictions.
        kind: name of the scorer.
        first: score so many rows from the first on.
        system: whose answers of a run's outputs; by default the tuned model's.

    Raises:
        DataError: the file is of no form, or leaves no row to score.
        RecipeError: no scorer has that name.
    """
    found = read_predictions(task, path, system)
    places = range(len(task.rows))[:first] if first or not found.of_some else sorted(found.texts)
    if not places:
        raise DataError("No prediction belongs to a row of the task.", where=str(path))
    examples = [_example(task, place) for place in places]
    texts = [found.texts.get(place, "") for place in places]
    scorer = _task_checks(task) if kind == "checks" else build_scorer(kind, {}, "scorer")
    scorer = fitted(scorer, examples)
    floor = constant(examples)
    used = sum(place in found.texts for place in places)
    return PredictionScore(
        scorer=kind,
        title=metric_of(kind, scorer).title,
        estimate=_estimate(kind, scorer, examples, texts),
        missing=len(places) - used,
        extra=found.extra + len(found.texts) - used,
        constant=_estimate(kind, scorer, examples, [c.text for c in floor]),
        constant_text=floor[0].text,
        copy=_estimate(kind, scorer, examples, [c.text for c in copy(examples)]),
    )


def read_predictions(task: Task, path: Path, system: str | None = None) -> Predictions:
    """Read a file of predictions in one of the forms; `system` as in `score_predictions`.

    Raises:
        DataError: missing, not UTF-8, of neither form, or one row is predicted twice; the line is named.
    """
    text = read_text(path)
    try:
        whole = parse_json(text)
    except ValueError:
        whole = None  # several lines of JSONL, or what its line is told of
    if isinstance(whole, dict) and "predictions" in whole:
        return _by_index(task, cast("list[object]", whole["predictions"]), path)
    first = next(read_jsonl(path), (0, dict[str, Any]()))[1]
    if {"system", "example", "text"} <= first.keys():
        return _of_run(task, path, system or "tuned")
    if system is not None:
        raise DataError(
            "The file is no run's outputs.jsonl, so there are no systems in it.",
            where=str(path),
            hint="Leave --system out.",
        )
    return _by_id(task, path)


def _of_run(task: Task, path: Path, system: str) -> Predictions:
    places = _places(task)
    texts: dict[int, str] = {}
    extra = 0
    systems: set[str] = set()
    for _, item in read_jsonl(path):
        systems.add(str(item.get("system")))
        if item.get("system") != system or item.get("sample", 0) != 0:
            continue
        name = str(item.get("example"))
        if name in places:
            texts[places[name]] = str(item.get("text"))
        else:
            extra += 1
    if system not in systems:
        raise DataError(
            f"The file has no answers of '{system}'.", where=str(path), hint=nearest(system, systems)
        )
    if not texts:
        raise DataError(
            f"None of the {extra} answers is to a row of the task: the examples have other ids.",
            where=str(path),
            hint="Name the run's own rows, RUN/data/test.parquet, or the file that the run was made from.",
        )
    return Predictions(texts, extra, of_some=True)


def _by_index(task: Task, items: list[object], path: Path) -> Predictions:
    texts: dict[int, str] = {}
    extra = 0
    for number, item in enumerate(items):
        where = f"{path}, prediction {number}"
        match item:
            case {"index": int(index), "output": str(output)}:
                if index in texts:
                    raise DataError(f"The index {index} is predicted twice.", where=where)
                if 0 <= index < len(task.rows):
                    texts[index] = output
                else:
                    extra += 1
            case _:
                raise DataError('A prediction should be {"index": number, "output": text}.', where=where)
    return Predictions(texts, extra, of_some=True)


def _by_id(task: Task, path: Path) -> Predictions:
    places = _places(task)
    texts: dict[int, str] = {}
    unknown: list[str] = []
    for line, item in read_jsonl(path):
        match item:
            case (
                {"id": str() | int() as name, "prediction": str(output)}
                | {"id": str() | int() as name, "text": str(output)}  # as `generate --file` answers
            ):
                place = places.get(str(name))
                if place is None:
                    unknown.append(str(name))
                elif place in texts:
                    raise DataError(f"The row '{name}' is predicted twice.", where=f"{path}:{line}")
                else:
                    texts[place] = output
            case _:
                raise DataError(
                    'A line should be {"id": text or number, "prediction": text}.', where=f"{path}:{line}"
                )
    if unknown and not texts:
        raise DataError(
            f"None of the {len(unknown)} predictions has the id of a row: theirs are like '{unknown[0]}', "
            f"the rows' like '{task.rows[0].id}'.",
            where=str(path),
            hint="Where rows have no ids of their own, their number in the file serves, from 0.",
        )
    return Predictions(texts, len(unknown), of_some=False)


def _places(task: Task) -> dict[str, int]:
    """Return the place of each row by its id; a number that is no row's id is the row's place."""
    by_place = {str(place): place for place in range(len(task.rows))}
    return {**by_place, **{row.id: place for place, row in enumerate(task.rows)}}


def _example(task: Task, place: int) -> Example:
    row = task.rows[place]
    return Example(
        id=str(place),
        task=task.name,
        source=row.source or row.input,
        messages=(message("user", row.input),),
        references=row.outputs,
        input=row.input,
    )


def _task_checks(task: Task) -> Scorer:
    names = single(task.checks)
    if not names:
        raise DataError(
            "The task has no checks of its own.", where=task.origin, hint="Score rouge_l instead."
        )
    return check_scorer(names)


def _estimate(kind: str, scorer: Scorer, examples: Sequence[Example], texts: Sequence[str]) -> Estimate:
    answers = [Completion(example.id, text) for example, text in zip(examples, texts, strict=True)]
    scores = scorer.score(examples, answers)
    return estimate(metric_of(kind, scorer), scores, [example.source for example in examples])


def _shown(estimate: Estimate) -> dict[str, float | None]:
    ends = {key: asdict(estimate)[key] for key in ("value", "low", "high")}
    return {key: None if end != end else round(estimate.scale * end, 4) for key, end in ends.items()}
