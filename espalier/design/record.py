"""What a study comes to: effects with what may be said of them, cells with their scores, and what was shared.

`Findings` prints as a table with the sentences; `plain()` is the same as JSON (`effects.json`), `csv()` the
effects as a table of numbers (`effects.csv`), all in points as they are shown.
"""

from __future__ import annotations

import csv
import io
import json
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from espalier.comparison.records import least, shown_p
from espalier.core.text import counted, some
from espalier.evaluate.score_records import plain
from espalier.evaluate.sheet import between, in_columns, interval, points

if TYPE_CHECKING:
    from collections.abc import Mapping

    from espalier.comparison.records import Compared
    from espalier.core.records import Estimate, Metric
    from espalier.design.blocks import Block

Sort: TypeAlias = Literal["main", "interaction"]
SEEN = ("better", "worse")
MOST = 4  # effects that a sentence tells


@dataclass(frozen=True, slots=True)
class Effect:
    """What a level does against another, over the cells of all other levels.

    Attributes:
        factor: its name; of an interaction both, as "rate × method".
        level: the level that the effect is of.
        against: the level that it is set against.
        sort: of one factor, or an interaction: how much one factor changes what the other does.
        compared: the numbers; of an interaction the difference of two differences.
        plus, minus: names of the cells on either side.
        same: whether both sides are answers of the same models.
    """

    factor: str
    level: str
    against: str
    sort: Sort
    compared: Compared
    plus: tuple[str, ...]
    minus: tuple[str, ...]
    same: bool

    @property
    def name(self) -> str:
        """What it is called beside others."""
        if self.sort == "interaction":
            return self.factor
        return f"{self.factor}: {self.level} against {self.against}"

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        told = {key: self.__getattribute__(key) for key in ("factor", "level", "against", "sort", "same")}
        cells = {"plus": list(self.plus), "minus": list(self.minus)}
        return {**told, "cells": cells, **self.compared.plain()}


@dataclass(frozen=True, slots=True)
class CellScore:
    """A cell's own score.

    Attributes:
        name: of its folder.
        levels: for a person, by factor.
        seed: of its training.
        run: whether it is a run; else an evaluation of `training`.
        training: the name of its training's run.
        score: of the study's measure.
        floors: of the same measure and rows.
    """

    name: str
    levels: Mapping[str, str]
    seed: int
    run: bool
    training: str
    score: Estimate
    floors: Mapping[str, Estimate]

    @property
    def report(self) -> str:
        """Where its report is, from the study's folder."""
        return f"runs/{self.name}/report.html"

    @property
    def setting(self) -> str:
        """Its levels in words."""
        return ", ".join(f"{factor} {level}" for factor, level in self.levels.items())

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        told = {key: self.__getattribute__(key) for key in ("name", "seed", "run", "training", "report")}
        floors = {name: plain(one) for name, one in self.floors.items()}
        return {**told, "levels": dict(self.levels), "score": plain(self.score), "floors": floors}


@dataclass(frozen=True, slots=True, repr=False)
class Findings:
    """All that a study found.

    Attributes:
        name: of the study.
        question: what was asked.
        measure: by which it is judged, and `metric` what that is.
        effects: in the order of the factors.
        cells: all of them.
        rows, sources: that were scored.
        seeds: of each setting's trainings.
        trainings: how many runs the cells share, and `trained` how many of them were really trained.
        asked: answers that all folders hold, base models' too, and `written` how many of them are distinct.
        margin: in points, within which levels are as good as each other; None: not asked.
        notes: what a reader has to know first.
        footing: what the numbers are.
        command: what makes the study again.
        blocks: what the design says besides.
        steps: of all trainings, and `steps_taken` how many of them were another training's first ones.
    """

    name: str
    question: str
    measure: str
    metric: Metric
    effects: tuple[Effect, ...]
    cells: tuple[CellScore, ...]
    rows: int
    sources: int
    seeds: tuple[int, ...]
    trainings: int
    trained: int
    asked: int
    written: int
    margin: float | None
    notes: tuple[str, ...]
    footing: str
    command: str
    blocks: tuple[Block, ...] = ()
    steps: int = 0
    steps_taken: int = 0

    def __getitem__(self, name: str) -> Effect:
        """Return an effect by its name, or the only one of a factor."""
        found = [one for one in self.effects if name in (one.name, one.factor)]
        if len(found) != 1:
            raise KeyError(name)
        return found[0]

    @property
    def seen(self) -> list[Effect]:
        """The effects that are told from chance."""
        return [one for one in self.effects if one.compared.verdict in SEEN]

    @property
    def sentence(self) -> str:
        """The verdict."""
        told = sorted(self.seen, key=lambda one: -abs(one.compared.difference.value))
        equal = [one.name for one in self.effects if one.compared.verdict == "as good"]
        rest = [one.name for one in self.effects if one.compared.verdict not in (*SEEN, "as good")]
        alike = f" As good within {self.margin:g} points: {some(equal, MOST)}." if equal else ""
        alike += f" No difference can be seen by {some(rest, MOST)}." if rest and (told or equal) else ""
        if not told:
            if equal:
                return f"Nothing made a difference that can be seen.{alike}"
            return f"Nothing made a difference that can be seen: {self.unseen}."
        parts = [f"{one.name} ({between(one.compared.difference)})" for one in told]
        return f"What made a difference in {self.metric.within}: {some(parts, MOST)}.{alike}"

    @property
    def unseen(self) -> str:
        """What could not have been seen of the effects that were not, in words."""
        found = [
            one.compared.metric.scale * one.compared.detectable
            for one in self.effects
            if one not in self.seen
        ]
        known = sorted(value for value in found if value > 0)
        if not known:
            return "there are too few rows to tell"
        ends = (
            f"{known[0]:.1f}"
            if f"{known[0]:.1f}" == f"{known[-1]:.1f}"
            else f"{known[0]:.1f} to {known[-1]:.1f}"
        )
        return f"only {ends} points or more could mostly have been"

    @property
    def shared(self) -> str:
        """What the cells had in common and was done once."""
        steps = (
            f" Of {self.steps} training steps, {self.steps_taken} were taken from smaller sizes."
            if self.steps_taken
            else ""
        )
        return (
            f"{counted(len(self.cells), 'cell')} of {counted(self.trainings, 'training')}, "
            f"{self.trained} of which were trained and {self.trainings - self.trained} taken from one that "
            f"came to the same; {self.asked} answers, {self.written} of which had to be written.{steps}"
        )

    def table(self) -> list[list[str]]:
        """Return the columns' names, then a row for each effect."""
        head = ["", "difference", "p", "could see", "what may be said"]
        return [
            head,
            *(
                [
                    one.name,
                    f"{points(gap)} ({interval(gap, signed=True) or '–'})",
                    shown_p(one.compared.corrected),
                    least(one.compared),
                    one.compared.verdict,
                ]
                for one in self.effects
                for gap in (one.compared.difference,)
            ),
        ]

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        keys = ("name", "question", "sentence", "measure", "rows", "sources", "trainings", "trained", "asked")
        more = ("written", "margin", "footing", "command", "shared")
        return {
            **{key: self.__getattribute__(key) for key in (*keys, *more)},
            "seeds": list(self.seeds),
            "notes": list(self.notes),
            "effects": [one.plain() for one in self.effects],
            "design": [one.plain() for one in self.blocks],
            "cells": [one.plain() for one in self.cells],
        }

    def to_json(self) -> str:
        """Return it as JSON."""
        return json.dumps(self.plain(), ensure_ascii=False, indent=1)

    def csv(self) -> str:
        """Return the effects as CSV, numbers in points."""
        out = io.StringIO()
        writer = csv.writer(out, lineterminator="\n")
        writer.writerow(
            [
                *("factor", "level", "against", "sort", "difference", "low", "high", "p", "corrected"),
                *("could_see", "equal", "verdict", "trainings", "rows", "sources"),
            ]
        )
        for one in self.effects:
            c, gap, scale = one.compared, one.compared.difference, one.compared.metric.scale
            numbers = [
                scale * gap.value,
                scale * gap.low,
                scale * gap.high,
                c.p,
                c.corrected,
                scale * c.detectable,
            ]
            told = [_number(value) for value in (*numbers, math.nan if c.equal is None else c.equal)]
            named = [one.factor, one.level, one.against, one.sort]
            writer.writerow([*named, *told, c.verdict, len(self.seeds), gap.n, self.sources])
        return out.getvalue()

    def __str__(self) -> str:
        """Return the sentence, the table and the notes."""
        told = [line for block in self.blocks for line in ("", str(block))]
        return "\n".join(
            [self.sentence, "", in_columns(self.table()), *told, "", self.footing, self.shared, *self.notes]
        )

    __repr__ = __str__


def _number(value: float) -> str:
    return "" if math.isnan(value) else f"{value:.6g}"
