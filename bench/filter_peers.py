"""The peers of our filters, each as its own documentation uses it.

What is faster than that is taken where there is a choice: words cut once, faster hashes. Only datatrove is
given slower hashes than its own (SHA-1 in place of xxhash), because its own do not run beside `datasets`.
"""

from __future__ import annotations

import zlib
from contextlib import redirect_stderr
from functools import lru_cache
from io import StringIO
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import numpy as np
from scipy.sparse import csr_matrix

from espalier.core.text import words
from espalier.filters.duplicates import THRESHOLD, shingles
from espalier.filters.novelty import THRESHOLD as NOVEL

if TYPE_CHECKING:
    from collections.abc import Sequence

# By name: permutations, and bands by rows, or none for what datasketch itself takes for the threshold.
DATASKETCH: dict[str, tuple[int, tuple[int, int] | None]] = {
    "128, its own": (128, None),
    "128, 32 by 4": (128, (32, 4)),
    "64, 16 by 4": (64, (16, 4)),
    "60, 20 by 3": (60, (20, 3)),
}


def rouge_score_decisions(texts: Sequence[str]) -> list[bool]:
    """Return for each text whether Self-Instruct's filter keeps it: no kept one has a ROUGE-L over 0.7.

    As released, but that the words of a text are cut once and not for each pair.
    """
    from rouge_score.rouge_scorer import RougeScorer
    from rouge_score.tokenizers import DefaultTokenizer

    class Once:
        def __init__(self) -> None:
            self.tokenize = lru_cache(None)(DefaultTokenizer(use_stemmer=False).tokenize)

    scorer = RougeScorer(["rougeL"], tokenizer=Once())
    kept: list[str] = []
    decisions: list[bool] = []
    for text in texts:
        decisions.append(all(scorer.score(text, one)["rougeL"].fmeasure <= NOVEL for one in kept))
        if decisions[-1]:
            kept.append(text)
    return decisions


def all_pairs(sets: Sequence[frozenset[str]], threshold: float) -> set[tuple[int, int]]:
    """Return all pairs of rows whose Jaccard index is at least the threshold, by a look at each pair."""
    number: dict[str, int] = {}
    columns = [number.setdefault(element, len(number)) for one in sets for element in one]
    bounds = np.cumsum([0, *map(len, sets)])
    ones = np.ones(len(columns), np.int32)
    matrix = csr_matrix((ones, columns, bounds), shape=(len(sets), len(number)))
    common = (matrix @ matrix.T).tocoo()
    sizes = np.diff(bounds)
    union = sizes[common.row] + sizes[common.col] - common.data
    near = (common.row < common.col) & (common.data >= threshold * union)
    return set(zip(common.row[near].tolist(), common.col[near].tolist(), strict=True))


def datasketch_pairs(
    texts: Sequence[str], setting: tuple[int, tuple[int, int] | None]
) -> set[tuple[int, int]]:
    """Return the pairs that datasketch's MinHashLSH names as candidates and that are near duplicates.

    Hashes of words are those of zlib, which is faster than SHA-1, its own; all are made in one call.
    """
    from datasketch import MinHash, MinHashLSH

    permutations, params = setting
    sets = [shingles(text) for text in texts]
    coded = [[element.encode() for element in one] for one in sets]
    hashes = MinHash.bulk(coded, num_perm=permutations, hashfunc=zlib.crc32)
    index = MinHashLSH(threshold=THRESHOLD, num_perm=permutations, params=params)
    found: set[tuple[int, int]] = set()
    for later, (mine, one) in enumerate(zip(sets, hashes, strict=True)):
        for first in index.query(one):
            common = len(mine & sets[first])
            if common >= THRESHOLD * (len(mine) + len(sets[first]) - common):
                found.add((first, later))
        index.insert(later, one, check_duplication=False)
    return found


def datatrove_removed(texts: Sequence[str], buckets: int = 14, rows: int = 8) -> set[int]:
    """Return the rows that datatrove's four steps of MinHash remove: candidates, which it does not verify.

    Its buckets are its own; words and pairs of words are ours, since rows are short.
    """
    from datatrove.data import Document
    from datatrove.pipeline.dedup import minhash
    from datatrove.utils.word_tokenizers import WordTokenizer

    class Words(WordTokenizer):
        def word_tokenize(self, text: str) -> list[str]:
            return ["", *words(text), ""]

        def sent_tokenize(self, text: str) -> list[str]:
            return [text]

        def span_tokenize(self, text: str) -> list[tuple[int, int]]:
            return [(0, len(text))]

    # xxhash, its own, takes no text any more in the version that `datasets` needs.
    hashes = minhash.HashConfig(hash_fc="sha1")
    settings = minhash.MinhashConfig(2, buckets, rows, hash_config=hashes)
    tokenizer: Any = Words()
    documents = (Document(text=text, id=str(number)) for number, text in enumerate(texts))
    with TemporaryDirectory() as folder, redirect_stderr(StringIO()):
        minhash.logger.remove()
        signatures, repeats, removed = (str(Path(folder, name)) for name in ("first", "second", "third"))
        minhash.MinhashDedupSignature(signatures, settings, tokenizer).run(documents, 0, 1)
        step = minhash.MinhashDedupBuckets(signatures, repeats, config=settings)
        for bucket in range(buckets):
            step.run(None, bucket, buckets)
        minhash.MinhashDedupCluster(repeats, removed, settings).run(None, 0, 1)
        file = Path(removed, "000000.remove")
        return set(np.frombuffer(file.read_bytes(), "<u4").tolist()) if file.exists() else set()
