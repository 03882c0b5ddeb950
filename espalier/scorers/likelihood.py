"""How likely a model holds the right answer, whatever it writes: continuous, so that few rows show much.

Weighed are the tokens of each row's first reference and of what ends it, behind the row's prompt, along the
tree that prompts share. Two models compare where their tokens are the same.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.records import Metric, Score, Scorer

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Completion, Example

METRIC = Metric(
    "Log-probability of the reference",
    phrase="the log-probability of the reference",
    note="Per token, in hundredths of a nat; of models with other tokens it says nothing.",
    ceiling=0.0,
)


@dataclass(frozen=True, slots=True)
class ReferenceLogprob:
    """The mean log-probability of a reference's tokens, in nats."""

    metric: Metric = METRIC
    weighs: bool = True

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return the verdicts; what no model of this machine answered has none."""
        return [_judged(one) for one in completions]


def _judged(completion: Completion) -> Score:
    if completion.reference is None:
        return Score(None, "No model of this machine was asked how likely the reference is.")
    total, tokens = completion.reference
    return Score(total / tokens)


def build_reference_logprob() -> Scorer:
    """How likely the model holds the reference, in nats a token: for this machine's models alone."""
    return ReferenceLogprob()
