"""What comes of comparing ways of decoding: each setting's quality and cost, the front, and what to take.

`Decodings` prints as a table with the sentence, and `plain()` is the same as JSON.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from espalier.core.text import counted
from espalier.evaluate.score_records import json_line, plain
from espalier.evaluate.sheet import figure, in_columns, interval, percent, points

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from espalier.core.records import Estimate, Metric
    from espalier.evaluate.score_records import Difference
    from espalier.trials.decoding_answers import Seen


@dataclass(frozen=True, slots=True)
class Tried:
    """What a setting reached on the development rows; the best of each kind is `chosen`."""

    setting: str
    kind: str
    reached: Estimate
    chosen: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """What a setting came to on the test rows.

    Attributes:
        setting: its name.
        decode: what a recipe's [decode] would be.
        samples: answers to each row: several of what draws.
        scores: by measure; of several samples their mean.
        best: of the measure that leads, what the best of the samples of each row reach: what could be had if
            one knew which it is. None of one sample.
        seconds: on the clock for a row, one sample of it; median of the rounds.
        cpu: the same of all processors.
        prompt: tokens of a row's prompt, in the mean; those that rows share are computed once.
        seen: in its answers.
        front: whether none is as good and as fast, and better in one of the two.
        probability: of that, over rows and timings drawn anew.
        behind: the best setting's value less this one's, row by row; None of the best itself. Its interval
            holds for all settings together (Bonferroni).
        tied: whether the two cannot be told apart.
        times: how many times as long it takes as the setting to take.
    """

    setting: str
    decode: Mapping[str, Any]
    samples: int
    scores: Mapping[str, Estimate]
    best: Estimate | None
    seconds: Estimate
    cpu: Estimate
    prompt: float
    seen: Seen
    front: bool = False
    probability: float = math.nan
    behind: Difference | None = None
    tied: bool = True
    times: Estimate | None = None

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        seen = self.seen
        return {
            "setting": self.setting,
            "decode": dict(self.decode),
            "samples": self.samples,
            "scores": {name: plain(one) for name, one in self.scores.items()},
            "best_of_samples": plain(self.best) if self.best else None,
            "seconds_per_row": plain(self.seconds),
            "cpu_seconds_per_row": plain(self.cpu),
            "prompt_tokens": self.prompt,
            "tokens": plain(seen.tokens),
            "repetition": plain(seen.repetition),
            "distinct_2": _known(seen.distinct_2),
            "distinct": seen.distinct,
            "at_limit": plain(seen.cut),
            "front": self.front,
            "front_probability": _known(self.probability),
            "behind_best": self.behind.plain() if self.behind else None,
            "tied_with_best": self.tied,
            "times_as_long": plain(self.times) if self.times else None,
        }


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Decodings:
    """Ways of decoding compared on the same prompts.

    `found["greedy"].seconds` is an Estimate; `found.advised` names the setting to take, `found.sentence` says
    why.

    Attributes:
        name: of the run.
        model: what was asked, for a person.
        measure: by which settings are chosen, with what it is as `metric`.
        tested: on the test rows.
        tried: on the development rows; none where nothing was to be chosen.
        rows, sources: that were tested on.
        dev_rows, dev_sources: that settings were chosen on.
        timed_rows: that were answered at once to measure time, in `rounds` rounds.
        precision: number format of the products.
        best: the setting of the highest quality; '' where no answer could be judged.
        advised: the cheapest that cannot be told apart from it.
        sentence: which decoding.
        notes: what a reader has to know before the numbers.
        gates: of each what differed, in words; '' where nothing did.
        made: answers that were made now, and not taken from the journal.
        metrics: of all measures.
    """

    name: str
    model: str
    measure: str
    metric: Metric
    metrics: Mapping[str, Metric]
    tested: tuple[Outcome, ...]
    tried: tuple[Tried, ...]
    rows: int
    sources: int
    dev_rows: int
    dev_sources: int
    timed_rows: int
    rounds: int
    precision: str
    best: str = ""
    advised: str = ""
    sentence: str = ""
    notes: tuple[str, ...] = ()
    gates: Mapping[str, str]
    made: int = 0

    def __getitem__(self, setting: str) -> Outcome:
        return next(one for one in self.tested if one.setting == setting)

    def __iter__(self) -> Iterator[str]:
        return (one.setting for one in self.tested)

    def __len__(self) -> int:
        return len(self.tested)

    @property
    def ordered(self) -> list[Outcome]:
        """What was tested, the best first."""
        return sorted(self.tested, key=lambda one: _rank(one.scores[self.measure], self.metric.sign))

    def table(self) -> list[list[str]]:
        """Return the columns' names, then a row for each tested setting, the best first."""
        head = ["", self.metric.title, "s a row", "CPU s", "tokens", "rep-4", "cut", "front"]
        return [head, *(self._row(one) for one in self.ordered)]

    def _row(self, one: Outcome) -> list[str]:
        reached, seen = one.scores[self.measure], one.seen
        mark = "* " if one.setting == self.advised else "  "
        return [
            mark + one.setting,
            f"{figure(self.metric, reached)} ({interval(reached) or '–'})",
            f"{spent(one.seconds.value)} ({span(one.seconds)})",
            spent(one.cpu.value),
            f"{seen.tokens.value:.1f}",
            percent(seen.repetition.value),
            percent(seen.cut.value),
            percent(one.probability, 0),
        ]

    @property
    def basis(self) -> str:
        """What the numbers are of, in a sentence or two."""
        chosen = (
            f"; settings chosen on {counted(self.dev_rows, 'other row')} of "
            f"{counted(self.dev_sources, 'source')}"
            if self.tried
            else ""
        )
        return (
            f"On {counted(self.rows, 'row')} of {counted(self.sources, 'source')}{chosen}. Intervals at 95 %."
            f" Time: median of {counted(self.rounds, 'round')} in turn, {counted(self.timed_rows, 'row')} at "
            f"once, in {self.precision}."
        )

    @property
    def footing(self) -> str:
        """The same, with what the table's columns are."""
        return f"{self.basis} rep-4, cut and front in %; * is the one to take."

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        told = (
            "name",
            "model",
            "measure",
            "rows",
            "sources",
            "dev_rows",
            "dev_sources",
            "timed_rows",
            "rounds",
        )
        last = ("precision", "best", "advised", "sentence", "made")
        return {
            **{name: self.__getattribute__(name) for name in (*told, *last)},
            "notes": list(self.notes),
            "gates": dict(self.gates),
            "metrics": {name: _metric(one) for name, one in self.metrics.items()},
            "tried": [
                {
                    "setting": one.setting,
                    "kind": one.kind,
                    "reached": plain(one.reached),
                    "chosen": one.chosen,
                }
                for one in self.tried
            ],
            "tested": [one.plain() for one in self.tested],
        }

    to_json = json_line

    def __str__(self) -> str:
        """Return the sentence, the table and the notes."""
        return "\n\n".join([self.sentence, in_columns(self.table()), "\n".join([self.footing, *self.notes])])

    __repr__ = __str__


def _metric(metric: Metric) -> dict[str, Any]:
    return {"title": metric.title, "unit": metric.unit, "better": metric.better, "scale": metric.scale}


def _rank(reached: Estimate, sign: int) -> float:
    return -sign * reached.value if reached.known else math.inf


def _known(value: float) -> float | None:
    return None if math.isnan(value) else value


def spent(seconds: float) -> str:
    """Return seconds with two digits that count: 0.0012, 12."""
    if not math.isfinite(seconds) or seconds <= 0:
        return "0" if seconds == 0 else "–"
    return f"{seconds:.{max(0, 1 - math.floor(math.log10(seconds)))}f}"


def span(estimate: Estimate) -> str:
    """Return the ends of a time's interval."""
    return f"{spent(estimate.low)} to {spent(estimate.high)}" if estimate.bounded else "–"


def gap_of(difference: Difference) -> str:
    """Return how far a setting is behind the best, with its interval, in points."""
    gap = difference.estimate
    return f"{points(gap)} points, {interval(gap, signed=True) or 'no interval'}"
