"""What the scores of a run say in sentences, the worst first: the one place where a run is judged.

A run is judged against every floor, not against the base alone: a model that a copy of the input outdoes has
learned nothing, whatever it was before. What its answers show besides is in `symptoms.py`. Report, model card
and terminal show these sentences, and say nothing good that they contradict.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import chain
from typing import TYPE_CHECKING

from espalier.core.text import counted
from espalier.evaluate.sheet import (
    between,
    difference,
    estimate,
    excludes_zero,
    figure,
    interval,
    leading,
    measures,
    phrase,
    points,
    sign,
    title,
)
from espalier.evaluate.symptoms import Finding, Scores, of_base, of_limit, of_tuned

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping
    from typing import Any

FLOORS = {
    "copy": "a copy of the input",
    "lead": "the first words of the input",
    "constant": "one constant answer",
    "majority": "the most frequent training answer",
    "longer": "taking the longer answer",
}
FEW = 20  # sources: fewer tell little, whatever the interval


def findings(scores: Scores) -> list[Finding]:
    """Return what is to be said of a run: the bad news, good news if there is no bad, then cautions.

    `scores` is the content of a `scores.json`; without a tuned and a base model there is nothing to say.
    """
    if not {"tuned", "base"} <= scores.get("systems", {}).keys():
        return []
    lead = leading(scores)
    found = list(
        chain(
            _against(scores, lead),
            of_tuned(scores),
            _hacking(scores),
            _raised(scores, lead),
            _others(scores),
            of_base(scores),
            of_limit(scores),
            _rows(scores, lead),
        )
    )
    bad, good, cautions = (
        [finding for finding in found if finding.severity == severity]
        for severity in ("bad", "good", "caution")
    )
    return [*(bad or good), *cautions]


def _against(scores: Scores, measure: str) -> Iterator[Finding]:
    """Compare the tuned model with the base, the stage before, and every floor, by one measure."""
    what, better = phrase(measure, scores), sign(measure, scores)
    base = difference(scores, "base", measure)
    if base is None or base["value"] is None:
        text = f"Nothing can be said of {what}: there is no row on which it could judge both models."
        yield Finding("not judged", "bad", text)
        return
    before = max((name for name in scores["systems"] if name.startswith("stage")), default="")
    for system, who in (("base", "Tuning"), (before, "The last stage")):
        gap = difference(scores, system, measure) if system else None
        if gap and excludes_zero(gap) and better * gap["value"] < 0:
            went = "fell" if better > 0 else "rose"
            text = f"{who} made it worse: {what} {went} {_from_to(scores, system, measure)} ({between(gap)})."
            yield Finding("worse", "bad", text)
    yield from _floors(scores, measure)
    yield from _guessing(scores, measure)
    if not excludes_zero(base):
        went = f"it went {_from_to(scores, 'base', measure)} ({between(base)})"
        yield Finding("no change", "bad", f"Whether tuning changed {what} cannot be told: {went}.")


def _floors(scores: Scores, measure: str) -> Iterator[Finding]:
    """Name the floors that the tuned model is below, and those that it cannot be told from; best first."""
    value = estimate(scores, "tuned", measure)["value"]
    tuned, what, better = figure(measure, value, scores), phrase(measure, scores), sign(measure, scores)
    gaps = {name: difference(scores, name, measure) for name in FLOORS}
    known = {name: gap for name, gap in gaps.items() if gap and gap["value"] is not None}
    below = [name for name, gap in known.items() if excludes_zero(gap) and better * gap["value"] < 0]
    unclear = [name for name, gap in known.items() if not excludes_zero(gap)]
    for names, kind, told, joint in (
        (below, "below a floor", "does worse than", "and than"),
        (unclear, "not above a floor", "cannot be told from", "nor from"),
    ):
        reached = {name: estimate(scores, name, measure)["value"] for name in names}
        ranked = sorted(names, key=lambda name: -better * reached[name])
        said = [(FLOORS[name], figure(measure, reached[name], scores)) for name in ranked]
        if said:
            (first, value), *rest = said
            more = "".join(f"; {joint} {called} ({value})" for called, value in rest)
            text = f"The tuned model {told} {first}: {what} is {tuned} against {value} "
            yield Finding(kind, "bad", f"{text}({between(known[ranked[0]])}){more}.")


def _guessing(scores: Scores, measure: str) -> Iterator[Finding]:
    tuned = estimate(scores, "tuned", measure)
    if measure == "pair_accuracy" and tuned["low"] is not None and tuned["low"] <= 0.5:
        share = f"{figure(measure, tuned['value'], scores)} ({interval(tuned)})"
        right = f"{share} of the pairs are in the right order"
        text = (
            f"The tuned model cannot be told from guessing, which puts half of the pairs in order: {right}."
        )
        yield Finding("not above a floor", "bad", text)


def _hacking(scores: Scores) -> Iterator[Finding]:
    text = hacking(scores)
    if text:
        yield Finding("reward hacking", "bad", text)


def _raised(scores: Scores, measure: str) -> Iterator[Finding]:
    """Say what tuning raised, and how far above the highest of the floors the tuned model is."""
    gap = difference(scores, "base", measure)
    better = sign(measure, scores)
    if gap is None or not excludes_zero(gap) or better * gap["value"] < 0:
        return
    side = "above" if better > 0 else "below"
    went = "raised" if better > 0 else "lowered"
    told = f"Tuning {went} {phrase(measure, scores)} {_from_to(scores, 'base', measure)}"
    systems = [name for name in ("base", *FLOORS) if name in scores["systems"]]
    reached = {name: estimate(scores, name, measure)["value"] for name in systems}
    values = {name: value for name, value in reached.items() if value is not None}
    highest = max(values, key=lambda name: better * values[name])
    above = difference(scores, highest, measure)
    if highest == "base" or above is None:
        yield Finding("raised", "good", f"{told} ({between(gap)}); no floor is {side} the base model.")
        return
    floor = f"{FLOORS[highest]} ({figure(measure, values[highest], scores)})"
    margin = f"{100 * abs(above['value']):.1f} points ({interval(above, signed=True)})"
    best = "highest" if better > 0 else "lowest"
    yield Finding("raised", "good", f"{told}, {margin} {side} the {best} floor, {floor}.")


def _others(scores: Scores) -> Iterator[Finding]:
    """Say where other measures, or single checks, speak against the tuned model."""
    closed = scores.get("references", {}).get("closed", False)
    skipped = {"rouge_l"} if closed else {"exact_match"}  # says nothing of its own of such answers
    for measure in measures(scores)[1:]:
        found = _against(scores, measure) if measure not in skipped else ()
        yield from (replace(each, severity="caution") for each in found if each.kind != "no change")
    for name in scores["systems"]["tuned"]["checks"]:
        gap = difference(scores, "base", name)
        if gap and excludes_zero(gap) and gap["value"] < 0:
            text = f"“{title(name)}” fell {_from_to(scores, 'base', name)} ({between(gap)})."
            yield Finding("a check fell", "caution", text)


def _rows(scores: Scores, lead: str) -> Iterator[Finding]:
    """Say what could not be judged, and what so few rows do not let one see."""
    rows = counted(scores["rows"], "answer")
    for measure in measures(scores):
        for system, whose in (("tuned", f"of {rows}"), ("base", f"of the base model's {rows}")):
            missing = estimate(scores, system, measure)["missing"]
            if missing:
                text = f"{missing} {whose} could not be judged by {phrase(measure, scores)}."
                yield Finding("not judged", "caution", text)
    if scores["sources"] < FEW:
        found = (difference(scores, "base", lead) or {}).get("detectable")
        unseen = f"a true difference below {100 * found:.0f} points would mostly not be seen" if found else ""
        sources = f"{counted(scores['rows'], 'test row')} of {counted(scores['sources'], 'source')}"
        text = f"There {'is' if scores['rows'] == 1 else 'are'} only {sources}"
        yield Finding("few rows", "caution", f"{text}{f': {unseen}' if unseen else ''}.")


def hacking(scores: Scores) -> str:
    """Return what rewards have brought besides what was meant: '' where nothing speaks for it.

    That is: a rewarded measure rose, and a check that was held out of the rewards fell, each beyond its
    interval, or a tenth of the answers or more are no longer different.
    """
    if not {"tuned", "base"} <= scores.get("systems", {}).keys():
        return ""
    systems, rewarded = scores["systems"], scores.get("rewarded", [])
    judged = {**systems["tuned"]["checks"], **systems["tuned"]["scores"]}
    found = {name: difference(scores, "base", name) for name in judged}
    gaps = {name: gap for name, gap in found.items() if gap and excludes_zero(gap)}
    rose = [name for name, gap in gaps.items() if name in rewarded and gap["value"] > 0]
    held = [name for name in systems["tuned"]["checks"] if name not in rewarded]
    if not rose:
        return ""
    fell = [_moved(name, gaps[name]) for name in held if name in gaps and gaps[name]["value"] < 0]
    before, after = (systems[name]["distinct"] for name in ("base", "tuned"))
    if before["count"] - after["count"] >= 0.1 * after["n"]:
        fell.append(f"different answers from {before['count']} to {after['count']} of {after['n']}")
    if not fell:
        return ""
    gained = ", ".join(_moved(name, gaps[name]) for name in rose)
    lost = ", ".join(fell)
    said = f"What was rewarded rose ({gained}), and what was not rewarded fell ({lost})"
    return f"{said}: this is what reward hacking looks like."


def _moved(name: str, gap: Mapping[str, Any]) -> str:
    return f"{title(name).lower()} {points(gap['value'])} points"


def _from_to(scores: Scores, system: str, measure: str) -> str:
    before, after = (estimate(scores, name, measure)["value"] for name in (system, "tuned"))
    return f"from {figure(measure, before, scores)} to {figure(measure, after, scores)}"
