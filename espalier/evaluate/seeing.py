"""Whether a model looks: its score on pictures and sounds beside what it reaches unseen, whole and by kind.

Blind is what needs no medium: the same model without it, and the best constant answer to each question; the
model without it alone would not do, since prompts that lack a picture are none that it was trained on, and
what nonsense it says to them tells nothing of whether it looks. With another row's picture a model that looks
is mostly wrong, and one that does not answers as before.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.text import counted
from espalier.evaluate.kinds import FEWEST, WITHOUT
from espalier.evaluate.measures import AS_IS
from espalier.evaluate.sheet import between, figure
from espalier.evaluate.symptoms import Finding
from espalier.evaluate.unseen import BLIND, QUESTION, SHUFFLED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from espalier.core.records import Estimate, Metric
    from espalier.evaluate.scores import Scores

MUCH = 0.05  # a difference that few rows do not tell from none, and that is no proof of blindness either
UNSEEN = {
    BLIND: "without them",
    SHUFFLED: "with another row's",
    QUESTION: "by the best constant answer to each question",
}


@dataclass(frozen=True, slots=True)
class Sight:
    """What a model reaches on rows with media, and what is reached unseen, by system.

    Attributes:
        name: the kind of question; '' of all rows.
        rows, sources: of how many.
        metric: by which measure.
        reached: by the model, by what it was before tuning where that is known, and by the floors.
        floor: the one that it is the least above.
        gap: the difference with that one.
    """

    name: str
    rows: int
    sources: int
    metric: Metric
    reached: dict[str, Estimate]
    floor: str
    gap: Estimate

    @property
    def looks(self) -> bool | None:
        """Whether it is above all that is reached unseen, beyond the interval; None of too few rows."""
        above = self.metric.sign * self.gap.value
        if self.gap.excludes_zero:
            return above > 0
        return None if above > MUCH or self.sources < FEWEST else False

    @property
    def told(self) -> str:
        """What it reaches, and what is reached unseen, in words."""
        ours, unseen = (figure(self.metric, self.reached[name]) for name in (self.system, self.floor))
        of = f"{counted(self.rows, 'row')} of {counted(self.sources, 'source')}"
        return (
            f"{self.metric.within} is {ours} with the media and {unseen} {UNSEEN[self.floor]} "
            f"({between(self.gap)}; {of})"
        )

    @property
    def verdict(self) -> str:
        """Whether it looks, within a sentence."""
        if self.looks is None:
            return "cannot be told to look"
        return "looks" if self.looks else "does not look"

    @property
    def system(self) -> str:
        """The model that is judged."""
        return next(iter(self.reached))


def sight(scores: Scores, measure: str, name: str = "") -> Sight | None:
    """Return how a model stands to what is reached unseen; None where that was not tried."""
    ours = AS_IS if AS_IS in scores.systems else "tuned"
    gaps = {how: gap.estimate for how in UNSEEN if (gap := scores.difference(how, measure))}
    if BLIND not in gaps and SHUFFLED not in gaps:
        return None
    metric = scores.metric(measure)
    known = {how: gap for how, gap in gaps.items() if gap.known} or gaps
    floor = min(known, key=lambda how: _margin(known[how], metric.sign))
    systems = [one for one in (ours, "base", *UNSEEN) if one in scores.systems]
    reached = {one: scores.estimate(one, measure) for one in systems}
    return Sight(name, scores.rows, scores.sources, metric, reached, floor, known[floor])


def _margin(gap: Estimate, sign: int) -> float:
    """Return how far an interval stays above a floor; where there is none, the value."""
    if not gap.bounded:
        return sign * gap.value
    return min(sign * gap.low, sign * gap.high)


def by_kind(scores: Scores, measure: str) -> list[Sight]:
    """Return the same of each kind of question with media, what has most rows first."""
    found = (sight(part, measure, kind) for kind, part in scores.kinds.items() if kind != WITHOUT)
    return sorted(filter(None, found), key=lambda one: -one.rows)


def looking(scores: Scores, measure: str) -> Iterator[Finding]:
    """Say that a model does not look, at all or, by what leads, where a kind of question is asked."""
    whole = sight(scores, measure)
    if whole and not whole.looks:
        yield Finding("does not look", "bad", f"The model {whole.verdict}: {whole.told}.")
    elif whole and measure == scores.leading:
        for one in by_kind(scores, measure):
            if not one.looks and one.reached[one.floor].value != one.metric.ceiling:
                text = f"Asked “{one.name}”, the model {one.verdict}: {one.told}."
                yield Finding("does not look", "caution", text)
