"""What given answers reach by a measure, beside its floors on the same rows, and what that lets one say.

The constant is the best one for that very measure, chosen on the scored rows themselves: a floor that has
seen the answers. Between it and the best possible value lies the scale on which a score means something.
"""

from __future__ import annotations

import math
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from espalier.core.records import Completion, Estimate, Score
from espalier.core.text import counted
from espalier.evaluate.baselines import best_for, floors, labels_to_draw, point
from espalier.evaluate.compare import compare_scores, estimate
from espalier.evaluate.measures import FLOORS, metric_of, scores_by
from espalier.evaluate.sheet import between, figure, tally
from espalier.scorers.labels import options_of
from espalier.scorers.registry import SLOW

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from espalier.core.records import Example, Metric, Scorer
    from espalier.evaluate.score_records import Difference

LINE = 60  # characters of a text that a sentence quotes
FEW = 3  # labels of which each one is a floor of its own
_DRAWS, _DRAWN = 20, 40_000  # of random labels, for what is no mean of rows; and rows in all


@dataclass(frozen=True, slots=True)
class Floor:
    """What a floor reaches, the difference of the predictions with it, and its text where it has one.

    `read` is what the scorer takes out of that text: a number, or a label.
    """

    reached: Estimate
    gap: Difference | None = None
    text: str | None = None
    read: str = ""

    @property
    def called(self) -> str:
        """Its text as a line shows it: what is read of it, or its beginning."""
        line = " ".join((self.read or self.text or "").split())
        return line if len(line) <= LINE else f"{line[:LINE]}…"


@dataclass(frozen=True, slots=True)
class Reached:
    """What predictions reach by a measure, with the score of each row, beside the floors by name."""

    metric: Metric
    reached: Estimate
    scores: Sequence[Score]
    floors: Mapping[str, Floor] = field(default_factory=dict[str, Floor])

    @property
    def rescaled(self) -> Estimate | None:
        """How far of the way from the constant to the best possible value it is; None without a constant."""
        floor = self.floors.get("constant")
        span = self.metric.ceiling - floor.reached.value if floor else 0.0
        if not span or span != span or not floor:
            return None
        ends = [(end - floor.reached.value) / span for end in (self.reached.low, self.reached.high)]
        value = (self.reached.value - floor.reached.value) / span
        return replace(self.reached, value=value, low=min(ends), high=max(ends), scale=100.0)

    def beats(self, name: str) -> bool | None:
        """Tell whether the difference with a floor lies beyond its interval; None where there is none."""
        gap = self.floors[name].gap if name in self.floors else None
        if gap is None or not gap.estimate.known:
            return None
        return gap.estimate.excludes_zero and self.metric.sign * gap.estimate.value > 0

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        made = {
            name: shown(floor.reached) | ({} if floor.text is None else {"text": floor.text})
            for name, floor in self.floors.items()
        }
        way = self.rescaled
        return {
            "title": self.metric.title,
            **shown(self.reached),
            "n": self.reached.n,
            "not_scored": self.reached.missing,
            "baselines": made,
            "rescaled": shown(way) if way else None,
            "beats_constant": self.beats("constant"),
        }


@dataclass(frozen=True, slots=True)
class Beside:
    """The floors of some rows that do not depend on the measure: by name, an answer to each row."""

    examples: Sequence[Example]
    texts: Mapping[str, Sequence[str]]
    labels: tuple[str, ...]

    def reached(self, kind: str, scorer: Scorer, said: Sequence[str]) -> Reached:
        """Return what texts reach by a scorer that is fitted to the rows, beside all floors."""
        metric = metric_of(kind, scorer)
        scores = self._scores(scorer, said)
        found = Reached(metric, self._estimate(metric, scores), scores)
        if not found.reached.known:
            return found
        cheap = kind not in SLOW and ":" not in kind  # somebody's own may ask a model
        best = best_for(scorer, metric, self.examples) if cheap else ""
        texts = {**self.texts, **({"constant": [best] * len(self.examples)} if best else {})}
        different = {tuple(row): row for row in texts.values()}
        known = {key: self._floor(scorer, metric, scores, row) for key, row in different.items()}
        made = {name: known[tuple(row)] for name, row in texts.items()}
        if self.labels and cheap:
            made["random"] = Floor(self._random(scorer, metric))
        return replace(found, floors=made)

    def _floor(self, scorer: Scorer, metric: Metric, scores: Sequence[Score], texts: Sequence[str]) -> Floor:
        own = self._scores(scorer, texts)
        ids = [example.id for example in self.examples]
        sources = {example.id: example.source for example in self.examples}
        a, b = (dict(zip(ids, side, strict=True)) for side in (scores, own))
        same = texts[0] if len({*texts}) == 1 else None
        read = own[0].answer if same is not None else ""
        return Floor(self._estimate(metric, own), compare_scores(a, b, sources, metric), same, read)

    def _random(self, scorer: Scorer, metric: Metric) -> Estimate:
        """Return what random labels reach in expectation: exactly of a mean of rows, else over draws."""
        most = max(len(options_of(example) or self.labels) for example in self.examples)
        if metric.fold is None:
            tried = [self._scores(scorer, self._labelled(number)) for number in range(most)]
            sizes = [len(options_of(example) or self.labels) for example in self.examples]
            rows = [row[:size] for row, size in zip(zip(*tried, strict=True), sizes, strict=True)]
            values = [[one.value for one in row if one.value is not None] for row in rows]
            return self._estimate(metric, [Score(sum(row) / len(row) if row else None) for row in values])
        draws = min(_DRAWS, 1 + _DRAWN // len(self.examples))
        drawn = (self._scores(scorer, self._drawn(number)) for number in range(draws))
        value = sum(point(metric, scores) for scores in drawn) / draws
        return Estimate(value, math.nan, math.nan, len(self.examples), scale=metric.scale)

    def _labelled(self, number: int) -> list[str]:
        choices = [options_of(example) or self.labels for example in self.examples]
        return [labels[number % len(labels)] for labels in choices]

    def _drawn(self, seed: int) -> list[str]:
        import numpy as np

        rng = np.random.default_rng(seed)
        choices = [options_of(example) or self.labels for example in self.examples]
        return [
            labels[int(place * len(labels))]
            for labels, place in zip(choices, rng.random(len(choices)), strict=True)
        ]

    def _scores(self, scorer: Scorer, texts: Sequence[str]) -> list[Score]:
        answers = [Completion(e.id, text) for e, text in zip(self.examples, texts, strict=True)]
        return scores_by(scorer, self.examples, answers)

    def _estimate(self, metric: Metric, scores: Sequence[Score]) -> Estimate:
        return reached_by(metric, scores, [example.source for example in self.examples])


def reached_by(metric: Metric, scores: Sequence[Score], sources: Sequence[str]) -> Estimate:
    """Return what scores come to; of a fold, rows that count for nothing in it are not counted."""
    found = estimate(metric, scores, sources)
    return replace(found, n=sum(any(score.parts) for score in scores)) if metric.fold else found


def beside(examples: Sequence[Example], worked: str = "") -> Beside:
    """Return the floors of rows; `worked` is the first example's answer, where the task has one.

    Of few labels each is a floor. A copy is none where there are no inputs.
    """
    named = {example.task: worked for example in examples} if worked else None
    found = floors(examples, worked=named)
    texts = {name: [answer.text for answer in row] for name, row in found.items() if name != "random"}
    if not any(example.input.strip() for example in examples):
        texts.pop("copy")
    labels = labels_to_draw(examples)
    if len(labels) <= FEW and not any(map(options_of, examples)):
        texts |= {f"all-{label}": [label] * len(examples) for label in labels}
    return Beside(examples, texts, labels)


def findings(measures: Mapping[str, Reached]) -> Iterator[str]:
    """Yield what is to be said of predictions: which floors they do not beat, and what could not be judged.

    Every measure is held against the constant, what leads against all floors.
    """
    for number, one in enumerate(measures.values()):
        metric = one.metric
        for name, floor in one.floors.items():
            if floor.gap is None or one.beats(name) is not False or (number and name != "constant"):
                continue
            if name.startswith("all-") and floor.text == one.floors["constant"].text:
                continue  # it is the constant
            gap = floor.gap.estimate
            verb = "do worse than" if gap.excludes_zero else "cannot be told from"
            text = f", “{floor.called}”" if floor.text and name in ("constant", "majority", "example") else ""
            who = FLOORS.get(name, f"“{floor.called}” to everything")
            reached = f"{figure(metric, one.reached)} against {figure(metric, floor.reached)}"
            yield f"The predictions {verb} {who}{text}: {metric.within} is {reached} ({between(gap)})."
        if counts := tally(metric, one.scores):
            yield f"The {metric.within}: {counts}."
        if one.reached.missing:
            why = Counter(score.why for score in one.scores if not score.scored).most_common(1)[0][0]
            rows = f"{one.reached.missing} of {counted(len(one.scores), 'row')}"
            yield f"{rows} could not be judged by {metric.within}{f': {why}' if why else ''}."


def shown(estimate: Estimate) -> dict[str, float | None]:
    """Return the ends of an estimate as they are shown, to 4 places; None where they are not known."""
    ends = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    return {key: None if end != end else round(estimate.scale * end, 4) for key, end in ends.items()}
