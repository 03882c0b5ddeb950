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
from espalier.evaluate.forgetting import fallen, sentence
from espalier.evaluate.measures import AS_IS, FLOORS, metric_of
from espalier.evaluate.seeing import UNSEEN, looking
from espalier.evaluate.sheet import between, detectable, figure, interval, points, shown
from espalier.evaluate.symptoms import Finding, of_base, of_limit, of_tuned

if TYPE_CHECKING:
    from collections.abc import Iterator

    from espalier.core.records import Estimate
    from espalier.evaluate.scores import Scores

FEW = 20  # sources: fewer tell little, whatever the interval


def findings(scores: Scores) -> list[Finding]:
    """Return what is to be said of a run: the bad news, good news if there is no bad, then cautions.

    Of a model that was evaluated without training it is how it stands against the floors. Without a model
    there is nothing to say.
    """
    told = scores.exposure.told if scores.exposure else ""
    looks = [Finding("looks", "caution", told)] if told else []
    if AS_IS in scores.systems:
        return [*_of_alone(scores), *looks]
    return [*(_of_tuned(scores) if scores.judged else ()), *looks]


def _of_tuned(scores: Scores) -> list[Finding]:
    lead = scores.leading
    found = list(
        chain(
            _against(scores, lead),
            of_tuned(scores),
            _hacking(scores),
            _raised(scores, lead),
            _others(scores),
            _forgotten(scores),
            of_base(scores),
            of_limit(scores.limit, scores.rows),
            _rows(scores, lead),
        )
    )
    bad, good, cautions = (
        [finding for finding in found if finding.severity == severity]
        for severity in ("bad", "good", "caution")
    )
    return [*(bad or good), *cautions]


def _of_alone(scores: Scores) -> list[Finding]:
    lead = scores.leading
    seen = list(looking(scores, lead))
    bad = [*(one for one in seen if one.severity == "bad"), *_floors(scores, lead), *_guessing(scores, lead)]
    reached, metric = scores.estimate(AS_IS, lead), scores.metric(lead)
    text = f"The model is above every floor: {metric.within} is {figure(metric, reached)}"
    good = [Finding("above the floors", "good", f"{text} ({interval(reached) or 'no interval'}).")]
    return [
        *(bad or (good if reached.known else [])),
        *(one for one in seen if one.severity == "caution"),
        *of_limit(scores.limit, scores.rows),
        *_rows(scores, lead),
    ]


def _against(scores: Scores, measure: str) -> Iterator[Finding]:
    """Compare the tuned model with the base, the stage before, and every floor, by one measure."""
    metric = scores.metric(measure)
    base = _gap(scores, "base", measure)
    if base is None or not base.known:
        text = f"Nothing can be said of {metric.within}: there is no row on which it could judge both models."
        yield Finding("not judged", "bad", text)
        return
    for system, who in (("base", "Tuning"), *((name, "The last stage") for name in scores.stages[-1:])):
        gap = _gap(scores, system, measure)
        if gap and gap.excludes_zero and metric.sign * gap.value < 0:
            went = "fell" if metric.sign > 0 else "rose"
            moved = f"{metric.within} {went} {_from_to(scores, system, measure)}"
            yield Finding("worse", "bad", f"{who} made it worse: {moved} ({between(gap)}).")
    yield from looking(scores, measure)
    yield from _floors(scores, measure)
    yield from _guessing(scores, measure)
    if not base.excludes_zero:
        went = f"it went {_from_to(scores, 'base', measure)} ({between(base)})"
        yield Finding("no change", "bad", f"Whether tuning changed {metric.within} cannot be told: {went}.")


def _floors(scores: Scores, measure: str) -> Iterator[Finding]:
    """Name the floors that the tuned model is below, and those that it cannot be told from; best first.

    What is reached unseen is told by `seeing.py`.
    """
    metric = scores.metric(measure)
    gaps = {name: _gap(scores, name, measure) for name in FLOORS if name not in UNSEEN}
    known = {name: gap for name, gap in gaps.items() if gap and gap.known}
    below = [name for name, gap in known.items() if gap.excludes_zero and metric.sign * gap.value < 0]
    unclear = [name for name, gap in known.items() if not gap.excludes_zero]
    for names, kind, told, joint in (
        (below, "below a floor", "does worse than", "and than"),
        (unclear, "not above a floor", "cannot be told from", "nor from"),
    ):
        reached = {name: scores.estimate(name, measure) for name in names}
        ranked = sorted(names, key=lambda name: -metric.sign * reached[name].value)
        said = [(FLOORS[name], figure(metric, reached[name])) for name in ranked]
        if said:
            (first, value), *rest = said
            more = "".join(f"; {joint} {called} ({value})" for called, value in rest)
            tuned = figure(metric, scores.estimate(_ours(scores), measure))
            text = f"{_called(scores)} {told} {first}: {metric.within} is {tuned} against {value} "
            yield Finding(kind, "bad", f"{text}({between(known[ranked[0]])}){more}.")


def _guessing(scores: Scores, measure: str) -> Iterator[Finding]:
    """Name what the measure itself says that is reached without a model, where the tuned one is not above."""
    metric, floors = scores.metric(measure), scores.floors(measure)
    tuned = scores.estimate(_ours(scores), measure)
    end = tuned.low if metric.sign > 0 else tuned.high
    for name, value in metric.floors.items():
        if metric.sign * end <= metric.sign * value:
            reached = f"{metric.within} is {figure(metric, tuned)} ({interval(tuned)})"
            text = (
                f"{_called(scores)} cannot be told from {name} ({figure(metric, floors[name])}): {reached}."
            )
            yield Finding("not above a floor", "bad", text)


def _hacking(scores: Scores) -> Iterator[Finding]:
    text = hacking(scores)
    if text:
        yield Finding("reward hacking", "bad", text)


def _raised(scores: Scores, measure: str) -> Iterator[Finding]:
    """Say what tuning raised, and how far above the highest of the floors the tuned model is."""
    gap, metric = _gap(scores, "base", measure), scores.metric(measure)
    better = metric.sign
    if gap is None or not gap.excludes_zero or better * gap.value < 0:
        return
    side = "above" if better > 0 else "below"
    went = "raised" if better > 0 else "lowered"
    told = f"Tuning {went} {metric.within} {_from_to(scores, 'base', measure)}"
    systems = [name for name in ("base", *FLOORS) if name in scores.systems]
    reached = {name: scores.estimate(name, measure) for name in systems}
    values = {name: found.value for name, found in reached.items() if found.known}
    highest = max(values, key=lambda name: better * values[name])
    above = _gap(scores, highest, measure)
    if highest == "base" or above is None:
        yield Finding("raised", "good", f"{told} ({between(gap)}); no floor is {side} the base model.")
        return
    floor = f"{FLOORS[highest]} ({figure(metric, reached[highest])})"
    margin = f"{shown(replace(above, value=abs(above.value)))} points ({interval(above, signed=True)})"
    best = "highest" if better > 0 else "lowest"
    yield Finding("raised", "good", f"{told}, {margin} {side} the {best} floor, {floor}.")


def _others(scores: Scores) -> Iterator[Finding]:
    """Say where other measures, or single checks, speak against the tuned model."""
    skipped = {"rouge_l"} if scores.closed else {"exact_match"}  # says nothing of its own of such answers
    for measure in scores.measures[1:]:
        found = _against(scores, measure) if measure not in skipped else ()
        yield from (replace(each, severity="caution") for each in found if each.kind != "no change")
    for name in scores.systems["tuned"].checks:
        gap = _gap(scores, "base", name)
        if gap and gap.excludes_zero and gap.value < 0:
            text = f"“{metric_of(name).title}” fell {_from_to(scores, 'base', name)} ({between(gap)})."
            yield Finding("a check fell", "caution", text)


def _forgotten(scores: Scores) -> Iterator[Finding]:
    """Say which general questions the model answered better before."""
    if scores.abilities and fallen(scores.abilities):
        yield Finding("forgotten", "caution", sentence(scores.abilities))


def _rows(scores: Scores, lead: str) -> Iterator[Finding]:
    """Say what could not be judged, and what so few rows do not let one see."""
    rows = counted(scores.rows, "answer")
    for measure in scores.measures:
        for system, whose in ((_ours(scores), f"of {rows}"), ("base", f"of the base model's {rows}")):
            missing = scores.estimate(system, measure).missing if system in scores.systems else 0
            if missing:
                text = f"{missing} {whose} could not be judged by {scores.metric(measure).within}."
                yield Finding("not judged", "caution", text)
    if scores.sources < FEW:
        gap = scores.difference("base", lead)
        least = detectable(gap) if gap else ""
        unseen = f"a true difference below {least} would mostly not be seen" if least else ""
        sources = f"{counted(scores.rows, 'test row')} of {counted(scores.sources, 'source')}"
        text = f"There {'is' if scores.rows == 1 else 'are'} only {sources}"
        yield Finding("few rows", "caution", f"{text}{f': {unseen}' if unseen else ''}.")


def hacking(scores: Scores) -> str:
    """Return what rewards have brought besides what was meant: '' where nothing speaks for it.

    That is: a rewarded measure rose, and a check that was held out of the rewards fell, each beyond its
    interval, or a tenth of the answers or more are no longer different.
    """
    if not scores.judged:
        return ""
    tuned = scores.systems["tuned"]
    found = {name: _gap(scores, "base", name) for name in (*tuned.checks, *tuned.scores)}
    gaps = {name: gap for name, gap in found.items() if gap and gap.excludes_zero}
    rose = [name for name, gap in gaps.items() if name in scores.rewarded and gap.value > 0]
    held = [name for name in tuned.checks if name not in scores.rewarded]
    if not rose:
        return ""
    fell = [_moved(name, gaps[name]) for name in held if name in gaps and gaps[name].value < 0]
    before, after = (scores.systems[name].answers for name in ("base", "tuned"))
    if before and after and before.distinct.count - after.distinct.count >= 0.1 * after.distinct.n:
        different = f"{before.distinct.count} to {after.distinct.count} of {after.distinct.n}"
        fell.append(f"different answers from {different}")
    if not fell:
        return ""
    gained = ", ".join(_moved(name, gaps[name]) for name in rose)
    lost = ", ".join(fell)
    said = f"What was rewarded rose ({gained}), and what was not rewarded fell ({lost})"
    return f"{said}: this is what reward hacking looks like."


def _ours(scores: Scores) -> str:
    """Return the system that is judged."""
    return AS_IS if AS_IS in scores.systems else "tuned"


def _called(scores: Scores) -> str:
    return "The model" if AS_IS in scores.systems else "The tuned model"


def _gap(scores: Scores, other: str, measure: str) -> Estimate | None:
    found = scores.difference(other, measure)
    return found.estimate if found else None


def _moved(name: str, gap: Estimate) -> str:
    return f"{metric_of(name).title.lower()} {points(gap)} points"


def _from_to(scores: Scores, system: str, measure: str) -> str:
    before, after = (
        figure(scores.metric(measure), scores.estimate(name, measure)) for name in (system, "tuned")
    )
    return f"from {before} to {after}"
