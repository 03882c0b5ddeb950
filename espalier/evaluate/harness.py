"""Scoring several systems on the same examples: from completions to the content of `scores.json`.

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
     "examples": [{"id", "source", "systems": {"tuned": {
        "values": {"rouge_l": 0.5, "about_duration": 1.0, "all_checks": 0.0, …},
        "why": {"grounded": "No word of the sentence."}}, …}}, …]}     why: of what is not 1, and says so

E is an `Estimate` ({"value", "low", "high", "n", "missing"}, 0 to 1, null where not known); D is one with
"better", "worse", "same" (rows) and "detectable". Differences are of the first system with each other one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError
from espalier.core.records import Completion, Score
from espalier.evaluate.compare import compare
from espalier.evaluate.facts import expected, of_answers, of_references
from espalier.evaluate.scorers.checks import check_scorer, single, together
from espalier.evaluate.scorers.registry import scorers as scorers
from espalier.evaluate.scorers.rouge import RougeL
from espalier.evaluate.sheet import metrics_of
from espalier.evaluate.statistics import mean, plain
from espalier.tasks.checks import set_checks

if TYPE_CHECKING:
    from collections.abc import Collection, Mapping, Sequence

    from espalier.core.records import Example, Scorer

ALL = "all_checks"


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
    limit: Mapping[str, int] | None = None,
) -> dict[str, Any]:
    """Score every system on every example; the result is what `scores.json` holds (see the top of this file).

    Args:
        systems: completions by the system's name, in any order, at most one per example; the first system is
            the one that the others are compared with.
        checks: names of the task's checks, of single answers and of the set.
        rewarded: what the tuned model was rewarded for; a check that is not among it was held out.
        train: the rows that were learned from, whose answers tell what answers look like.
        shown: the answers of the worked examples in the prompt.
        limit: what is known of the token limit; see the top of this file.

    Raises:
        DataError: no examples, two completions of one example, or a completion of an unknown example.
    """
    if not examples:
        raise DataError("There is no example to score.", hint="Lower data.train, or raise data.test_limit.")
    answers = {name: aligned(examples, completions, name) for name, completions in systems.items()}
    of_one = single(checks)
    of_set = [name for name in checks if name not in of_one]
    scorers = {name: s.fitted(examples) if isinstance(s, RougeL) else s for name, s in scorers.items()}
    form = expected(examples, train)
    scored = {name: [_judged(e, c, scorers, of_one) for e, c in zip(examples, row, strict=True)]
              for name, row in answers.items()}  # fmt: skip
    sources = [example.source for example in examples]
    metrics = metrics_of(scorers)
    lower = {name for name, metric in metrics.items() if metric["better"] == "lower"}
    return {
        "rows": len(examples),
        "sources": len(set(sources)),
        "seed": seed,
        "rewarded": list(rewarded),
        "metrics": metrics,
        "references": of_references(examples, form),
        "limit": dict(limit) if limit else None,
        "systems": {
            name: {
                **_means(scored[name], list(scorers), of_one, sources, seed),
                "set_checks": _set_verdicts(examples, answers[name], of_set),
                **of_answers(examples, answers[name], form, shown, seed),
            }
            for name in systems
        },
        "differences": _differences(scored, examples, seed, lower),
        "examples": [_row(example, i, scored) for i, example in enumerate(examples)],
    }


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
    example: Example, completion: Completion, scorers: Mapping[str, Scorer], checks: Sequence[str]
) -> dict[str, Score]:
    scores = {name: scorer.score(example, completion) for name, scorer in scorers.items()}
    if not checks:
        return scores
    verdicts = check_scorer(tuple(checks)).each(example, completion)
    return {**scores, **verdicts, ALL: Score(together(verdicts).value)}


def _means(
    scored: Sequence[Mapping[str, Score]],
    scorers: Sequence[str],
    checks: Sequence[str],
    sources: Sequence[str],
    seed: int,
) -> dict[str, Any]:
    def of(name: str) -> dict[str, Any]:
        return plain(mean([row[name].value for row in scored], sources, seed))

    return {
        "scores": {name: of(name) for name in scorers},
        "checks": {name: of(name) for name in checks},
        ALL: of(ALL) if checks else None,
    }


def _set_verdicts(
    examples: Sequence[Example], answers: Sequence[Completion], names: Sequence[str]
) -> dict[str, dict[str, Any]]:
    inputs, texts = [e.input for e in examples], [c.text for c in answers]
    verdicts = {name: set_checks.build(name, {}, "checks")(inputs, texts) for name in names}
    return {name: {"ok": verdict.ok, "why": verdict.why} for name, verdict in verdicts.items()}


def _differences(
    scored: Mapping[str, Sequence[Mapping[str, Score]]],
    examples: Sequence[Example],
    seed: int,
    lower: Collection[str],
) -> list[dict[str, Any]]:
    first, *others = scored
    sources = {example.id: example.source for example in examples}

    def values(system: str, name: str) -> dict[str, float | None]:
        return {e.id: row[name].value for e, row in zip(examples, scored[system], strict=True)}

    return [
        {
            "a": first,
            "b": other,
            "values": {
                name: compare(
                    values(first, name), values(other, name), sources, seed, lower=name in lower
                ).plain()
                for name in scored[first][0]
            },
        }
        for other in others
    ]


def _row(example: Example, i: int, scored: Mapping[str, Sequence[Mapping[str, Score]]]) -> dict[str, Any]:
    return {
        "id": example.id,
        "source": example.source,
        "systems": {
            system: {
                "values": {name: score.value for name, score in rows[i].items()},
                "why": {name: score.why for name, score in rows[i].items() if score.why and score.value != 1},
            }
            for system, rows in scored.items()
        },
    }
