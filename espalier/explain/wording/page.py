"""Instruction sensitivity as a page: a strip of wordings for each model and task, and the tables."""

from __future__ import annotations

from typing import TYPE_CHECKING

from espalier.report.charts import Tick, axis
from espalier.report.layout import page_of, usual

if TYPE_CHECKING:
    from espalier.explain.wording.record import Sensitivity


def render(found: Sensitivity) -> str:
    """Return the page."""
    scale = axis(found.metric, [one.reached for asked in found.systems for one in asked.wordings])
    strips = [
        (
            f"{asked.system}{f', {task}' if len(asked.tasks) > 1 else ''}",
            [100 * v / scale.end for v in values],
        )
        for asked in found.systems
        for task, values in asked.tasks.items()
    ]
    marks: list[Tick] = scale.ticks
    shown = {
        "found": found,
        "strips": strips,
        "ticks": marks,
        "tables": [*found.tables()],
    }
    return page_of(usual(), "wording.html", shown)
