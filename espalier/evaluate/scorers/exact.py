"""Exact match as the Super-NaturalInstructions evaluation computes it.

Unlike SQuAD's, its normalisation keeps articles: lower case, punctuation removed, white space squeezed.
"""

from __future__ import annotations

import string

from espalier.core.records import Completion, Example, Score, Scorer

_NO_PUNCTUATION = str.maketrans("", "", string.punctuation)


def normalised(text: str) -> str:
    """Return lower-case text without ASCII punctuation, its words joined by single spaces."""
    return " ".join(text.lower().translate(_NO_PUNCTUATION).split())


class ExactMatch:
    """1 where the answer equals one of the references after normalisation, else 0."""

    def score(self, example: Example, completion: Completion) -> Score:
        """Return 1 or 0; not scored where there is no reference."""
        if not example.references:
            return Score(None, "there is no reference")
        answer = normalised(completion.text)
        return Score(float(any(answer == normalised(reference) for reference in example.references)))


def build_exact_match() -> Scorer:
    """1 where the normalised answer equals a normalised reference (articles count), else 0."""
    return ExactMatch()
