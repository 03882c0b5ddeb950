"""What a run's score owes to how it is asked. `Sensitivity` prints as tables and sentences."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import TYPE_CHECKING

from espalier.core.text import counted
from espalier.evaluate.score_records import json_line
from espalier.evaluate.sheet import interval, ranged, shown, signed
from espalier.explain.record import as_text, plain_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from espalier.core.records import Estimate, Metric
    from espalier.evaluate.components import Component
    from espalier.generate.rewording import Writing


@dataclass(frozen=True, slots=True)
class Worded:
    """What a wording reaches, its distance from the mean of all, and that after shrinkage."""

    name: str
    kind: str
    reached: Estimate
    away: Estimate
    shrunken: Estimate


@dataclass(frozen=True, slots=True)
class Asked:
    """A model asked in all wordings.

    Attributes:
        system: "tuned", "base", or another run's name.
        mean: over wordings and rows, with its interval by source.
        deviation: the standard deviation of the wordings' values.
        wordings: each, the best first.
        noise: largest less smallest that chance makes of as many wordings: the mean, and the 95th of 100.
        chance: how often it makes as much as is there.
        matters: whether it is said that the wording makes a difference.
        tasks: of each task the value of each wording.
    """

    system: str
    mean: Estimate
    deviation: float
    wordings: tuple[Worded, ...]
    noise: tuple[float, float]
    chance: float
    matters: bool
    tasks: Mapping[str, tuple[float, ...]]

    @property
    def spread(self) -> float:
        """The best wording's value less the worst one's."""
        return abs(self.wordings[0].reached.value - self.wordings[-1].reached.value)


@dataclass(frozen=True, slots=True)
class Rank:
    """The run against another: the share of wordings in which it is ahead, and the mean difference."""

    other: str
    share: Estimate
    gap: Estimate


@dataclass(frozen=True, slots=True, kw_only=True, repr=False)
class Sensitivity:
    """Instruction sensitivity of a run.

    Attributes:
        name, measure, metric: of the run.
        rows, sources: that were asked.
        systems: the tuned model first.
        parts: of the variance of the tuned model's values, and of runs that differ from it by seed.
        seeds: how many trainings these are.
        ranks: against each other model.
        left: wordings that were not asked, and why.
        writing: what a model wrote, where one was asked.
    """

    name: str
    measure: str
    metric: Metric
    rows: int
    sources: int
    systems: tuple[Asked, ...]
    parts: tuple[Component, ...]
    seeds: int
    ranks: tuple[Rank, ...]
    left: Mapping[str, str]
    writing: Writing | None = None
    sentences: tuple[str, ...] = ()
    page: str = ""

    plain = plain_of
    to_json = json_line

    @property
    def notes(self) -> list[str]:
        """What was not asked, and what the variance cannot tell."""
        below = [f"{one.name}: the estimate is below 0, and told as 0." for one in self.parts if one.negative]
        few = ["One training: what another seed would do is in the rest."] if self.seeds == 1 else []
        told = [told_of_writing(self.writing)] if self.writing else []
        return [*below, *few, *told, *(f"{name}: {why}" for name, why in self.left.items())]

    @property
    def footing(self) -> str:
        """What the numbers are."""
        return "Intervals at 95 %, by source; shrunken values are those of the distance from the mean."

    def tables(self) -> Iterator[list[list[str]]]:
        """Yield a table for each model, one of the variance, and one of ranks."""
        by = {"": "asked as", "written": "in written words", "reworded": "in a model's words"}
        if self.writing:
            by["reworded"] = f"in words of {self.writing.name}"
        for asked, (kind, how) in product(self.systems, by.items()):
            head = [f"{asked.system}, {how}", "", self.metric.title, "less the mean", "shrunken"]
            own = [w for w in asked.wordings if (w.kind if w.kind in by else "") == kind]
            rows = [[w.name, w.kind, ranged(w.reached), signed(w.away), signed(w.shrunken)] for w in own]
            if rows:
                yield [head, *rows]
        yield [
            ["variance of the tuned model's values", "%"],
            *([p.name, f"{100 * p.share:.1f}"] for p in self.parts),
        ]
        if self.ranks:
            head = ["tuned against", "ahead in % of wordings", "mean difference"]
            yield [head, *([r.other, ranged(r.share), signed(r.gap)] for r in self.ranks)]

    __str__ = as_text
    __repr__ = as_text


def sentences(found: Sensitivity) -> tuple[str, ...]:
    """Return what the numbers bear: of each model whether the wording matters, and of ranks who is ahead."""
    return (*(_of_system(found, one) for one in found.systems), *(_of_rank(one) for one in found.ranks))


def told_of_writing(found: Writing) -> str:
    """Return who was asked for paraphrases, how many can be used, and why others cannot."""
    kept, asked = sum(map(len, found.kept.values())), len(found.texts)
    used = min(map(len, found.kept.values()))
    told = f"{found.writer} was asked for {counted(asked, 'paraphrase')}; {kept} can be used"
    if len(found.kept) > 1:
        told += f", {used} of each task"
    out = "; ".join(f"{why.rstrip('.')} ({count})" for why, count in found.left.items())
    return f"{told}. Left out: {out}." if out else f"{told}."


def _of_system(found: Sensitivity, asked: Asked) -> str:
    scale, count = found.metric.scale, len(asked.wordings)
    told = (
        f"Over {count} wordings {found.metric.within} of {asked.system} is {shown(asked.mean)} "
        f"({interval(asked.mean) or 'no interval'}); best and worst are {scale * asked.spread:.1f} points "
        f"apart; chance alone makes {scale * asked.noise[0]:.1f} (up to {scale * asked.noise[1]:.1f})"
    )
    if not asked.matters:
        return f"{told}: that the wording matters cannot be seen with {found.rows} rows."
    worst = asked.wordings[-1]
    return (
        f"{told}: the wording matters. The worst of the {count}, “{worst.name}”, is {signed(worst.away)} "
        f"from the mean, and after shrinkage {signed(worst.shrunken)}."
    )


def _of_rank(one: Rank) -> str:
    sure = one.share.low > 0.5 or one.share.high < 0.5
    ahead = (
        f"The tuned model is ahead of {one.other} in {ranged(one.share)} % of wordings, by {signed(one.gap)}"
    )
    return f"{ahead}{'' if sure else ': who is ahead in most wordings cannot be told'}."
