"""Rows that ask nearly the same in other words or another order.

By words and their pieces, weighed by how rare they are (TF-IDF), which needs no model and knows no synonyms;
or by embeddings of model2vec, where that is installed and its model is there. All pairs over the threshold
are found (`vectors.py`), and of each set of duplicates the first row stays.

A line that many prompts share (a task's definition, a request before a text) would drown what they differ in.
It is left out of the comparison, and rows are compared only with those that have the same such lines. Rows
with other numbers are no duplicates: of sums they are all that differs. And as words in any order say little
where they come again and again (a logical formula, who went where), a good part of their neighbours has to be
the same, in those lines that the two do not have in common.
"""

from __future__ import annotations

from collections import Counter
from importlib import import_module
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from espalier.core.errors import MissingExtra, ModelError, RecipeError
from espalier.core.text import folded, word_count, words
from espalier.data.judgement import PASSES, Judgement, compared_texts, filters
from espalier.filters.vectors import BLOCK, near_pairs, vectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from espalier.core.records import Example
    from espalier.data.judgement import Filter

LINE = 4  # words of a line that is no coincidence
NEIGHBOURS = 0.5  # of the pairs of words, counted on both sides
SHARED = 10  # prompts that have it, from which on it is no part of what one of them asks


@filters.register("semantic")
def semantic(
    *, threshold: float = 0.85, of: Literal["prompt", "answer", "row"] = "prompt", embeddings: str = ""
) -> Filter:
    """Rows that nearly say what one before them says: cosine of weighted words, or of embeddings."""
    if not 0 < threshold <= 1:
        raise RecipeError(
            f"threshold = {threshold} does not fit: it must be over 0 and at most 1.", where="filter.semantic"
        )
    embed = _embedder(embeddings) if embeddings else None

    def judge(rows: Iterable[Example]) -> Iterator[Judgement]:
        texts, ids = compared_texts(rows, of)
        texts, marks = _unframed(texts)
        pairs = _near(embed(texts), threshold) if embed else near_pairs(vectors(texts)[0], threshold)
        stays = np.ones(len(texts), np.bool_)
        for row, others, cosines in pairs:
            kept = stays[others] & (marks[others] == marks[row])
            order = np.argsort(-cosines[kept], kind="stable")
            near = zip(others[kept][order].tolist(), cosines[kept][order].tolist(), strict=True)
            fit = ((int(n), float(v)) for n, v in near if embed or _in_order(texts[row], texts[int(n)]))
            found = next(fit, None)
            if found is None:
                yield PASSES
                continue
            stays[row] = False
            why = f"It says nearly what another row says: cosine {found[1]:.2f}."
            yield Judgement(False, why, found[1], ids[found[0]])

    return judge


def _unframed(texts: Sequence[str]) -> tuple[list[str], NDArray[np.int64]]:
    """Return texts without the lines that many share, and a number [T] for those lines and its numbers.

    A text of nothing else stays as it is.
    """
    lines = [[folded(line) for line in text.splitlines() if line.strip()] for text in texts]
    counts = Counter(line for found in lines for line in set(found) if word_count(line) >= LINE)
    frames = {line for line, count in counts.items() if count >= SHARED}
    seen: dict[tuple[str, ...], int] = {}
    marks = np.zeros(len(texts), np.int64)
    rests: list[str] = []
    for place, found in enumerate(lines):
        rest = "\n".join(line for line in found if line not in frames) or "\n".join(found)
        digits = sorted(word for word in words(rest) if word.isdigit())
        marks[place] = seen.setdefault((*(line for line in found if line in frames), *digits), len(seen))
        rests.append(rest)
    return rests, marks


def _in_order(one: str, other: str) -> bool:
    """Tell whether enough neighbouring words are the same, of those lines that not both texts have."""
    mine, theirs = one.split("\n"), other.split("\n")
    pairs = [
        Counter(pairwise(word for line in lines if line not in known for word in words(line)))
        for lines, known in ((mine, set(theirs)), (theirs, set(mine)))
    ]
    total = pairs[0].total() + pairs[1].total()
    return 2 * (pairs[0] & pairs[1]).total() >= NEIGHBOURS * total


def _embedder(name: str) -> Any:
    """Return what makes vectors of length 1 of texts [T, D]. Raises MissingExtra, ModelError."""
    try:
        module = cast("Any", import_module("model2vec"))
    except ImportError:
        raise MissingExtra("Embeddings of texts", "semantic") from None
    try:
        model = module.StaticModel.from_pretrained(name)
    except (OSError, ValueError) as error:
        raise ModelError(
            f"The embeddings cannot be loaded: {error}.", where=name, hint="Name a folder of model2vec."
        ) from None

    def embed(texts: Sequence[str]) -> NDArray[np.float64]:
        found = np.asarray(model.encode([*texts]), np.float64)
        norms = np.linalg.norm(found, axis=1, keepdims=True)
        return found / np.where(norms > 0, norms, 1)

    return embed


def _near(
    matrix: NDArray[np.float64], least: float
) -> Iterator[tuple[int, NDArray[np.int64], NDArray[np.float64]]]:
    """Yield what `near_pairs` does, of dense vectors."""
    for start in range(0, len(matrix), BLOCK):
        products = matrix[start : start + BLOCK] @ matrix[: start + BLOCK].T
        for row, found in enumerate(products, start):
            near = np.flatnonzero(found[:row] >= least)
            yield row, near, np.minimum(found[near], 1.0)
