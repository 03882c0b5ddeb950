"""What a run ends with, as tables of words: scores of base and tuned model, the difference, the floors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.text import counted
from espalier.evaluate.forgetting import RIGHT, sentence
from espalier.evaluate.groups import MACRO, MICRO, by_task
from espalier.evaluate.measures import ALL, AS_IS
from espalier.evaluate.seeing import by_kind
from espalier.evaluate.sheet import interval, shown

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Estimate
    from espalier.evaluate.scores import Scores

SHORT = {ALL: "all checks passed", "pair_accuracy": "pairs in the right order"}
TASKS = 20  # that are shown at most


@dataclass(frozen=True)
class Sheet:
    """A table: its title, what its columns are called, its rows of cells, and sentences below it."""

    title: str
    columns: Sequence[str]
    rows: Sequence[Sequence[str]]
    notes: Sequence[str] = ()


def overall(scores: Scores) -> Sheet:
    """Return the scores as percentages, and what tuning changed with its 95 % interval.

    Of a run in stages: what the last stage changed; the report has the others too.
    """
    systems, stages, listed = scores.systems, scores.stages, scores.listed
    before = stages[-1] if stages else "base"
    models = [name for name in (AS_IS, "base", *stages[-1:], "tuned") if name in systems]
    floors = [name for name in systems if name not in (*models, *stages)]
    alone = AS_IS in systems  # nothing has changed it
    rows: list[list[str]] = []
    for measure in listed:
        gap = scores.difference(before, measure)
        values = {name: shown(scores.estimate(name, measure)) for name in (*models, *floors)}
        changed = (_interval(scores, measure),) if alone else _difference(gap.estimate) if gap else ("–", "")
        row = [*(values[name] for name in models), *changed, *(values[name] for name in floors)]
        rows.append([_name(measure, scores), *row])
    distinct = {name: str(one.answers.distinct.count) for name, one in systems.items() if one.answers}
    if distinct:  # a reward model writes no answers
        counts = [distinct.get(name, "") for name in (*models, *[""] * (1 if alone else 2), *floors)]
        rows.append(["distinct answers", *counts])
    notes = [f"change: from {before} to tuned"] if stages else []
    notes += [
        f"{name}: {told}" for measure in listed for name in models if (told := scores.tally(name, measure))
    ]
    notes += ["* rewarded while the model learned"] if {*scores.rewarded} & {*listed} else []
    title = f"{counted(scores.rows, 'test row')} from {counted(scores.sources, 'source')}, in %"
    change = [] if alone else ["change"]
    return Sheet(title, ["", *models, *change, "95 % interval", *floors], rows, notes)


def task_by_task(scores: Scores) -> Sheet | None:
    """Return the leading measure task by task, the worst first; None where there is only one."""
    groups = by_task(scores, scores.leading)
    if not groups:
        return None
    tasks, over = groups[:-2], groups[-2:]
    rows = [
        [group.name, str(group.rows), shown(group.base), shown(group.tuned), *_difference(group.gap)]
        for group in (*tasks[:TASKS], *over)
    ]
    more = [f"The {TASKS} worst of {len(tasks)} tasks; the report has all."] if len(tasks) > TASKS else []
    columns = ("", "rows", "base", "tuned", "change", "95 % interval")
    return Sheet(f"By task: {_name(scores.leading, scores)}", columns, rows, more)


def kind_by_kind(scores: Scores) -> Sheet | None:
    """Return the leading measure by kind of question about media, beside what is reached unseen; None of one.

    The change is from the floor that the model is the least above.
    """
    found = by_kind(scores, scores.leading)
    if not found:
        return None
    systems = [*found[0].reached]
    rows = [
        [one.name, str(one.rows), *(shown(one.reached[name]) for name in systems), *_difference(one.gap)]
        for one in found
    ]
    columns = ("", "rows", *systems, "above", "95 % interval")
    notes = ["above: how far over the best of what is reached unseen"]
    return Sheet(f"By kind of question: {_name(scores.leading, scores)}", columns, rows, notes)


def forgetting(scores: Scores) -> Sheet | None:
    """Return what became of the general questions, kind by kind; None where they were not asked."""
    if scores.abilities is None:
        return None
    rows = [
        ["all" if one.name == MICRO else one.name, str(one.rows), shown(one.base), shown(one.tuned),
         *_difference(one.gap)]
        for one in by_task(scores.abilities, RIGHT)
        if one.name != MACRO
    ]  # fmt: skip
    columns = ("", "questions", "base", "tuned", "change", "95 % interval")
    return Sheet("General questions: right answers, in %", columns, rows, [sentence(scores.abilities)])


def _name(measure: str, scores: Scores) -> str:
    called = scores.metric(measure)
    same = called.phrase.lower() == called.title.lower()
    plain = called.phrase if same else called.title
    if measure in next(iter(scores.systems.values())).checks:
        plain = measure.replace("_", " ")
    short = SHORT.get(measure) or plain.replace(" (Unicode words)", ", Unicode")
    short += "" if called.scale == 100 else " (not in %)"
    return f"{short} *" if measure in scores.rewarded else short


def _interval(scores: Scores, measure: str) -> str:
    found = scores.estimate(AS_IS, measure)
    return interval(found) if found.bounded else "–"


def _difference(gap: Estimate) -> tuple[str, str]:
    value, low, high = (
        "–" if end != end else f"{gap.scale * end:+.1f}" for end in (gap.value, gap.low, gap.high)
    )
    return value, f"{low} to {high}"
