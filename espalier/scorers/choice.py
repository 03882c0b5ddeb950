"""Multiple choice: whether the option that a model finds likeliest, raw or for its length, is the right one.

Of an answer that was chosen (`decode.kind = "choices"`) the log-probabilities of all options are known, so
one run is judged in several ways: `choice` is lm-eval's acc, with `normalise = "characters"` its acc_norm. A
written answer is taken for the option that it names.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from espalier.core.errors import DataError
from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.tasks.options import Normalise, likeliest, option_named, options_of, right_option

if TYPE_CHECKING:
    from collections.abc import Sequence


@dataclass(frozen=True, slots=True)
class MultipleChoice:
    """1 where the likeliest option is right; its floor is what guessing reaches on the rows."""

    normalise: Normalise
    metric: Metric

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return the verdicts; a row without options, or that does not say which is right, has none."""
        return [self._judged(example, one) for example, one in zip(examples, completions, strict=True)]

    def fitted(self, examples: Sequence[Example]) -> Scorer:
        """Return the scorer with the floor of these rows."""
        chances = [1 / len(found) for example in examples if (found := _options(example))]
        if not chances:
            return self
        return replace(self, metric=replace(self.metric, floors={"guessing": sum(chances) / len(chances)}))

    def _judged(self, example: Example, completion: Completion) -> Score:
        try:
            options = options_of(example)
            right = right_option(example, options)
        except DataError as error:
            return Score(None, error.message)
        if right is None:
            return Score(None, "The row does not say which option is right.")
        if len(completion.options) == len(options):
            place = likeliest(options, completion.options, self.normalise)
        else:
            place = option_named(completion.text, options)
        chosen = options[place] if place is not None else ""
        why = f"It chose {chosen!r}." if place is not None else "The answer is none of the options."
        return Score(float(place == right), "" if place == right else why, chosen)


def build_choice(*, normalise: Normalise = "none") -> Scorer:
    """1 where the likeliest of a row's options (`normalise`: for its length) is the right one, else 0."""
    per = "" if normalise == "none" else f" per {normalise.removesuffix('s')}"
    metric = Metric(
        f"Right choices{f' ({per.strip()})' if per else ''}",
        phrase=f"the share of right choices{per}",
        unit="%",
        note=f"The share of rows whose likeliest option{per} is the right one.",
    )
    return MultipleChoice(normalise, metric)


def _options(example: Example) -> tuple[str, ...]:
    try:
        return options_of(example)
    except DataError:
        return ()
