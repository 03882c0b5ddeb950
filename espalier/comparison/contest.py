"""What a model is to judge: answers in any tool's files, in runs or in memory, with what they answer."""

from __future__ import annotations

import math
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from espalier.comparison.compare import answers_at, named_side
from espalier.core.errors import DataError
from espalier.core.run import run_at
from espalier.core.text import counted
from espalier.data.references import questions_of, references_of
from espalier.evaluate.predictions import placed, rows_of
from espalier.judge.grades import Single
from espalier.judge.pairs import Pair
from espalier.judge.verdicts import gold_of
from espalier.tasks.answer_files import read_answers

if TYPE_CHECKING:
    from typing import TypeAlias

    from espalier.core.records import Task

    Side: TypeAlias = str | os.PathLike[str] | Sequence[str]  # a Run is a path: its folder

GOLD = ("winner", "preference", "verdict", "gold", "grade", "rating", "score", "label")


@dataclass(frozen=True)
class Contest:
    """What is judged.

    Attributes:
        names: of one system, or of two.
        ids: of the rows.
        sources: what rows share that are not independent.
        requests: what was asked.
        answers: of each system.
        gold: verdicts or grades of persons by the place of their row, as they are written.
        notes: what is to be said of how they were read.
    """

    names: tuple[str, ...]
    ids: Sequence[str]
    sources: Sequence[str]
    requests: Sequence[str]
    answers: Sequence[Sequence[str]]
    gold: Mapping[int, str] = field(default_factory=dict[int, str])
    notes: tuple[str, ...] = ()

    def pairs(self) -> list[Pair]:
        """Return the answers of two systems as pairs. Raises DataError: a gold verdict names no winner."""
        for place, text in self.gold.items():
            if gold_of(text) is None:
                raise DataError(
                    f"The gold verdict {text!r} names no winner.",
                    where=f"row {self.ids[place]}",
                    hint="Write A for the predictions, B for what they are judged against, or tie.",
                )
        rows = zip(self.ids, self.sources, self.requests, zip(*self.answers, strict=True), strict=True)
        return [
            Pair(id, source, request, (one, other), gold_of(self.gold[n]) if n in self.gold else None)
            for n, (id, source, request, (one, other)) in enumerate(rows)
        ]

    def singles(self) -> list[Single]:
        """Return the answers of one system. Raises DataError: a gold grade is no number."""
        for place, text in self.gold.items():
            if not _is_number(text):
                raise DataError(f"The gold grade {text!r} is no number.", where=f"row {self.ids[place]}")
        rows = zip(self.ids, self.sources, self.requests, self.answers[0], strict=True)
        return [Single(*row, float(self.gold[n]) if n in self.gold else None) for n, row in enumerate(rows)]


def contest(
    predictions: Side,
    against: Side | None = None,
    prompts: Side | None = None,
    gold: str | os.PathLike[str] | Sequence[str | float | None] | None = None,
) -> Contest:
    """Return what is judged, of files and runs, or of texts in memory: all of it, or none.

    Raises:
        DataError: see `contest_of_files`, `contest_of_texts`; or some of it is in memory only.
    """
    given = [one for one in (predictions, against, prompts, gold) if one is not None]
    named = [isinstance(one, str | os.PathLike) for one in given]
    if any(named) and not all(named):
        raise DataError("Files and texts in memory are given together.", hint="Give one sort of both.")
    if not any(named):
        return contest_of_texts(predictions, prompts or (), against, gold)  # pyright: ignore[reportArgumentType]
    paths = [None if one is None else Path(one) for one in (predictions, against, gold)]  # pyright: ignore
    assert paths[0] is not None
    return contest_of_files(paths[0], paths[1], None if prompts is None else str(prompts), paths[2])


def contest_of_files(
    predictions: Path, against: Path | None = None, prompts: str | None = None, gold: Path | None = None
) -> Contest:
    """Read what is judged.

    Args:
        predictions: a file of answers, RUN, or RUN:SYSTEM.
        against: another one; None grades the answers by themselves.
        prompts: what was asked, as `references_of` reads it; by default what a run was tested on.
        gold: a file of verdicts, or of grades, by id, by place, or in the rows' order.

    Raises:
        DataError: a file is of no form, or does not fit the rows.
        RunError: a folder is no run.
    """
    paths = [predictions, *([against] if against is not None else [])]
    for path in paths:
        if path.suffix and not os.path.exists(path) and run_at(named_side(path)[0]) is None:
            raise DataError("There is no such file.", where=str(path))
    asked = prompts or _tested(paths)
    task, questions = references_of(asked), questions_of(asked)
    read = [answers_at(task, path) for path in paths]
    answered = [any(row.id in one.texts for one in read) for row in task.rows]
    places = [place for place, own in enumerate(answered) if own]
    notes = [note for one in read for note in one.notes]
    if len(places) < len(task.rows):
        notes.append(f"{counted(len(task.rows) - len(places), 'row')} that nobody answers are left out.")
    texts = [[one.texts.get(task.rows[place].id, "") for place in places] for one in read]
    for one in read:
        if missing := sum(task.rows[place].id not in one.texts for place in places):
            notes.append(
                f"{one.path.name} has no answer to {counted(missing, 'row')}: judged as the empty text."
            )
    told = _gold(task, gold) if gold is not None else {}
    examples = rows_of(task).examples
    return Contest(
        _names(paths),
        [task.rows[place].id for place in places],
        [examples[place].source for place in places],
        [questions[place] for place in places],
        texts,
        {number: told[place] for number, place in enumerate(places) if place in told},
        tuple(notes),
    )


def contest_of_texts(
    predictions: Sequence[str],
    prompts: Sequence[str],
    against: Sequence[str] | None = None,
    gold: Sequence[str | float | None] | None = None,
) -> Contest:
    """Return what is judged of texts in memory. Raises DataError: they are not as many."""
    sides = [[*predictions], *([[*against]] if against is not None else [])]
    lengths = {len(one) for one in [*sides, prompts, *([gold] if gold is not None else [])]}
    if len(lengths) > 1 or not prompts:
        counts = " and ".join(map(str, sorted(lengths)))
        raise DataError(f"There are {counts} prompts, answers and verdicts; as many of each were expected.")
    told = {n: str(one) for n, one in enumerate(gold or ()) if one is not None}
    names = ("predictions", "against")[: len(sides)]
    return Contest(names, [str(n) for n in range(len(prompts))], [*prompts], [*prompts], sides, told)


def _tested(paths: Sequence[Path]) -> str:
    """Return the table that the first run among sides was tested on. Raises DataError: there is no run."""
    for path in paths:
        if run := run_at(named_side(path)[0]):
            return str(run.data / "test.parquet")
    raise DataError(
        "What was asked is not known.", where="--prompts", hint="Name the task, or the file of prompts."
    )


def _names(paths: Sequence[Path]) -> tuple[str, ...]:
    stems = [path.stem if os.path.isfile(path) else path.name for path in paths]
    return tuple(stems if len({*stems}) == len(stems) else map(str, paths))


def _gold(task: Task, path: Path) -> dict[int, str]:
    found = placed(rows_of(task), read_answers(path, called=GOLD))
    return {place: text for place, text in found.items() if text is not None}


def _is_number(text: str) -> bool:
    try:
        return math.isfinite(float(text))
    except ValueError:
        return False
