"""Scoring several systems on the same examples: from completions to `Scores`."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.core.errors import DataError
from espalier.core.records import Completion, Measured, Score
from espalier.evaluate.compare import compare_scores, estimate
from espalier.evaluate.facts import expected, of_answers, of_references
from espalier.evaluate.kinds import question_kinds
from espalier.evaluate.measures import ALL, metric_of, scores_by
from espalier.evaluate.score_records import Differences, Row, System
from espalier.evaluate.scores import Scores
from espalier.scorers.checks import all_passed, check_scorer, single
from espalier.scorers.registry import fitted
from espalier.tasks.checks import Verdict, set_checks

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

    from espalier.core.records import Example, Metric, Scorer
    from espalier.evaluate.score_records import Difference, Limit

    Columns = Mapping[str, Sequence[Score]]  # by measure, a score of each example


def evaluate(
    examples: Sequence[Example],
    systems: Mapping[str, Sequence[Completion]],
    scorers: Mapping[str, Scorer],
    checks: Sequence[str] = (),
    seed: int = 0,
    *,
    rewarded: Sequence[str] = (),
    train: Sequence[Example] = (),
    shown: Sequence[str] = (),
    limit: Limit | None = None,
    own: Mapping[str, Collection[str]] | None = None,
) -> Scores:
    """Score every system on every example.

    Args:
        examples: what was asked.
        systems: completions by the system's name, in any order, at most one per example; the first system is
            the one that the others are compared with.
        scorers: by the names of their measures.
        checks: names of the task's checks, of single answers and of the set.
        seed: of the bootstrap.
        rewarded: what the tuned model was rewarded for; a check that is not among it was held out.
        train: the rows that were learned from, whose answers tell what answers look like.
        shown: the answers of the worked examples in the prompt.
        limit: what is known of the token limit.
        own: which of the checks judge a task's answers, by its name; all, where it is not among these.

    Raises:
        DataError: no examples, two completions of one example, or a completion of an unknown example.
    """
    if not examples:
        raise DataError("There is no example to score.", hint="Lower data.train, or raise data.test_limit.")
    answers = {name: aligned(examples, completions, name) for name, completions in systems.items()}
    of_one = single(checks)
    of_set = [name for name in checks if name not in of_one]
    scorers = {name: fitted(scorer, examples) for name, scorer in scorers.items()}
    metrics = {name: scorer.metric for name, scorer in scorers.items() if isinstance(scorer, Measured)}
    form = expected(examples, train)
    checked = [[name for name in checks if name in (own or {}).get(e.task, checks)] for e in examples]
    scored = {name: _judged(examples, row, scorers, of_one, checked) for name, row in answers.items()}
    kinds = question_kinds(examples)
    found = estimated(examples, scored, metrics, of_one, seed)
    seen = {
        name: of_answers(examples, row, form, _set_verdicts(examples, row, of_set, checked), shown)
        for name, row in answers.items()
    }
    return replace(
        found,
        rewarded=tuple(rewarded),
        references=of_references(examples, form),
        limit=limit,
        kinds={
            kind: replace(estimated(rows, part, metrics, of_one, seed), examples=(), groups={})
            for kind, rows, part in _parted(kinds, examples, scored)
        },
        systems={name: replace(one, answers=seen[name]) for name, one in found.systems.items()},
    )


def estimated(
    examples: Sequence[Example],
    scored: Mapping[str, Columns],
    metrics: Mapping[str, Metric],
    checks: Sequence[str] = (),
    seed: int = 0,
) -> Scores:
    """Return what systems' scores come to, and the differences of the first with each other one.

    Where rows are of several tasks, it is the same once more for each of them.

    Args:
        examples: what was asked.
        scored: by system and measure, a score of each example.
        metrics: of the measures, as far as scorers say what they are.
        checks: which measures are checks.
        seed: of the bootstrap.
    """
    ids, clusters = [example.id for example in examples], [example.source for example in examples]
    sources = dict(zip(ids, clusters, strict=True))
    first, *others = scored
    rows = {
        system: {name: dict(zip(ids, column, strict=True)) for name, column in columns.items()}
        for system, columns in scored.items()
    }

    def metric(name: str) -> Metric:
        return metrics.get(name) or metric_of(name)

    def reached(columns: Columns) -> System:
        found = {name: estimate(metric(name), column, clusters, seed) for name, column in columns.items()}
        rates = {name: found.pop(name) for name in checks}
        whole = found.pop(ALL, None)
        return System(found, rates, whole)

    def against(other: str) -> dict[str, Difference]:
        ours, theirs = rows[first], rows[other]
        return {name: compare_scores(ours[name], theirs[name], sources, metric(name), seed) for name in ours}

    groups = {
        task: replace(estimated(rows, part, metrics, checks, seed), examples=())
        for task, rows, part in _parted([example.task for example in examples], examples, scored)
    }
    return Scores(
        rows=len(examples),
        sources=len(set(clusters)),
        seed=seed,
        metrics=metrics,
        systems={name: reached(columns) for name, columns in scored.items()},
        groups=groups,
        differences=tuple(Differences(first, other, against(other)) for other in others),
        examples=tuple(
            Row(e.id, e.source, {name: {m: c[i] for m, c in scored[name].items()} for name in scored})
            for i, e in enumerate(examples)
        ),
    )


def _parted(
    names: Sequence[str], examples: Sequence[Example], scored: Mapping[str, Columns]
) -> Iterator[tuple[str, list[Example], dict[str, Columns]]]:
    """Yield the examples of each name, and their scores; nothing where there is but one."""
    places: defaultdict[str, list[int]] = defaultdict(list)
    for place, name in enumerate(names):
        places[name].append(place)
    for name, held in places.items() if len(places) > 1 else ():
        part: dict[str, Columns] = {
            system: {measure: [column[i] for i in held] for measure, column in columns.items()}
            for system, columns in scored.items()
        }
        yield name, [examples[i] for i in held], part


def aligned(examples: Sequence[Example], completions: Sequence[Completion], name: str) -> list[Completion]:
    """Return one completion per example, in their order; where there is none, an empty one with 'error'.

    Raises:
        DataError: two completions of one example, or a completion of none of them.
    """
    found: dict[str, Completion] = {}
    for completion in completions:
        if completion.example in found:
            raise DataError(f"'{name}' answered one example twice.", where=f"example {completion.example}")
        found[completion.example] = completion
    unknown = found.keys() - {example.id for example in examples}
    if unknown:
        raise DataError(
            f"'{name}' answered {len(unknown)} examples that are not among the {len(examples)} scored.",
            where=f"example {min(unknown)}",
        )
    return [found.get(e.id, Completion(example=e.id, text="", finish="error")) for e in examples]


def _judged(
    examples: Sequence[Example],
    answers: Sequence[Completion],
    scorers: Mapping[str, Scorer],
    checks: Sequence[str],
    own: Sequence[Collection[str]],
) -> Columns:
    """Return the verdicts; a check that is not among those of a row's task gives none."""
    scores = {name: scores_by(scorer, examples, answers, f"'{name}'") for name, scorer in scorers.items()}
    if not checks:
        return scores
    verdicts = [
        check_scorer(tuple(name for name in checks if name in kept)).each(e, answer)
        for e, answer, kept in zip(examples, answers, own, strict=True)
    ]
    each = {name: [row.get(name, Score(None)) for row in verdicts] for name in checks}
    return {**scores, **each, ALL: [Score(all_passed(row).value if row else None) for row in verdicts]}


def _set_verdicts(
    examples: Sequence[Example],
    answers: Sequence[Completion],
    names: Sequence[str],
    own: Sequence[Collection[str]],
) -> dict[str, Verdict]:
    verdicts: dict[str, Verdict] = {}
    for name in names:
        of_it = [(e.input, c.text) for e, c, kept in zip(examples, answers, own, strict=True) if name in kept]
        inputs, texts = [asked for asked, _ in of_it], [text for _, text in of_it]
        verdicts[name] = set_checks.build(name, {}, "checks")(inputs, texts)
    return verdicts
