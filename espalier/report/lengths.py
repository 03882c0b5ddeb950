"""How long answers are, in words: those that were trained, and those that the models gave."""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.text import word_count
from espalier.report.charts import histograms

if TYPE_CHECKING:
    from espalier.report.charts import Histogram
    from espalier.report.gather import Material

COUNTED = 5_000  # texts of each kind; of more every second, or third, …


@dataclass(frozen=True)
class Lengths:
    """One kind of answers: what they are, the words of the middle one and of the longest, all as bars."""

    name: str
    median: float
    longest: int
    drawn: Histogram


def lengths(material: Material) -> list[Lengths]:
    """Return the lengths of the trained answers, the base model's and the tuned one's, as far as known."""
    texts = {
        "trained answers": [example.answer for example in material.train],
        "references": [text for example in material.test for text in example.references[:1]],
        **{f"{who} model": _answers(material, who) for who in ("base", "tuned")},
    }
    counts = {
        name: [word_count(text) for text in found[:: 1 + len(found) // COUNTED]]
        for name, found in texts.items()
        if found
    }
    drawn = histograms([*counts.values()]) if counts else []
    return [
        Lengths(name, statistics.median(count), max(count), bars)
        for (name, count), bars in zip(counts.items(), drawn, strict=True)
    ]


def _answers(material: Material, system: str) -> list[str]:
    return [line["text"] for (name, _), line in material.outputs.items() if name == system]
