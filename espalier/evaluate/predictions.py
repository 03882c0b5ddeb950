"""Scoring the predictions of any tool, beside their floors, with what is said of them in sentences.

Rows come from a task (`rows_of`), or from the files that an evaluation has for itself (`READERS`).
Predictions belong to them by id, by place, or by order (`tasks/answer_files.py`). By id every row is scored,
and one without a prediction as the empty text; by place those that the file names; by order both have to be
as many. Predictions of no scored row are ignored. All of it is counted and said.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError, RecipeError, nearest
from espalier.core.records import Estimate, Example, message
from espalier.core.text import counted
from espalier.evaluate.beside import Reached, beside, findings, reached_by, shown
from espalier.scorers.checks import check_scorer, single
from espalier.scorers.labels import confusion
from espalier.scorers.mctaco import read_candidates
from espalier.scorers.perplexity import PERPLEXITY, read_logprobs
from espalier.scorers.registry import TOGETHER, build_scorer, fitted, scorers
from espalier.scorers.super_ni import read_references
from espalier.tasks.answer_files import AnswerFile, read_answers
from espalier.tasks.facts import facts_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from espalier.core.records import Scorer, Task

# Kinds with files of their own for what was asked.
READERS: dict[str, Callable[[Path], list[Example]]] = {
    "mctaco": read_candidates,
    "super_ni": read_references,
}
# Kinds that are no scorer of rows: `espalier score` has them besides.
BESIDES = ("checks", "ifeval", "judge", "perplexity")


@dataclass(frozen=True, slots=True)
class Rows:
    """What predictions are scored on: rows, by the names that files give them; a first example's answer."""

    names: tuple[str, ...]
    examples: tuple[Example, ...]
    worked: str = ""


@dataclass(frozen=True, slots=True)
class PredictionScore:
    """What predictions reach, by measure, each beside its floors on the same rows.

    Attributes:
        kind: of the scorer.
        measures: what leads first.
        missing: rows without a prediction, which are scored as empty.
        extra: predictions of no scored row.
        groups: estimates by measure of the rows that share a fact, such as a category.
        more: what only some kinds have: a table of confusion, the official evaluation's own numbers.
        findings: what is to be said, the worst first; then what was counted.
    """

    kind: str
    measures: Mapping[str, Reached]
    missing: int
    extra: int
    groups: Mapping[str, Mapping[str, Mapping[str, Estimate]]] = field(
        default_factory=dict[str, dict[str, dict[str, Estimate]]]
    )
    more: Mapping[str, Any] = field(default_factory=dict[str, Any])
    findings: tuple[str, ...] = ()
    read: Mapping[str, Any] = field(default_factory=dict[str, Any])

    @property
    def lead(self) -> Reached:
        """The measure that is looked at first."""
        return next(iter(self.measures.values()))

    @property
    def title(self) -> str:
        """What the first measure is called."""
        return self.lead.metric.title

    @property
    def estimate(self) -> Estimate:
        """What the predictions reach of the first measure."""
        return self.lead.reached

    def percent(self) -> dict[str, Any]:
        """Return it as JSON can hold it: values as they are shown, to 4 places as the official ones."""
        return {
            "scorer": self.kind,
            "title": self.title,
            **shown(self.estimate),
            "n": self.estimate.n,
            "missing": self.missing,
            "extra": self.extra,
            "baselines": self.lead.plain()["baselines"],
            "measures": {name: one.plain() for name, one in self.measures.items()},
            **({"groups": _plain(self.groups)} if self.groups else {}),
            **self.more,
            "findings": list(self.findings),
            "read": dict(self.read),
        }


def rows_of(task: Task) -> Rows:
    """Return a task's rows as what predictions are scored on."""
    worked = task.positive[0].output if task.positive else ""
    examples = tuple(_example(task, place) for place in range(len(task.rows)))
    return Rows(tuple(row.id for row in task.rows), examples, worked)


def own_rows(kind: str, path: Path) -> Rows | None:
    """Return the rows of a kind's own file of what was asked; None where it has none, or the file is no such.

    Raises:
        DataError: see the kind's reader.
    """
    if kind not in READERS or (kind == "mctaco" and path.suffix not in ("", ".tsv", ".txt")):
        return None
    examples = READERS[kind](path)
    return Rows(tuple(example.id for example in examples), tuple(examples))


def score_predictions(
    task: Task | Rows,
    path: Path,
    kind: str,
    first: int | None = None,
    system: str | None = None,
    settings: Mapping[str, Any] | None = None,
) -> PredictionScore:
    """Score a file of predictions with the scorer of that name; "checks" means all of the task's own checks.

    Args:
        task: whose rows are scored.
        path: the predictions.
        kind: name of the scorer, or "my_module:function".
        first: score so many rows from the first on.
        system: whose answers of a run's outputs, by default the tuned model's; or which of lm-eval's filters.
        settings: of the scorer.

    Raises:
        DataError: the file is of no form, or does not fit the rows.
        RecipeError: no scorer has that name, or takes these settings.
    """
    built = measures_of(kind, settings or {}, task)
    rows = task if isinstance(task, Rows) else rows_of(task)
    file = read_answers(path, system)
    found = placed(rows, file, first)
    places = range(len(rows.names))[:first] if first or file.by != "index" else sorted(found)
    if not places:
        raise DataError("No prediction belongs to a row of the task.", where=str(path))
    examples = [rows.examples[place] for place in places]
    texts = [found.get(place) for place in places]
    used = sum(place in found for place in places)
    missing, extra = sum(text is None for text in texts), len(file.texts) - used
    floors, said = beside(examples, rows.worked), [text or "" for text in texts]
    measures = {name: floors.reached(kind, fitted(one, examples), said) for name, one in built.items()}
    counts = _counts(file, missing, extra, len(places), len(rows.names))
    return PredictionScore(
        kind,
        measures,
        missing,
        extra,
        groups=_groups(kind, examples, measures),
        more=_more(kind, examples, measures),
        findings=(*findings(measures), *_neither(kind, measures), *counts),
        read={"by": file.by, "key": file.key, "system": file.system, "skipped": file.skipped},
    )


def score_logprobs(path: Path) -> PredictionScore:
    """Return the perplexity of a file of log-probabilities (`scorers/perplexity.py`), by source.

    Raises:
        DataError: see `read_logprobs`.
    """
    sources, scores = read_logprobs(path)
    reached = Reached(PERPLEXITY, reached_by(PERPLEXITY, scores, sources), scores)
    return PredictionScore("perplexity", {"perplexity": reached}, 0, 0)


def measures_of(kind: str, settings: Mapping[str, Any], task: Task | Rows | None = None) -> dict[str, Scorer]:
    """Return the scorers that are given together for a kind, by measure, what leads first.

    Raises:
        RecipeError: no scorer has that name, or takes these settings.
    """
    if kind == "checks" and not settings:
        return {kind: _task_checks(task)}
    if kind not in scorers.names() and ":" not in kind:
        known = {*scorers.names(), *BESIDES}
        raise RecipeError(f"No scorer is named '{kind}'.", where="scorer", hint=nearest(kind, known))
    variants = TOGETHER.get(kind, {kind: {}})
    telling = {key for own in variants.values() for key in own} - {"strict"}
    if telling & settings.keys():  # one of them is asked for
        first = next(iter(variants.values()))
        variants = {kind: {key: value for key, value in first.items() if key not in telling}}
    return {name: build_scorer(kind, {**own, **settings}, kind) for name, own in variants.items()}


def placed(rows: Rows, file: AnswerFile, first: int | None = None) -> dict[int, str | None]:
    """Return the answers by the place of their row; those of no row are left out.

    Args:
        rows: that are answered.
        file: the answers.
        first: answers without ids may be those of so many rows alone.

    Raises:
        DataError: they do not fit the rows.
    """
    count = len(rows.names)
    if file.by == "order":
        wanted = (count, min(first, count)) if first else (count,)
        if len(file.texts) not in wanted:
            raise DataError(
                f"The file has {counted(len(file.texts), 'prediction')} for {counted(count, 'row')}: without "
                "ids they belong to rows by their order, and have to be as many.",
                where=str(file.path),
                hint="Give each its row's id, or say --first N where they are those of the first N rows.",
            )
        return dict(enumerate(file.texts))
    by_place = {str(place): place for place in range(count)}
    by_name = {name: place for place, name in enumerate(rows.names)}
    if len(by_name) < count and file.by == "id":
        twice = next(name for name, held in Counter(rows.names).items() if held > 1)
        raise DataError(
            f"Rows share the id '{twice}', so that a prediction could be of either.",
            where=str(file.path),
            hint="Call it index, and count the rows from 0.",
        )
    places = by_place if file.by == "index" else {**by_place, **by_name}
    found: dict[int, str | None] = {}
    for name, text, where in zip(file.names, file.texts, file.wheres, strict=True):
        place = places.get(name)
        if place in found:
            raise DataError(f"The row '{name}' is predicted twice.", where=where)
        if place is not None:
            found[place] = text
    if not found and file.by == "id":
        theirs = f"theirs are like '{file.names[0]}', the rows' like '{rows.names[0]}'" if file.names else ""
        raise DataError(
            f"None of the {len(file.texts)} predictions has the id of a row: {theirs}.",
            where=str(file.path),
            hint="Where rows have no ids of their own, their number in the file serves, from 0.",
        )
    return found


def _counts(file: AnswerFile, missing: int, extra: int, scored: int, rows: int) -> Iterator[str]:
    """Yield what was missing, superfluous, or left out."""
    if missing:
        have = "has" if missing == 1 else "have"
        count = "counts" if missing == 1 else "count"
        yield f"{counted(missing, 'row')} {have} no prediction and {count} as the empty text (see --first)."
    if extra:
        belongs, is_ = ("belongs", "is") if extra == 1 else ("belong", "are")
        yield f"{counted(extra, 'prediction')} {belongs} to no scored row and {is_} ignored."
    if scored < rows:
        yield f"Scored are {scored} of {counted(rows, 'row')}: the file does not name the others, or --first."
    if file.skipped:
        yield f"Read were the answers of '{file.system}', and not {file.skipped} others (see --system)."


def _neither(kind: str, measures: Mapping[str, Reached]) -> Iterator[str]:
    """Yield how many answers the official evaluator of MC-TACO takes for none."""
    count = sum(not score.answer for score in next(iter(measures.values())).scores)
    if kind == "mctaco" and count:
        what = f"{counted(count, 'answer')} {'is' if count == 1 else 'are'} neither “yes” nor “no”"
        yield f"{what} and counted as wrong; -o strict=false reads an answer's first word."


def _groups(
    kind: str, examples: Sequence[Example], measures: Mapping[str, Reached]
) -> dict[str, dict[str, dict[str, Estimate]]]:
    """Return what rows of each category, and of each track, reach by each measure."""
    found: dict[str, dict[str, dict[str, Estimate]]] = {}
    for fact in ("category", "track") if kind in READERS else ():
        values = [str(example.facts.get(fact) or "") for example in examples]
        for value in sorted({*values} - {""}):
            places = [place for place, own in enumerate(values) if own == value]
            sources = [examples[place].source for place in places]
            found.setdefault(fact, {})[value] = {
                name: reached_by(one.metric, [one.scores[place] for place in places], sources)
                for name, one in measures.items()
            }
    return found


def _more(kind: str, examples: Sequence[Example], measures: Mapping[str, Reached]) -> dict[str, Any]:
    """Return what only this kind tells besides."""
    first = next(iter(measures.values()))
    if kind == "label":
        return {"confusion": confusion(examples, first.scores)}
    if kind == "mctaco":
        table = measures.get("accuracy", first).scores
        return {
            "questions": len({example.source for example in examples}),
            "confusion": confusion(examples, table),
            "neither": sum(score.answer == "" for score in table),
        }
    if kind == "super_ni":
        return {"official": _official(examples, measures)}
    return {}


def _official(examples: Sequence[Example], measures: Mapping[str, Reached]) -> dict[str, float | None]:
    """Return the numbers of the official evaluation, under its names: by track, category and task."""
    columns: defaultdict[str, list[float | None]] = defaultdict(list)
    for name in ("exact_match", "rougeL"):
        scores = measures[name].scores if name in measures else ()
        for example, score in zip(examples, scores, strict=bool(scores)):
            of = [name, *(f"{name}_for_{one}" for one in (example.facts["category"], example.task) if one)]
            for key in of:
                columns[f"{key}_{example.facts['track']}_track"].append(score.value)
    known = {key: [one for one in column if one is not None] for key, column in columns.items()}
    return {
        key: round(100 * sum(column) / len(column), 4) if len(column) == len(columns[key]) else None
        for key, column in known.items()
    }


def _plain(groups: Mapping[str, Mapping[str, Mapping[str, Estimate]]]) -> dict[str, Any]:
    return {
        fact: {
            value: {name: {**shown(one), "n": one.n} for name, one in found.items()}
            for value, found in table.items()
        }
        for fact, table in groups.items()
    }


def _example(task: Task, place: int) -> Example:
    row = task.rows[place]
    return Example(
        id=str(place),
        task=task.name,
        source=row.source or row.input,
        messages=(message("user", row.input),),
        references=row.outputs,
        input=row.input,
        facts=facts_of(row.tags) or {"row": row.id},
    )


def _task_checks(task: Task | Rows | None) -> Scorer:
    names = () if task is None or isinstance(task, Rows) else single(task.checks)
    if not names:
        where = "" if task is None or isinstance(task, Rows) else task.origin
        raise DataError("The task has no checks of its own.", where=where, hint="Score rouge_l instead.")
    return check_scorer(names)
