"""What a run's answers came to, as one record, and as `scores.json`: the one place that knows its keys.

    {"rows": 60, "sources": 58, "seed": 0,
     "rewarded": ["about_duration"],              checks, scorers and others that training rewarded
     "metrics": {"rouge_l": {"title": …}},        a `Metric` of each scorer that says what it measures
     "references": {"n", "distinct", "words",     of the scored rows: how many, how many words
        "common": {"text", "count"},              the most frequent
        "closed", "known"},                       an answer is one of "known" labels, or a number, or wrong
     "limit": {"tokens", "too_long", "needed"},   of answers; rows that no reference fits; what would hold all
     "systems": {"tuned": {
        "scores": {"rouge_l": E, …},             one entry per scorer of the recipe
        "checks": {"about_duration": E, …},      pass rate of each of the task's checks
        "all_checks": E or null,                 share that passes them all; null where the task has none
        "set_checks": {"varied": {"ok": true, "why": ""}, …},   checks of the answers as a set
        "at_limit": E,                           share of answers that the token limit cut
        "distinct": {"count": 55, "n": 60},      different answers after normalisation
        "common": {"text": "…", "count": 3},     the most frequent of them
        "words": E,                              mean length
        "longer": 9, "shorter": 4,               answers that are so than every reference to them
        "missing": 0,                            examples without an answer; they count as the empty text
        "empty": 0,                              answers without a visible character
        "known": 60,                             answers of the form that the references have, or null
        "copies": {"whole", "near", "passage"},  answers that are (of) the input, where no reference is
        "shown": 0}, …},                         answers that repeat a worked example of the prompt
     "differences": [{"a": "tuned", "b": "base", "values": {"rouge_l": D, "all_checks": D, …}}, …],
     "groups": {"task003": {"rows", "sources", "systems", "differences"}, …},   where there are several tasks
     "kinds": {"what colour": {…}, …},           the same, of each kind of question about pictures or sounds
     "abilities": {…},                            the same once more, of the general questions, by kind
     "invariance": {"rows", "logprobs": {"batch", …}, "texts": {"batch", …}},   see `Invariance`
     "examples": [{"id", "source", "systems": {"tuned": {
        "values": {"rouge_l": 0.5, "about_duration": 1.0, "all_checks": 0.0, …},
        "why": {"grounded": "No word of the sentence."}}, …}}, …]}     why: of what is not 1, and says so

E is an `Estimate` ({"value", "low", "high", "n", "missing"}, null where not known); D is one with "better",
"worse", "same" (rows) and "detectable". Differences are of the first system with each other one. Beside
"values" stand "parts" (`Score.parts`) and "answers" (`Score.answer`), where a scorer gives some. A reward
model writes no answers: "metrics", "references" and "limit" are missing then, and of a system all from
"set_checks" on.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, is_dataclass
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError
from espalier.core.files import read_json
from espalier.core.records import Estimate, Metric, Score
from espalier.evaluate.measures import ALL, AS_IS, FLOORS, metric_of
from espalier.evaluate.score_records import (
    Answers,
    Common,
    Difference,
    Differences,
    Distinct,
    Exposure,
    Invariance,
    Limit,
    References,
    Row,
    System,
    plain,
)
from espalier.evaluate.sheet import tally
from espalier.tasks.checks import Verdict

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    Table = Mapping[str, Any]


@dataclass(frozen=True, repr=False)
class Scores:
    """What a run's systems reached, by measure, with all that is known of their answers.

    `scores["tuned"]["rouge_l"]` is an Estimate. Systems are "tuned", "base", earlier stages and the floors;
    the others are compared with the first. Where nothing was trained it is "model" and the floors. Of none
    it is a run not yet scored. `groups` are the same of the rows of each task, where there are several;
    `kinds`, of each kind of question about media (see `kinds.py`); `abilities`, what base and tuned model say
    to the questions of general ability. `exposure` is how often the rows were looked at: it grows, so that no
    file of scores has it (see `report/gather.py`).
    """

    rows: int = 0
    sources: int = 0
    seed: int = 0
    rewarded: tuple[str, ...] = ()
    metrics: Mapping[str, Metric] = field(default_factory=dict[str, Metric])
    references: References | None = None
    limit: Limit | None = None
    systems: Mapping[str, System] = field(default_factory=dict[str, System])
    differences: tuple[Differences, ...] = ()
    groups: Mapping[str, Scores] = field(default_factory=dict[str, "Scores"])
    kinds: Mapping[str, Scores] = field(default_factory=dict[str, "Scores"])
    abilities: Scores | None = None
    invariance: Invariance | None = None
    examples: tuple[Row, ...] = ()
    exposure: Exposure | None = None

    @classmethod
    def read(cls, path: Path) -> Scores:
        """Read a `scores.json`. Raises DataError where it is none, or lacks what it should have."""
        return cls.of(read_json(path), str(path))

    @classmethod
    def of(cls, table: Table, where: str = "scores.json") -> Scores:
        """Return the scores of such a file's content; parts that older versions did not write may be missing.

        Raises:
            DataError: another part is.
        """
        try:
            return _scores(table)
        except (KeyError, TypeError, AttributeError, ValueError) as error:
            what = f"have no {error}" if isinstance(error, KeyError) else f"are of no known form: {error}"
            raise DataError(
                f"The scores {what}.", where=where, hint="Another version wrote them: score the run again."
            ) from None

    def to_json(self) -> str:
        """Return it as the text of a `scores.json`."""
        return json.dumps(self.plain(), ensure_ascii=False, indent=1) + "\n"

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        asked = {
            "metrics": {name: _metric(one) for name, one in self.metrics.items()},
            "references": _plain(self.references),
            "limit": _plain(self.limit),
        }
        return {
            **{name: _plain(vars(self)[name]) for name in ("rows", "sources", "seed", "rewarded")},
            **(asked if self.references else {}),
            "systems": {name: _flat(system) for name, system in self.systems.items()},
            "differences": _plain(self.differences),
            **{
                key: {name: _part(one) for name, one in parts.items()}
                for key, parts in (("groups", self.groups), ("kinds", self.kinds))
                if parts
            },
            **({"abilities": _of_abilities(self.abilities)} if self.abilities else {}),
            **({"invariance": _plain(self.invariance)} if self.invariance else {}),
            "examples": [_verdicts(row) for row in self.examples],
        }

    def __getitem__(self, system: str) -> Mapping[str, Estimate]:
        """Return a system's estimates by measure."""
        found = self.systems[system].estimates
        return {name: found[name] for name in self.listed}

    def __iter__(self) -> Iterator[str]:
        return iter(self.systems)

    def keys(self) -> Sequence[str]:
        """Return the names of the systems."""
        return [*self.systems]

    def __repr__(self) -> str:
        """Return what each system reaches of what leads."""
        reached = ", ".join(f"{name} {self.estimate(name, self.leading)}" for name in self.systems)
        return f"Scores({self.leading}: {reached})" if reached else "Scores()"

    @property
    def judged(self) -> bool:
        """Whether there is a tuned model, and a base to compare it with."""
        return {"tuned", "base"} <= self.systems.keys()

    @property
    def closed(self) -> bool:
        """Whether an answer is one of a few, or a number."""
        return self.references is not None and self.references.closed

    @property
    def stages(self) -> list[str]:
        """The systems between base and tuned, earliest first."""
        return sorted(name for name in self.systems if name.startswith("stage"))

    @property
    def measures(self) -> list[str]:
        """All checks, where there are some, and every scorer, what fits the answers first.

        That is exact match for a task of labels, choices or numbers, and else the recipe's first scorer.
        """
        first = next(iter(self.systems.values()), System({}, {}, None))
        names = [*first.scores]
        if self.closed:
            names.sort(key=lambda name: name != "exact_match")
        return [ALL, *names] if first.all_checks else names

    @property
    def listed(self) -> list[str]:
        """All that a table shows: all checks, each check, and the scorers, what fits the answers first."""
        found = self.measures
        return [*found[:1], *next(iter(self.systems.values())).checks, *found[1:]] if ALL in found else found

    @property
    def leading(self) -> str:
        """The measure that a run is judged by first."""
        return next(iter(self.measures), "words")

    def metric(self, measure: str) -> Metric:
        """Return what a measure is, as its scorer said; of one that did not, its name says it."""
        return self.metrics.get(measure) or metric_of(measure)

    def estimate(self, system: str, measure: str) -> Estimate:
        """Return a system's estimate of a scorer, a check, all checks, or the words of an answer."""
        found = self.systems[system]
        if measure == "words" and found.answers:
            return found.answers.words
        return found.estimates[measure]

    def floors(self, measure: str) -> dict[str, Estimate]:
        """Return what is reached without a model, by name: by the floors, and as the metric says."""
        metric = self.metric(measure)
        said = {
            name: Estimate(value, value, value, self.rows, scale=metric.scale)
            for name, value in metric.floors.items()
        }
        return {**{name: self.estimate(name, measure) for name in FLOORS if name in self.systems}, **said}

    def difference(self, other: str, measure: str) -> Difference | None:
        """Return the paired difference of the tuned model with another system, where it was taken."""
        ours = (AS_IS if AS_IS in self.systems else "tuned", other)
        found = [pair.values for pair in self.differences if (pair.a, pair.b) == ours]
        return found[0].get(measure) if found else None

    def tally(self, system: str, measure: str) -> str:
        """Return what a measure counted in a system's answers, such as words inserted; '' if it does not."""
        metric = self.metric(measure)
        return tally(metric, self.of_rows(system, measure).values()) if metric.counts else ""

    def of_rows(self, system: str, measure: str) -> dict[str, Score]:
        """Return the scores of a system by example. Raises DataError where there are none."""
        try:
            return {row.id: row.systems[system][measure] for row in self.examples}
        except KeyError as error:
            raise DataError(f"There are no scores of {error} by row.", where="scores.json") from None


def _scores(table: Table) -> Scores:
    metrics = {name: _read_metric(told) for name, told in table.get("metrics", {}).items()}
    asked, limit = table.get("references"), table.get("limit")
    return Scores(
        rows=table["rows"],
        sources=table["sources"],
        seed=table.get("seed", 0),
        rewarded=tuple(table.get("rewarded", ())),
        metrics=metrics,
        references=_references(asked) if asked else None,
        limit=Limit(**limit) if limit else None,
        systems={name: _system(block, metrics) for name, block in table["systems"].items()},
        differences=tuple(
            Differences(
                pair["a"],
                pair["b"],
                {name: _difference(gap, _scale(name, metrics)) for name, gap in pair["values"].items()},
            )
            for pair in table["differences"]
        ),
        groups=_parts(table, "groups"),
        kinds=_parts(table, "kinds"),
        abilities=_scores(table["abilities"]) if table.get("abilities") else None,
        invariance=Invariance(**table["invariance"]) if table.get("invariance") else None,
        examples=tuple(
            Row(row["id"], row["source"], {name: _row(one) for name, one in row["systems"].items()})
            for row in table["examples"]
        ),
    )


def _parts(table: Table, key: str) -> dict[str, Scores]:
    metrics = table.get("metrics", {})
    return {
        name: _scores({**part, "metrics": metrics, "examples": []})
        for name, part in table.get(key, {}).items()
    }


def _references(table: Table) -> References:
    return References(**{**table, "common": cast("Any", Common(**table["common"]))})


def _scale(measure: str, metrics: Mapping[str, Metric]) -> float:
    return (metrics.get(measure) or metric_of(measure)).scale


def _system(block: Table, metrics: Mapping[str, Metric]) -> System:
    scores, rates = (
        {name: _estimate(one, _scale(name, metrics)) for name, one in block[sort].items()}
        for sort in ("scores", "checks")
    )
    whole = _estimate(block[ALL]) if block[ALL] else None
    return System(scores, rates, whole, _answers(block) if "distinct" in block else None)


def _answers(block: Table) -> Answers:
    made: dict[str, Any] = {
        "set_checks": {name: Verdict(**verdict) for name, verdict in block["set_checks"].items()},
        "at_limit": _estimate(block["at_limit"]),
        "distinct": Distinct(**block["distinct"]),
        "common": Common(**block.get("common", {})),
        "words": _estimate(block["words"], 1.0),
    }
    return Answers(**{one.name: block[one.name] for one in fields(Answers) if one.name in block} | made)


def _estimate(table: Table, scale: float = 100.0) -> Estimate:
    value, low, high = (math.nan if table[end] is None else table[end] for end in ("value", "low", "high"))
    return Estimate(value, low, high, table["n"], table["missing"], scale)


def _difference(table: Table, scale: float) -> Difference:
    power = table["detectable"]
    better, worse, same = (table[name] for name in ("better", "worse", "same"))
    return Difference(_estimate(table, scale), better, worse, same, math.nan if power is None else power)


def _row(verdicts: Table) -> dict[str, Score]:
    why, answers, parts = (verdicts.get(name, {}) for name in ("why", "answers", "parts"))
    return {
        name: Score(value, why.get(name, ""), answers.get(name, ""), tuple(parts.get(name, ())))
        for name, value in verdicts["values"].items()
    }


def _plain(value: object) -> Any:
    """Return records as tables of their fields, and estimates as JSON can hold them."""
    if isinstance(value, Estimate):
        return plain(value)
    if isinstance(value, Difference):
        return value.plain()
    if isinstance(value, Mapping):
        return {name: _plain(one) for name, one in cast("Table", value).items()}
    if isinstance(value, list | tuple):
        return [_plain(one) for one in cast("Sequence[object]", value)]
    if is_dataclass(value):
        return {one.name: _plain(object.__getattribute__(value, one.name)) for one in fields(value)}
    return value


def _metric(metric: Metric) -> dict[str, Any]:
    """Return what a metric says; of what is seldom said only what is not the usual."""
    usual = Metric("")
    rare = ("ceiling", "scale", "floors", "counts", "leans")
    told = {one.name: metric.__getattribute__(one.name) for one in fields(metric) if one.name != "fold"}
    return {
        name: said for name, said in told.items() if name not in rare or said != usual.__getattribute__(name)
    }


def _read_metric(told: Table) -> Metric:
    made: dict[str, Any] = {**told, "counts": tuple(told.get("counts", ()))}
    return Metric(**made)


def _of_abilities(scores: Scores) -> dict[str, Any]:
    """Return the general questions' scores as a table, which says by itself what it measures."""
    return {**scores.plain(), "metrics": {name: _metric(one) for name, one in scores.metrics.items()}}


def _part(group: Scores) -> dict[str, Any]:
    """Return what a group has of its own as a table."""
    table = group.plain()
    return {name: table[name] for name in ("rows", "sources", "systems", "differences")}


def _flat(system: System) -> dict[str, Any]:
    """Return a system as a table, with what is seen of its answers beside its scores."""
    table = _plain(system)
    answers = table.pop("answers")
    return {**table, **(answers or {})}


def _verdicts(row: Row) -> dict[str, Any]:
    systems: dict[str, Any] = {}
    for system, scores in row.systems.items():
        more = {
            "parts": {name: list(score.parts) for name, score in scores.items() if score.parts},
            "answers": {name: score.answer for name, score in scores.items() if score.answer},
        }
        systems[system] = {
            "values": {name: score.value for name, score in scores.items()},
            "why": {name: score.why for name, score in scores.items() if score.why and score.value != 1},
            **{name: told for name, told in more.items() if told},
        }
    return {"id": row.id, "source": row.source, "systems": systems}
