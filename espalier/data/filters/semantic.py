"""Rows that ask nearly the same in other words or another order.

By words and their pieces, weighed by how rare they are (TF-IDF), which needs no model and knows no synonyms;
or by embeddings of model2vec, where that is installed and its model is there. All pairs over the threshold are
found (`vectors.py`), and of each set of duplicates the first row stays.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from espalier.core.errors import MissingExtra, ModelError, RecipeError
from espalier.data.filters.judgement import PASSES, Judgement, filters
from espalier.data.vectors import BLOCK, near_pairs, vectors

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from numpy.typing import NDArray

    from espalier.core.records import Example
    from espalier.data.filters.judgement import Filter


@filters.register("semantic")
def semantic(
    *, threshold: float = 0.85, of: Literal["prompt", "answer", "row"] = "prompt", embeddings: str = ""
) -> Filter:
    """Rows that nearly say what one before them says: cosine of weighted words, or of a model's embeddings."""
    if not 0 < threshold <= 1:
        raise RecipeError(
            f"threshold = {threshold} does not fit: it must be over 0 and at most 1.", where="filter.semantic"
        )
    embed = _embedder(embeddings) if embeddings else None

    def judge(rows: Iterable[Example]) -> Iterator[Judgement]:
        texts, ids = _texts(rows, of)
        pairs = _near(embed(texts), threshold) if embed else near_pairs(vectors(texts)[0], threshold)
        stays = np.ones(len(texts), np.bool_)
        for row, others, cosines in pairs:
            kept = stays[others]
            if not kept.any():
                yield PASSES
                continue
            stays[row] = False
            others, cosines = others[kept], cosines[kept]
            best = int(np.argmax(cosines))
            value = float(cosines[best])
            why = f"It says nearly what another row says: cosine {value:.2f}."
            yield Judgement(False, why, value, ids[int(others[best])])

    return judge


def _texts(rows: Iterable[Example], of: str) -> tuple[list[str], list[str]]:
    texts: list[str] = []
    ids: list[str] = []
    for example in rows:
        asked = [turn.text for turn in example.prompt if turn.role != "system"]
        texts.append("\n".join({"prompt": asked, "answer": [example.answer]}.get(of, [*asked, example.answer])))
        ids.append(example.id)
    return texts, ids


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
