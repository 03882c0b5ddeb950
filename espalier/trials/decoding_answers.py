"""What can be seen of answers without judging them: how long, how repetitive, how alike, how often cut."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from espalier.core.text import unpunctuated, words
from espalier.evaluate.statistics import mean

if TYPE_CHECKING:
    from collections.abc import Hashable, Sequence

    from espalier.core.records import Completion, Estimate

REPEATED = 4  # tokens of a run whose repetition is counted
PAIR = 2  # words of a run whose variety is counted


@dataclass(frozen=True, slots=True)
class Seen:
    """What is seen of a setting's answers, over all of its samples.

    Attributes:
        tokens: of an answer.
        repetition: share of an answer's runs of four tokens that were there before in it (rep-4, Welleck et
            al. 2020, arXiv 1908.04319); answers of fewer tokens have none.
        cut: share of answers that the limit cut.
        distinct_2: different pairs of words over all of them (Li et al. 2016, arXiv 1510.03055); NaN of none.
        distinct: different answers but for case and punctuation, of the first sample.
    """

    tokens: Estimate
    repetition: Estimate
    cut: Estimate
    distinct_2: float
    distinct: int


def seen_in(samples: Sequence[Sequence[Completion]], sources: Sequence[str]) -> Seen:
    """Return what is seen in answers: of each sample one to each row, in the order of the rows' sources."""
    every = [(answer, source) for answers in samples for answer, source in zip(answers, sources, strict=True)]
    clusters = [source for _, source in every]
    pairs = [pair for answer, _ in every for pair in runs(words(answer.text), PAIR)]
    return Seen(
        tokens=replace(mean([float(len(answer.ids)) for answer, _ in every], clusters), scale=1.0),
        repetition=mean([repeated(answer.ids) for answer, _ in every], clusters),
        cut=mean([float(answer.finish == "length") for answer, _ in every], clusters),
        distinct_2=len(set(pairs)) / len(pairs) if pairs else float("nan"),
        distinct=len({unpunctuated(answer.text) for answer in samples[0]}),
    )


def repeated(ids: Sequence[int]) -> float | None:
    """Return the share of runs of `REPEATED` tokens that are not new; None where there is no such run."""
    found = runs(ids, REPEATED)
    return 1 - len(set(found)) / len(found) if found else None


def runs(items: Sequence[Hashable], size: int) -> list[tuple[Hashable, ...]]:
    """Return all runs of `size` items."""
    return [tuple(items[i : i + size]) for i in range(len(items) - size + 1)]
