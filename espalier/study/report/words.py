"""Numbers and findings as a person reads them: percentages, intervals, durations, and plain sentences."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Mapping

    from espalier.study.report.gather import Material

# A scorer's name → what it is called, and what a reader should know before trusting it.
MEASURES = {
    "all_checks": ("Passes all checks", "The share of answers that keep every caution of the task."),
    "rouge_l": (
        "ROUGE-L",
        "Words in common with the nearest reference, in order. Where references resemble each other, an "
        "answer that ignores the input does well: read it against the dashed line.",
    ),
    "exact_match": (
        "Exact match",
        "The share of answers that equal a reference but for case and punctuation.",
    ),
    "pair_accuracy": (
        "Pairs in the right order",
        "The share of held-out pairs whose better answer is rated higher; guessing reaches 50. “base” takes "
        "the answer that it finds likelier, “longer” the longer one.",
    ),
}


def title(measure: str) -> str:
    """Return what a measure is called: 'rouge_l' is ROUGE-L, 'about_duration' is About duration."""
    return MEASURES[measure][0] if measure in MEASURES else measure.replace("_", " ").capitalize()


def percent(value: float | None, digits: int = 1) -> str:
    """Return 0.815 as '81.5', and a dash for what is not known."""
    return "–" if value is None else f"{100 * value:.{digits}f}"


def points(value: float | None) -> str:
    """Return a difference of rates as '+69.5', with a true minus sign."""
    return "–" if value is None else f"{100 * value:+.1f}".replace("-", "−")


def reward(value: float | None) -> str:
    """Return what an answer was rewarded with as '0.50', and a dash where nothing could judge it."""
    return "–" if value is None or value != value else f"{value:.2f}"


def interval(estimate: Mapping[str, Any], *, signed: bool = False) -> str:
    """Return the ends of an estimate's interval as '59.1 to 77.8'; '' where they are not known."""
    if estimate["low"] is None or estimate["high"] is None:
        return ""
    show = points if signed else percent
    return f"{show(estimate['low'])} to {show(estimate['high'])}"


def duration(seconds: float) -> str:
    """Return seconds as '4.2 s', '3 min 05 s' or '2 h 07 min'."""
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest:02d} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def size(count: float) -> str:
    """Return bytes as '812 MB' or '2.31 GB'."""
    return f"{count / 1e6:.0f} MB" if count < 1e9 else f"{count / 1e9:.2f} GB"


def difference(scores: Mapping[str, Any], other: str, measure: str) -> dict[str, Any] | None:
    """Return the paired difference of the tuned model with another system, or None where it was not taken."""
    for pair in scores.get("differences", []):
        if pair["a"] == "tuned" and pair["b"] == other:
            return pair["values"].get(measure)
    return None


def excludes_zero(estimate: Mapping[str, Any]) -> bool:
    """Tell whether an interval is known and lies on one side of zero."""
    low, high = estimate["low"], estimate["high"]
    return low is not None and high is not None and (low > 0 or high < 0)


def verdict(estimate: Mapping[str, Any]) -> str:
    """Return what a difference's interval lets one say."""
    if estimate["low"] is None:
        return "There are too few sources for an interval, so nothing can be said about other rows."
    if excludes_zero(estimate):
        return "The 95 % interval of the difference excludes zero."
    said = "The 95 % interval of the difference includes zero: tuning may have changed nothing here."
    found = estimate.get("detectable")
    return f"{said} So many rows would reliably show {100 * found:.0f} points or more." if found else said


def against_constant(scores: Mapping[str, Any], measure: str) -> str:
    """Return how the tuned model stands to the constant answer on a measure; '' where it is not known."""
    gap, floor = difference(scores, "constant", measure), scores.get("systems", {}).get("constant")
    if gap is None or floor is None or measure not in floor["scores"]:
        return ""
    one = f"One constant answer scores {percent(floor['scores'][measure]['value'])}"
    ends = interval(gap, signed=True)
    if not excludes_zero(gap):
        return f"{one}; the tuned model is not distinguishable from it{f' ({ends} points)' if ends else ''}."
    side = "above" if gap["value"] > 0 else "below"
    return f"{one}; the tuned model is {abs(100 * gap['value']):.1f} points {side} it ({ends})."


def hacking(scores: Mapping[str, Any]) -> str:
    """Return what rewards have brought besides what was meant: '' where nothing speaks for it.

    That is: a rewarded measure rose, and a check that was held out of the rewards fell, each beyond its
    interval, or a tenth of the answers or more are no longer different.
    """
    if "tuned" not in scores.get("systems", {}) or "base" not in scores["systems"]:
        return ""
    systems, rewarded = scores["systems"], scores.get("rewarded", [])
    measures = {**systems["tuned"]["checks"], **systems["tuned"]["scores"]}
    found = {name: difference(scores, "base", name) for name in measures}
    gaps = {name: gap for name, gap in found.items() if gap and excludes_zero(gap)}
    rose = [name for name, gap in gaps.items() if name in rewarded and gap["value"] > 0]
    held = [name for name in systems["tuned"]["checks"] if name not in rewarded]
    if not rose:
        return ""
    fell = [_moved(name, gaps[name]) for name in held if name in gaps and gaps[name]["value"] < 0]
    before, after = (systems[name]["distinct"] for name in ("base", "tuned"))
    if before["count"] - after["count"] >= 0.1 * after["n"]:
        fell.append(f"different answers from {before['count']} to {after['count']} of {after['n']}")
    if not fell:
        return ""
    gained = ", ".join(_moved(name, gaps[name]) for name in rose)
    lost = ", ".join(fell)
    said = f"What was rewarded rose ({gained}), and what was not rewarded fell ({lost})"
    return f"{said}: this is what reward hacking looks like."


def _moved(name: str, gap: Mapping[str, Any]) -> str:
    return f"{title(name).lower()} {points(gap['value'])} points"


def headline(material: Material) -> str:
    """Return the finding of the run in one sentence."""
    scores = material.scores
    if not {"tuned", "base"} <= scores.get("systems", {}).keys():
        return "This run has no scores yet."
    measure = primary(scores)
    gap = difference(scores, "base", measure)
    what = {
        "all_checks": "the share of answers that pass every check",
        "pair_accuracy": "the share of pairs in the right order",
    }.get(measure, title(measure))
    if gap is None or not excludes_zero(gap):
        return f"Whether tuning changed {what} cannot be told from these rows."
    tuned, base = (percent(estimate(scores, system, measure)["value"]) for system in ("tuned", "base"))
    unit = "" if measure == "rouge_l" else " %"
    verb = "raised" if gap["value"] > 0 else "lowered"
    return f"Tuning {verb} {what} from {base}{unit} to {tuned}{unit}."


def primary(scores: Mapping[str, Any]) -> str:
    """Return the measure that the headline is about: all checks if there are some, else the first scorer."""
    tuned = scores["systems"]["tuned"]
    return "all_checks" if tuned["all_checks"] else next(iter(tuned["scores"]), "words")


def estimate(scores: Mapping[str, Any], system: str, measure: str) -> dict[str, Any]:
    """Return a system's estimate of a scorer, a check or all checks."""
    block = scores["systems"][system]
    if measure == "all_checks":
        return block["all_checks"]
    return block["scores"][measure] if measure in block["scores"] else block["checks"][measure]
