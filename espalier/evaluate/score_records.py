"""What the record of a run's scores is made of; what each key of its file means is told in `scores.py`."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from espalier.core.text import counted
from espalier.evaluate.measures import ALL

if TYPE_CHECKING:
    from collections.abc import Mapping

    from espalier.core.records import Estimate, Score
    from espalier.tasks.checks import Verdict


def plain(estimate: Estimate) -> dict[str, Any]:
    """Return an estimate as JSON can hold it: NaN, which means "not known", becomes None."""
    ends = {"value": estimate.value, "low": estimate.low, "high": estimate.high}
    known = {key: None if math.isnan(end) else end for key, end in ends.items()}
    return {**known, "n": estimate.n, "missing": estimate.missing}


class HasPlain(Protocol):
    """What has a form that JSON can hold."""

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        ...


def json_line(found: HasPlain) -> str:
    """Return it as one line of JSON."""
    return json.dumps(found.plain(), ensure_ascii=False)


@dataclass(frozen=True, slots=True)
class Difference:
    """a − b with its interval, and on how many rows a was better, worse, or the same.

    `detectable` is the true difference that rows as many and as varied would show in 80 of 100 repetitions.
    """

    estimate: Estimate
    better: int
    worse: int
    same: int
    detectable: float

    def plain(self) -> dict[str, Any]:
        """Return it as JSON can hold it."""
        power = {"detectable": None if self.detectable != self.detectable else self.detectable}
        counts = {"better": self.better, "worse": self.worse, "same": self.same}
        return {**plain(self.estimate), **counts, **power}


@dataclass(frozen=True, slots=True)
class Common:
    """The most frequent of some texts, and how often it is there."""

    text: str = ""
    count: int = 0


@dataclass(frozen=True, slots=True)
class Distinct:
    """How many of `n` texts are different."""

    count: int
    n: int


@dataclass(frozen=True, slots=True)
class References:
    """What is known of the references of the scored rows; see `scores.py`."""

    n: int
    distinct: int
    common: Common
    words: float | None
    closed: bool
    known: int | None


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """What can be seen of a system's answers without a verdict; see `scores.py`."""

    set_checks: Mapping[str, Verdict]
    at_limit: Estimate
    distinct: Distinct
    common: Common = Common()
    words: Estimate
    longer: int = 0
    shorter: int = 0
    missing: int = 0
    empty: int = 0
    known: int | None = None
    copies: Mapping[str, int] = field(default_factory=dict[str, int])
    shown: int = 0


@dataclass(frozen=True, slots=True)
class Limit:
    """Tokens that an answer may have, rows of which no reference fits into it, and what would hold all."""

    tokens: int
    too_long: int
    needed: int


@dataclass(frozen=True, slots=True)
class Invariance:
    """What changes where it should not: on some of the tuned model's answers.

    Attributes:
        rows: answers tried.
        logprobs: the largest change of an answer's log-probability, in nats, by what was changed: "batch",
            "order", "threads", "cache".
        texts: how many answers came out as other texts: "batch", "order".
    """

    rows: int
    logprobs: Mapping[str, float]
    texts: Mapping[str, int]

    @property
    def told(self) -> str:
        """In a sentence."""
        most = max(self.logprobs, key=lambda way: self.logprobs[way])
        moved = f"at most {self.logprobs[most]:.2g} nats (with another {most})"
        if most == "cache":
            moved = f"at most {self.logprobs[most]:.2g} nats (with the cache)"
        changed = max(self.texts.values())
        return (
            f"With other batches, orders, threads and without the cache the log-probabilities of {self.rows} "
            f"answers move by {moved}, and {changed} of {self.rows} texts change."
        )


@dataclass(frozen=True, slots=True)
class Exposure:
    """How often the scored rows were looked at; see `espalier/data/looks.py`.

    Attributes:
        split: what they are to who asks: "test" or "dev".
        count: looks so far, at the sealed ones where some are.
        by_loss: those of them that chose among checkpoints, by the held-out loss.
        sealed: share of the rows that is sealed.
        owner: the run that sealed them first; '' where nobody has.
        asks: whether the recipe that asks says that they are sealed.
    """

    split: str
    count: int
    by_loss: int = 0
    sealed: float = 0.0
    owner: str = ""
    asks: bool = True

    @property
    def looks(self) -> int:
        """For how many looks together what is stated has to hold: on development rows choices are made."""
        return max(1, self.count) if self.split == "dev" else 1

    @property
    def told(self) -> str:
        """In a sentence; '' of test rows that nobody has sealed."""
        often = f"{counted(self.count, 'look')} at them so far"
        if self.split == "dev":
            loss = f", {self.by_loss} of them to keep the best weights" if self.by_loss else ""
            level = f"each interval holds by itself at {100 - 5 / self.looks:.4g} %"
            return f"These are development rows, {often}{loss}: {level}, so that all hold together at 95 %."
        if not self.owner:
            return ""
        which = "The test rows" if self.sealed == 1 else f"{100 * self.sealed:.0f} % of these rows"
        if self.asks:
            return f"{which} are sealed, {often}: their scores flatter what is chosen by them."
        told = "and this recipe does not say so: they stay sealed"
        return f"{which} were sealed by {self.owner}, {told}, {often}."


@dataclass(frozen=True, slots=True)
class System:
    """What one system reached; `answers` is None of one that writes none."""

    scores: Mapping[str, Estimate]
    checks: Mapping[str, Estimate]
    all_checks: Estimate | None
    answers: Answers | None = None

    @property
    def estimates(self) -> dict[str, Estimate]:
        """Every measure's estimate: all checks, each check, each scorer."""
        whole = {ALL: self.all_checks} if self.all_checks else {}
        return {**whole, **self.checks, **self.scores}


@dataclass(frozen=True, slots=True)
class Differences:
    """The paired differences of system `a` with `b`, by measure."""

    a: str
    b: str
    values: Mapping[str, Difference]


@dataclass(frozen=True, slots=True)
class Row:
    """The verdicts on one example, by system and measure."""

    id: str
    source: str
    systems: Mapping[str, Mapping[str, Score]]
