"""Reading `scores.json`: what measures are called, which of them leads, numbers as a person reads them."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Any

from espalier.core.records import Measured, Metric
from espalier.evaluate.scorers.exact import ExactMatch
from espalier.evaluate.scorers.rouge import RougeL
from espalier.tasks.checks import checks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from espalier.core.records import Scorer

ALL = "all_checks"
# Of what no scorer measures, and for scores that do not say it themselves.
KNOWN = {
    "rouge_l": RougeL(official=True).metric,
    "exact_match": ExactMatch.metric,
    ALL: Metric(
        "Passes all checks",
        phrase="the share of answers that pass every check",
        unit="%",
        note="The share of answers that keep every caution of the task.",
    ),
    "pair_accuracy": Metric(
        "Pairs in the right order",
        phrase="the share of pairs in the right order",
        unit="%",
        note="The share of held-out pairs whose better answer is rated higher; guessing reaches 50. “base” "
        "takes the answer that it finds likelier, “longer” the longer one.",
    ),
}


def metric(measure: str, scores: Mapping[str, Any] | None = None) -> Metric:
    """Return what a measure is, as the scorer said in the scores; of one that did not, its name says it."""
    said = (scores or {}).get("metrics", {}).get(measure)
    if said:
        return Metric(**said)
    name = measure.rpartition(":")[2].replace("_", " ")
    own = Metric(name[:1].upper() + name[1:], unit="%" if measure in checks.names() else "")
    return KNOWN.get(measure, own)


def metrics_of(scorers: Mapping[str, Scorer]) -> dict[str, dict[str, Any]]:
    """Return what scorers say of themselves, as "metrics" of the scores."""
    return {name: asdict(one.metric) for name, one in scorers.items() if isinstance(one, Measured)}


def title(measure: str, scores: Mapping[str, Any] | None = None) -> str:
    """Return what a measure is called: 'rouge_l' is ROUGE-L, 'about_duration' is About duration."""
    return metric(measure, scores).title


def phrase(measure: str, scores: Mapping[str, Any]) -> str:
    """Return what a measure is called within a sentence."""
    told = metric(measure, scores)
    return told.phrase or told.title


def figure(measure: str, value: float | None, scores: Mapping[str, Any]) -> str:
    """Return a measure's value with its unit: ROUGE-L is 62.3, a share of answers 96.3 %."""
    return f"{percent(value)} {metric(measure, scores).unit}".rstrip()


def sign(measure: str, scores: Mapping[str, Any]) -> int:
    """Return 1 where higher values are better, and -1 where lower ones are."""
    return -1 if metric(measure, scores).better == "lower" else 1


def leading(scores: Mapping[str, Any]) -> str:
    """Return the measure that a run is judged by first; see `measures`."""
    return next(iter(measures(scores)), "words")


def measures(scores: Mapping[str, Any]) -> list[str]:
    """Return all checks, where there are some, and every scorer, what fits the answers first.

    That is exact match for a task of labels, choices or numbers, and else the recipe's first scorer.
    """
    system = scores["systems"]["tuned"]
    names = [*system["scores"]]
    if scores.get("references", {}).get("closed"):
        names.sort(key=lambda name: name != "exact_match")
    return [ALL, *names] if system[ALL] else names


def listed(scores: Mapping[str, Any]) -> list[str]:
    """Return all that a table shows: all checks, each check, and the scorers, what fits the answers first."""
    found = measures(scores)
    checks = [*scores["systems"]["tuned"]["checks"]]
    return [*found[:1], *checks, *found[1:]] if ALL in found else found


def estimate(scores: Mapping[str, Any], system: str, measure: str) -> dict[str, Any]:
    """Return a system's estimate of a scorer, a check or all checks."""
    block = scores["systems"][system]
    if measure in (ALL, "words"):
        return block[measure]
    return block["scores"][measure] if measure in block["scores"] else block["checks"][measure]


def difference(scores: Mapping[str, Any], other: str, measure: str) -> dict[str, Any] | None:
    """Return the paired difference of the tuned model with another system, or None where it was not taken."""
    for pair in scores.get("differences", []):
        if pair["a"] == "tuned" and pair["b"] == other:
            return pair["values"].get(measure)
    return None


def excludes_zero(estimate: Mapping[str, Any]) -> bool:
    """Tell whether an interval is known and lies on one side of zero."""
    low, high = estimate["low"], estimate["high"]
    return low is not None and high is not None and (low > 0 or high < 0)


def percent(value: float | None, digits: int = 1) -> str:
    """Return 0.815 as '81.5', and a dash for what is not known."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def points(value: float | None) -> str:
    """Return a difference of rates as '+69.5', with a true minus sign."""
    return "–" if value is None else f"{100 * value:+.1f}".replace("-", "−")


def interval(estimate: Mapping[str, Any], *, signed: bool = False) -> str:
    """Return the ends of an estimate's interval as '59.1 to 77.8'; '' where they are not known."""
    if estimate["low"] is None or estimate["high"] is None:
        return ""
    show = points if signed else percent
    return f"{show(estimate['low'])} to {show(estimate['high'])}"


def between(gap: Mapping[str, Any]) -> str:
    """Return a difference with its interval: '+4.2 points, −1.0 to +9.4'."""
    return f"{points(gap['value'])} points, {interval(gap, signed=True) or 'no interval'}"
