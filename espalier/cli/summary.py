"""What a run ends with: the scores of base and tuned model, their difference, the floors, the findings."""

from __future__ import annotations

from textwrap import wrap
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from espalier.core.text import counted
from espalier.evaluate.findings import findings
from espalier.evaluate.groups import by_task
from espalier.evaluate.measures import ALL
from espalier.evaluate.sheet import shown

if TYPE_CHECKING:
    from espalier.core.records import Estimate
    from espalier.evaluate.scores import Scores

SHORT = {ALL: "all checks passed", "pair_accuracy": "pairs in the right order"}
TASKS = 20  # that are shown at most
WIDE = 110  # columns that a sentence is spread over at most


def print_summary(scores: Scores) -> None:
    """Print scores as percentages, what tuning changed with its 95 % interval, and what is to be said of it,
    the worst first.

    Of a run in stages: what the last stage changed; the report has the others too.
    """
    systems, stages, rows = scores.systems, scores.stages, scores.listed
    before = stages[-1] if stages else "base"
    models = ["base", *stages[-1:], "tuned"]
    floors = [name for name in systems if name not in ("base", *stages, "tuned")]
    notes = [f"change: from {before} to tuned"] if stages else []
    notes += ["* rewarded while the model learned"] if {*scores.rewarded} & {*rows} else []
    title = f"{counted(scores.rows, 'test row')} from {counted(scores.sources, 'source')}, in %"
    table = Table(
        "", *models, "change", "95 % interval", *floors, title=title, title_justify="left", box=None,
        pad_edge=False, padding=(0, 1 if stages or len(floors) > 2 else 2, 0, 0), caption_justify="left",
        caption="\n".join(notes) or None,
    )  # fmt: skip
    for measure in rows:
        gap = scores.difference(before, measure)
        table.add_row(
            _name(measure, scores),
            *(shown(scores.estimate(system, measure)) for system in models),
            *(_difference(gap.estimate) if gap else ("–", "")),
            *(shown(scores.estimate(system, measure)) for system in floors),
        )
    distinct = {name: str(one.answers.distinct.count) for name, one in systems.items() if one.answers}
    if distinct:  # a reward model writes no answers
        table.add_row("distinct answers", *map(distinct.get, models), "", "", *map(distinct.get, floors))
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    _print_tasks(console, scores)
    for finding in findings(scores):
        mark = {"bad": "!", "good": "+", "caution": "-"}[finding.severity]
        console.print(_wrapped(mark, finding.text, min(console.width, WIDE)), markup=False)


def _print_tasks(console: Console, scores: Scores) -> None:
    """Print the leading measure task by task, the worst first, where there are several."""
    groups = by_task(scores, scores.leading)
    if not groups:
        return
    tasks, over = groups[:-2], groups[-2:]
    table = Table(
        "", "rows", "base", "tuned", "change", "95 % interval", title_justify="left", box=None,
        title=f"\nBy task: {_name(scores.leading, scores)}", pad_edge=False, padding=(0, 2, 0, 0),
    )  # fmt: skip
    for group in (*tasks[:TASKS], *over):
        values = shown(group.base), shown(group.tuned), *_difference(group.gap)
        table.add_row(Text(group.name), str(group.rows), *values)
    console.print(table)
    if len(tasks) > TASKS:
        console.print(f"The {TASKS} worst of {len(tasks)} tasks; the report has all.")


def _wrapped(mark: str, text: str, width: int) -> str:
    """Return a sentence behind its mark, indented; options stay with their values, numbers with units."""
    joined = text.replace(" -o ", " -o\0").replace(" %", "\0%")
    lines = wrap(joined, width, initial_indent=f"{mark} ", subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")


def _name(measure: str, scores: Scores) -> str:
    called = scores.metric(measure)
    same = called.phrase.lower() == called.title.lower()
    plain = called.phrase if same else called.title
    if measure in scores.systems["tuned"].checks:
        plain = measure.replace("_", " ")
    short = SHORT.get(measure) or plain.replace(" (Unicode words)", ", Unicode")
    short += "" if called.scale == 100 else " (not in %)"
    return f"{short} *" if measure in scores.rewarded else short


def _difference(gap: Estimate) -> tuple[str, str]:
    value, low, high = (
        "–" if end != end else f"{gap.scale * end:+.1f}" for end in (gap.value, gap.low, gap.high)
    )
    return value, f"{low} to {high}"
