"""The table that a run ends with: scores of the base and the tuned model, their difference, the floors."""

from __future__ import annotations

from typing import Any

from rich.console import Console
from rich.table import Table

NAMES = {
    "all_checks": "all checks passed",
    "rouge_l": "ROUGE-L",
    "exact_match": "exact match",
    "pair_accuracy": "pairs in the right order",
}


def print_summary(scores: dict[str, Any]) -> None:
    """Print the scores of `scores.json` as percentages, and what tuning changed with its 95 % interval.

    Of a run in stages: what the last stage changed; the report has the others too.
    """
    systems = scores["systems"]
    stages = sorted(name for name in systems if name.startswith("stage"))
    before = stages[-1] if stages else "base"
    models = ["base", *stages[-1:], "tuned"]
    floors = [name for name in systems if name not in ("base", *stages, "tuned")]
    measures = _measures(systems["tuned"])
    gaps = next(d["values"] for d in scores["differences"] if d["b"] == before)
    notes = [f"change: from {before} to tuned"] if stages else []
    notes += ["* rewarded while the model learned"] if {*scores["rewarded"]} & {*measures} else []
    table = Table(
        "", *models, "change", "95 % interval", *floors,
        title=f"{scores['rows']} test rows from {scores['sources']} sources, in %", title_justify="left",
        box=None, pad_edge=False, padding=(0, 1 if stages else 2, 0, 0), caption_justify="left",
        caption="\n".join(notes) or None,
    )  # fmt: skip
    for measure in measures:
        name = NAMES.get(measure, measure.replace("_", " "))
        table.add_row(
            f"{name} *" if measure in scores["rewarded"] else name,
            *(_percent(_estimate(systems[name], measure)["value"]) for name in models),
            *_difference(gaps[measure]),
            *(_percent(_estimate(systems[name], measure)["value"]) for name in floors),
        )
    if "distinct" in systems["tuned"]:  # a reward model writes no answers
        distinct = {name: str(system["distinct"]["count"]) for name, system in systems.items()}
        table.add_row("distinct answers", *map(distinct.get, models), "", "", *map(distinct.get, floors))
    Console(soft_wrap=True).print(table)


def _difference(gap: dict[str, Any]) -> tuple[str, str]:
    return _percent(gap["value"], "+"), f"{_percent(gap['low'], '+')} to {_percent(gap['high'], '+')}"


def _measures(system: dict[str, Any]) -> list[str]:
    first = ["all_checks"] if system["all_checks"] else []
    return [*first, *system["checks"], *system["scores"]]


def _estimate(system: dict[str, Any], measure: str) -> dict[str, Any]:
    if measure == "all_checks":
        return system["all_checks"]
    return {**system["checks"], **system["scores"]}[measure]


def _percent(value: float | None, sign: str = "") -> str:
    return "–" if value is None else f"{100 * value:{sign}.1f}"
