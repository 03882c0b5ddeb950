"""What texts are about: clusters of their weighted words, by k-means on the sphere (Dhillon and Modha 2001).

Deterministic: the seed draws the first centres (k-means++, Arthur and Vassilvitskii 2007), and nothing else
is left to chance. Of many rows a sample finds the centres, and all rows then go to the nearest.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any

import numpy as np

from espalier.building.wording import FUNCTION_WORDS, VERBS
from espalier.filters.vectors import vectors, word_features

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    Floats = NDArray[np.float64]

MOST = 30  # topics, unless another number is asked for
SAMPLE = 20_000
ROUNDS = 30
PART = 65_536
NAMED_BY = 3  # words
NONE = "(no words)"
# Two letters that are grammar: with hiragana, or with a Chinese particle, number or counter.
_GRAMMAR = re.compile(r"[ぁ-ん]|^[一-龯]?[的了是在和与一个些我你他它这那们请于]")


def topics(texts: Sequence[str], count: int = 0, seed: int = 0) -> list[str]:
    """Return the topic of each text, named by its heaviest words.

    Args:
        texts: what is clustered by the words that at least two of them have.
        count: topics; 0 is the root of half the texts, at most `MOST`.
        seed: draws the first centres.
    """
    matrix, names = vectors(texts, _content, least=2 if len(texts) > 2 else 1)
    filled = np.flatnonzero(np.diff(matrix.indptr))
    if not len(filled):
        return [NONE] * len(texts)
    count = min(count or min(MOST, max(1, round((len(filled) / 2) ** 0.5))), len(filled))
    draw = np.random.default_rng(seed)
    sample = filled if len(filled) <= SAMPLE else np.sort(draw.choice(filled, SAMPLE, replace=False))
    centres = _centres(matrix[sample], count, draw)
    labels = _labels(centres, names)
    nearest = _nearest(matrix, centres)
    held = np.zeros(len(texts), np.bool_)
    held[filled] = True
    return [labels[int(one)] if has else NONE for one, has in zip(nearest, held, strict=True)]


def _content(text: str) -> list[str]:
    return [
        word
        for word in word_features(text)
        if len(word) > 1
        and word not in FUNCTION_WORDS
        and word not in VERBS
        and not word.isdigit()
        and not _GRAMMAR.search(word)
    ]


def _centres(matrix: Any, count: int, draw: np.random.Generator) -> Floats:
    """Return centres [K, F] of length 1."""
    picked = [int(draw.integers(int(matrix.shape[0])))]
    best = _dense(matrix @ matrix[picked].T).ravel()
    while len(picked) < count:
        away: Floats = np.clip(1 - best, 0, None) ** 2
        away[picked] = 0
        if not away.sum() > 0:
            break
        picked.append(int(draw.choice(len(away), p=away / away.sum())))
        best = np.maximum(best, _dense(matrix @ matrix[picked[-1:]].T).ravel())
    centres = _dense(matrix[picked])
    before = np.full(matrix.shape[0], -1)
    for _ in range(ROUNDS):
        near = _nearest(matrix, centres)
        if (near == before).all():
            break
        before = near
        for number in range(len(centres)):
            mine = np.flatnonzero(near == number)
            if len(mine):
                total = np.asarray(matrix[mine].sum(axis=0), np.float64).ravel()
                centres[number] = total / np.linalg.norm(total)
    return centres


def _nearest(matrix: Any, centres: Floats) -> NDArray[np.int64]:
    parts = [
        np.argmax(np.asarray(matrix[start : start + PART] @ centres.T), axis=1)
        for start in range(0, matrix.shape[0], PART)
    ]
    return np.concatenate(parts)


def _dense(matrix: Any) -> Floats:
    return np.asarray(matrix.toarray(), np.float64)


def _labels(centres: Floats, names: Sequence[str]) -> list[str]:
    """Return a name for each centre, and no name twice."""
    labels: list[str] = []
    for centre in centres:
        order = [int(place) for place in np.argsort(-centre, kind="stable")[:12] if centre[place] > 0]
        words = [names[place] for place in order]
        size = NAMED_BY
        while (label := ", ".join(words[:size])) in labels and size < len(words):
            size += 1
        labels.append(label if label not in labels else f"{label} ({len(labels) + 1})")
    return labels
