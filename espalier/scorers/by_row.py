"""The adapter for what judges answers one by one, as most scorers do."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.records import Completion, Example, Metric, Score

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence


@dataclass(frozen=True, slots=True)
class ByRow:
    """A scorer of all answers made of what judges one, and of what that measures."""

    judge: Callable[[Example, Completion], Score]
    metric: Metric

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return the verdict on each."""
        return [self.judge(example, one) for example, one in zip(examples, completions, strict=True)]
