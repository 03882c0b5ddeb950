"""Answers that equal a reference, or share its words, but for case, punctuation and, for two, articles.

Exact match is that of the Super-NaturalInstructions evaluation, in any script: lower case, punctuation
removed, white space squeezed. What it does for ASCII is done here for Unicode: case folding, width and
composition, the punctuation of all scripts. An answer of nothing but punctuation stays as it is, so that "+"
is neither "-" nor an empty answer. Quasi-exact match is that of HELM (Liang et al. 2022, arXiv
2211.09110) and token F1 that of SQuAD (Rajpurkar et al. 2016, arXiv 1606.05250): both drop articles as well.
"""

from __future__ import annotations

import re
from collections import Counter

from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.core.text import kinds, unpunctuated, words
from espalier.scorers.by_row import ByRow

EXACT_MATCH = Metric(
    "Exact match",
    phrase="exact match",
    unit="%",
    note="The share of answers that equal a reference but for case and punctuation.",
)
QUASI_EXACT = Metric(
    "Quasi-exact match",
    phrase="quasi-exact match",
    unit="%",
    note="The share of answers that equal a reference but for case, punctuation and articles (HELM).",
)
TOKEN_F1 = Metric(
    "Token F1",
    phrase="token F1",
    note="Words that an answer and the nearest reference share, in any order, without articles (SQuAD).",
)
_ARTICLES = re.compile(r"\b(?:a|an|the)\b")


def exact_match(example: Example, completion: Completion) -> Score:
    """Return 1 where the answer equals a normalised reference, else 0; not scored where there is none."""
    if not example.references:
        return Score(None, "there is no reference")
    answer = unpunctuated(completion.text)
    return Score(float(any(answer == unpunctuated(reference) for reference in example.references)))


def build_exact_match() -> Scorer:
    """1 where the normalised answer equals a normalised reference (articles count), else 0."""
    return ByRow(exact_match, EXACT_MATCH)


def without_articles(text: str) -> str:
    """Return a text as SQuAD and HELM compare it; one of nothing but punctuation or articles stays."""
    plain = unpunctuated(text)
    return " ".join(_ARTICLES.sub(" ", plain).split()) or plain


def quasi_exact(example: Example, completion: Completion) -> Score:
    """Return 1 where the answer equals a reference but for articles too, else 0."""
    if not example.references:
        return Score(None, "there is no reference")
    answer = without_articles(completion.text)
    return Score(float(any(answer == without_articles(reference) for reference in example.references)))


def token_f1(text: str, reference: str) -> float:
    """Return the F-measure (0 to 1) of the words that two texts share; two texts without any are equal.

    In a script without spaces each letter is a word.
    """
    ours, theirs = _tokens(text), _tokens(reference)
    if not ours or not theirs:
        return float(ours == theirs)
    shared = (Counter(ours) & Counter(theirs)).total()
    return 2 * shared / (len(ours) + len(theirs))


def _tokens(text: str) -> list[str]:
    pieces = without_articles(text).split()
    return [word for piece in pieces for word in (words(piece) if "c" in kinds(piece) else (piece,))]


def _nearest(example: Example, completion: Completion) -> Score:
    if not example.references:
        return Score(None, "there is no reference")
    return Score(max(token_f1(completion.text, reference) for reference in example.references))


def build_quasi_exact() -> Scorer:
    """1 where the answer equals a reference but for case, punctuation and articles (HELM), else 0."""
    return ByRow(quasi_exact, QUASI_EXACT)


def build_token_f1() -> Scorer:
    """F1 of the words shared with the nearest reference, without articles (SQuAD)."""
    return ByRow(_nearest, TOKEN_F1)
