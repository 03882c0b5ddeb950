"""What a run ends with: the scores of base and tuned model, their difference, the floors, the findings."""

from __future__ import annotations

from textwrap import wrap
from typing import Any

from rich.console import Console
from rich.table import Table

from espalier.core.text import counted
from espalier.evaluate.findings import findings
from espalier.evaluate.sheet import ALL, estimate, listed, metric

SHORT = {ALL: "all checks passed", "pair_accuracy": "pairs in the right order"}
WIDE = 110  # columns that a sentence is spread over at most


def print_summary(scores: dict[str, Any]) -> None:
    """Print the scores of `scores.json` as percentages, what tuning changed with its 95 % interval, and what
    is to be said of it, the worst first.

    Of a run in stages: what the last stage changed; the report has the others too.
    """
    systems = scores["systems"]
    stages = sorted(name for name in systems if name.startswith("stage"))
    before = stages[-1] if stages else "base"
    models = ["base", *stages[-1:], "tuned"]
    floors = [name for name in systems if name not in ("base", *stages, "tuned")]
    rows = listed(scores)
    gaps = next(d["values"] for d in scores["differences"] if d["b"] == before)
    notes = [f"change: from {before} to tuned"] if stages else []
    notes += ["* rewarded while the model learned"] if {*scores["rewarded"]} & {*rows} else []
    title = f"{counted(scores['rows'], 'test row')} from {counted(scores['sources'], 'source')}, in %"
    table = Table(
        "", *models, "change", "95 % interval", *floors, title=title, title_justify="left", box=None,
        pad_edge=False, padding=(0, 1 if stages or len(floors) > 2 else 2, 0, 0), caption_justify="left",
        caption="\n".join(notes) or None,
    )  # fmt: skip
    for measure in rows:
        table.add_row(
            _name(measure, scores),
            *(_percent(estimate(scores, system, measure)["value"]) for system in models),
            *_difference(gaps[measure]),
            *(_percent(estimate(scores, system, measure)["value"]) for system in floors),
        )
    if "distinct" in systems["tuned"]:  # a reward model writes no answers
        distinct = {name: str(system["distinct"]["count"]) for name, system in systems.items()}
        table.add_row("distinct answers", *map(distinct.get, models), "", "", *map(distinct.get, floors))
    console = Console(soft_wrap=True, highlight=False)
    console.print(table)
    for finding in findings(scores):
        mark = {"bad": "!", "good": "+", "caution": "-"}[finding.severity]
        console.print(_wrapped(mark, finding.text, min(console.width, WIDE)), markup=False)


def _wrapped(mark: str, text: str, width: int) -> str:
    """Return a sentence behind its mark, indented; options stay with their values, numbers with units."""
    joined = text.replace(" -o ", " -o\0").replace(" %", "\0%")
    lines = wrap(joined, width, initial_indent=f"{mark} ", subsequent_indent="  ", break_on_hyphens=False)
    return "\n".join(lines).replace("\0", " ")


def _name(measure: str, scores: dict[str, Any]) -> str:
    check = measure in scores["systems"]["tuned"]["checks"]
    called = metric(measure, scores)
    same = called.phrase.lower() == called.title.lower()
    plain = measure.replace("_", " ") if check else called.phrase if same else called.title
    short = SHORT.get(measure) or plain.replace(" (Unicode words)", ", Unicode")
    return f"{short} *" if measure in scores["rewarded"] else short


def _difference(gap: dict[str, Any]) -> tuple[str, str]:
    return _percent(gap["value"], "+"), f"{_percent(gap['low'], '+')} to {_percent(gap['high'], '+')}"


def _percent(value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{100 * value:{sign}.1f}"
