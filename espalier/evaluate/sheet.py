"""Numbers as a person reads them: times what their measure is shown in, with a dash for what is not known."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from espalier.core.records import Estimate, Metric, Score
    from espalier.evaluate.score_records import Difference


def percent(share: float, digits: int = 1) -> str:
    """Return 0.815 as '81.5'."""
    return "–" if share != share else f"{100 * share:.{digits}f}"


def shown(estimate: Estimate) -> str:
    """Return an estimate's value as '81.5'."""
    return f"{estimate.scale * estimate.value:.1f}" if estimate.known else "–"


def points(estimate: Estimate, value: float | None = None) -> str:
    """Return a difference as '+69.5', with a true minus sign; `value` is an end of it instead."""
    value = estimate.value if value is None else value
    return "–" if value != value else f"{estimate.scale * value:+.1f}".replace("-", "−")


def interval(estimate: Estimate, *, signed: bool = False) -> str:
    """Return the ends of an estimate's interval as '59.1 to 77.8'; '' where they are not known."""
    if not estimate.bounded:
        return ""
    low, high = estimate.low, estimate.high
    if signed:
        return f"{points(estimate, low)} to {points(estimate, high)}"
    return f"{estimate.scale * low:.1f} to {estimate.scale * high:.1f}"


def between(gap: Estimate) -> str:
    """Return a difference with its interval: '+4.2 points, −1.0 to +9.4'."""
    return f"{points(gap)} points, {interval(gap, signed=True) or 'no interval'}"


def detectable(gap: Difference) -> str:
    """Return the true difference that would mostly be seen, as '10 points'; '' where it is not known."""
    return f"{gap.estimate.scale * gap.detectable:.0f} points" if gap.detectable > 0 else ""


def figure(metric: Metric, estimate: Estimate) -> str:
    """Return a measure's value with its unit: ROUGE-L is 62.3, a share of answers 96.3 %."""
    return f"{shown(estimate)} {metric.unit}".rstrip()


def ranged(estimate: Estimate) -> str:
    """Return a value with its interval: '81.5 (59.1 to 77.8)'."""
    return f"{shown(estimate)} ({interval(estimate) or '–'})"


def signed(gap: Estimate) -> str:
    """Return a difference with its interval: '+4.2 (−1.0 to +9.4)'."""
    return f"{points(gap)} ({interval(gap, signed=True) or '–'})"


def tally(metric: Metric, scores: Iterable[Score]) -> str:
    """Return the sums of what a measure counts, as '12 substituted, 3 deleted of 340 words', or ''."""
    parts = [score.parts for score in scores if score.parts]
    if not metric.counts or not parts:
        return ""
    *counts, whole = (f"{sum(column):,.0f}" for column in zip(*parts, strict=True))
    *names, of = metric.counts
    told = ", ".join(f"{count} {name}" for count, name in zip(counts, names, strict=True))
    return f"{told} of {whole} {of}"


def in_columns(rows: Sequence[Sequence[str]]) -> str:
    """Return a table as lines, its columns set apart by spaces."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return "\n".join("  ".join(map(str.ljust, row, widths)).rstrip() for row in rows)
