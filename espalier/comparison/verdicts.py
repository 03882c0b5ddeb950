"""What a comparison lets one say, in words: never more than interval, test and design bear."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from espalier.comparison.records import least, shown_p
from espalier.core.text import counted
from espalier.evaluate.sheet import between, figure

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from espalier.comparison.records import Compared, Comparison, Verdict

SURE = 0.05
ONE = "with one training a side, which says nothing about retraining"


def judged(comparison: Comparison, alike: Sequence[str], spoiled: Mapping[str, str]) -> Comparison:
    """Return the comparison with a verdict and a sentence for each measure.

    `alike` differ by seed alone; no winner is called beside a side that is `spoiled`, for the reason given.
    """
    pairs = tuple(
        replace(
            pair,
            measures={
                name: _judged(
                    one,
                    comparison,
                    (pair.first, pair.other),
                    spoiled.get(pair.other) or spoiled.get(pair.first, ""),
                    same=pair.other in alike,
                )
                for name, one in pair.measures.items()
            },
        )
        for pair in comparison.pairs
    )
    return replace(comparison, pairs=pairs)


def _judged(one: Compared, whole: Comparison, names: tuple[str, str], why: str, *, same: bool) -> Compared:
    verdict = _verdict(one, same=same)
    if why and verdict != "not judged":
        told = (
            f"{one.metric.within} is {figure(one.metric, one.other)} against {figure(one.metric, one.first)}"
        )
        return replace(one, verdict="spoiled", said=f"No winner can be called, since {why}: {told}.")
    trainings = [whole.trainings[name] for name in names]
    return replace(one, verdict=verdict, said=_said(one, verdict, names, whole.margin, max(trainings) == 1))


def _verdict(one: Compared, *, same: bool) -> Verdict:
    gap = one.difference
    if not gap.known:
        return "not judged"
    if same:
        return "same recipe"
    if one.corrected < SURE and gap.excludes_zero:
        return "better" if one.metric.sign * gap.value > 0 else "worse"
    if one.equal is not None and one.equal < SURE:
        return "as good"
    return "tie" if one.tied and not one.won + one.lost else "not told apart"


def _said(one: Compared, verdict: Verdict, names: tuple[str, str], margin: float | None, alone: bool) -> str:
    """Return the sentence; `alone`: of one training a side."""
    first, other = names
    metric = one.metric
    told = f"{metric.within} is {figure(metric, one.other)} against {figure(metric, one.first)}"
    gap = f"{between(one.difference)}; p = {shown_p(one.corrected)}".replace("= <", "<")
    ground = f", {ONE}" if alone else ""
    match verdict:
        case "better" | "worse":
            return f"{other} is {verdict} than {first}: {told} ({gap}){ground}."
        case "as good":
            return f"{other} is as good as {first} within {margin:g} points: {told} ({gap}){ground}."
        case "same recipe":
            return (
                f"{other} and {first} differ by seed alone, so no winner is called: {told} ({gap}), which "
                "another seed brings about."
            )
        case "tie":
            return (
                f"All {counted(one.tied, 'row')} tie by {metric.within}: it cannot tell {other} from {first}."
            )
        case "not judged":
            return f"Nothing can be said by {metric.within}: there is no row on which it judged both."
        case _:
            return f"No difference can be seen between {other} and {first}: {told} ({gap}); {_unseen(one)}."


def _unseen(one: Compared) -> str:
    """Say why a difference may be there all the same."""
    if one.difference.excludes_zero and one.p < SURE:
        return f"by itself it would be p = {shown_p(one.p)}, but not among so many comparisons".replace(
            "= <", "<"
        )
    found = least(one)
    return (
        f"only {found} points or more could mostly have been"
        if found != "–"
        else "there are too few rows to tell"
    )
