"""Exact match as the Super-NaturalInstructions evaluation computes it, in any script.

Unlike SQuAD's, its normalisation keeps articles: lower case, punctuation removed, white space squeezed. What
it does for ASCII is done here for Unicode: case folding, width and composition, the punctuation of all
scripts. An answer of nothing but punctuation stays as it is, so that "+" is neither "-" nor an empty answer.
"""

from __future__ import annotations

from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.core.text import unpunctuated
from espalier.scorers.by_row import ByRow

EXACT_MATCH = Metric(
    "Exact match",
    phrase="exact match",
    unit="%",
    note="The share of answers that equal a reference but for case and punctuation.",
)


def exact_match(example: Example, completion: Completion) -> Score:
    """Return 1 where the answer equals a normalised reference, else 0; not scored where there is none."""
    if not example.references:
        return Score(None, "there is no reference")
    answer = unpunctuated(completion.text)
    return Score(float(any(answer == unpunctuated(reference) for reference in example.references)))


def build_exact_match() -> Scorer:
    """1 where the normalised answer equals a normalised reference (articles count), else 0."""
    return ByRow(exact_match, EXACT_MATCH)
