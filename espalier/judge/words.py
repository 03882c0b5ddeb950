"""What is to be said of a judge's score in plain sentences: who wins by how much, and whether to believe it.

The order of answers tells most. A judge that looks at places only cannot name the same winner in both orders
more often than every other time, whichever place it prefers; one of which that cannot be ruled out says
nothing, and no winner is called. Nor is one where what it wins by may be length alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Iterator

    from espalier.core.records import Estimate
    from espalier.judge.grades import GradeScore
    from espalier.judge.pairs import PairScore

Trust: TypeAlias = Literal["none", "little", "some"]

SURE = 0.05
ALIKE = 0.8  # of verdicts that are the same without the request: more, and it hardly looks at it
NOTHING = "No winner can be called"


@dataclass(frozen=True, slots=True)
class Told:
    """What may be said. `trust`: "none" where it says nothing, "little" where it is biased, else "some"."""

    winner: str
    judge: str
    trust: Trust

    def __str__(self) -> str:
        """Return both sentences."""
        return f"{self.winner}\n{self.judge}"


def told_of_pairs(score: PairScore, names: tuple[str, str]) -> Told:
    """Return what is to be said of a score of pairs; `names` are those of the systems."""
    if nothing := _nothing(score):
        none = f"{NOTHING} between {names[0]} and {names[1]}."
        return Told(none, f"This judge says nothing: {nothing}.", "none")
    faults, passed = [*_faults(score)], [*_passed(score)]
    won = _winner(score, names, by_length=_by_length(score))
    if faults:
        good = f" What speaks for it: {'; '.join(passed)}." if passed else ""
        return Told(won, f"This judge is to be believed with care: {'; '.join(faults)}.{good}", "little")
    return Told(won, f"Nothing was found against this judge: {'; '.join(passed)}.", "some")


def told_of_grades(score: GradeScore, name: str) -> Told:
    """Return what is to be said of grades of single answers."""
    rate, n = score.rate, score.rate.n + score.rate.missing
    if rate.n <= n / 2:
        why = f"its grade can be read in {rate.n} of {n} replies"
        return Told(f"{name} has no grade.", f"This judge says nothing: {why}.", "none")
    won = f"{name} is graded {rate} of 10 in the mean."
    if score.kinds == 1 and rate.n > 1:
        return Told(won, f"This judge says nothing: it gives all {rate.n} answers the same grade.", "none")
    faults: list[str] = []
    if rate.missing:
        faults.append(f"{rate.missing} of {n} replies hold no grade")
    if score.padded.excludes_zero and score.padded.value > 0:
        faults.append(f"sentences that say nothing raise its grade by {score.padded}")
    if score.blind.bounded and score.blind.low > ALIKE:
        faults.append(f"without the request {_share(score.blind)} of its grades are the same")
    trend = f"; a standard deviation of length is worth {score.slope} grades" if score.slope else ""
    if faults:
        return Told(won, f"This judge is to be believed with care: {'; '.join(faults)}{trend}.", "little")
    stay = f"{_share(score.blind)} stay without the request"
    passed = f"padding changes its grade by {score.padded}, and {stay}"
    tried = passed if score.blind.n else "no control was tried"
    return Told(won, f"Nothing was found against this judge: {tried}{trend}.", "some")


def _nothing(score: PairScore) -> str:
    """Say why a judge's verdicts are of nothing; '' where they may be of the answers."""
    *_, unread = score.counts
    total, held = sum(score.counts), score.held
    if unread >= total / 2:
        return f"{unread} of {total} pairs have no verdict that can be read in both orders"
    if not score.place.n:
        return "it calls every pair a tie"
    first = f"the answer that stands first is named in {_share(score.place)} of its verdicts"
    if not held.n:
        return f"it names no winner in both orders of any pair; {first}"
    if held.low <= 0.5:
        which = "first" if score.place.value > 0.5 else "second"
        whom = f"it prefers the {which} answer, and " if score.place_p < SURE else ""
        stay = f"of {held.n} winners {_share(held)} stay when the answers change places"
        return f"{whom}{stay}, where half of a coin's would; {first}"
    return ""


def _faults(score: PairScore) -> Iterator[str]:
    if score.place_p < SURE:
        which = "first" if score.place.value > 0.5 else "second"
        yield f"it leans to the {which} place ({_share(score.flips)} of its verdicts change with the order)"
    if _pads(score):
        yield f"sentences that say nothing win {_share(score.padded)} against the same answer without them"
    if _by_length_alone(score):
        which = "longer" if score.longer.value > 0.5 else "shorter"
        yield f"the {which} answer wins in {_share(score.longer)} of its verdicts"
    if score.blind.bounded and score.blind.low > ALIKE:
        yield f"without the request {_share(score.blind)} of its verdicts are the same: it hardly looks at it"
    if score.same.bounded and score.same.high < 0.5:
        yield f"it ties an answer with itself in {_share(score.same)} only"
    if score.counts[3]:
        yield f"{score.counts[3]} of {sum(score.counts)} pairs have no verdict that can be read"


def _passed(score: PairScore) -> Iterator[str]:
    yield f"{_share(score.held)} of {score.held.n} winners stay when the answers change places"
    if score.padded.n and not _pads(score):
        yield f"padding wins {_share(score.padded)} against none"
    if score.blind.n and not score.blind.low > ALIKE:
        yield f"{_share(score.blind)} of its verdicts stay without the request"
    if not (score.padded.n or score.blind.n):
        yield "no other control was tried"


def _winner(score: PairScore, names: tuple[str, str], *, by_length: str) -> str:
    rate, one, other = score.rate, *names
    gap = f"{one} wins {rate} % of {rate.n} pairs against {other}, ties as halves"
    if by_length:
        return f"{NOTHING} between {one} and {other}, since {by_length}: {gap}."
    if not rate.bounded or rate.low <= 0.5 <= rate.high:
        return f"No difference can be seen between {one} and {other}: {gap}."
    controlled = score.lengths.controlled
    level = f"; at equal length {controlled} %" if controlled else ""
    best = one if rate.value > 0.5 else other
    return f"{best} is judged better: {gap}{level}."


def _by_length(score: PairScore) -> str:
    """Say why what one system wins by may be its length alone; '' where it is not so."""
    controlled, rate = score.lengths.controlled, score.rate
    if controlled is None:
        why = f"{score.lengths.why} ({_share(score.longer)} of its winners are the longer answer)"
        return why if _by_length_alone(score) else ""
    wins, side = rate.bounded and not rate.low <= 0.5 <= rate.high, rate.value > 0.5
    level = controlled.low > 0.5 if side else controlled.high < 0.5
    if wins and not level and _pads(score):
        return f"padding alone wins with this judge, and at equal length the rate is {controlled} %"
    return ""


def _by_length_alone(score: PairScore) -> bool:
    """Say whether winners go by length, and neither a fit nor padding tells that this is not the reason."""
    cleared = score.padded.n and not _pads(score)
    return score.lengths.controlled is None and _leans(score.longer) and not cleared


def _pads(score: PairScore) -> bool:
    return score.padded.bounded and score.padded.low > 0.5


def _leans(share: Estimate) -> bool:
    return share.bounded and not share.low <= 0.5 <= share.high


def _share(share: Estimate) -> str:
    return f"{share} %" if share.known else "an unknown share"
