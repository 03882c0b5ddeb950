"""What filters are measured against is right itself, and the texts are such that it matters."""

from __future__ import annotations

from itertools import combinations
from typing import TYPE_CHECKING

import pytest

from bench.filter_peers import DATASKETCH, all_pairs, datasketch_pairs, rouge_score_decisions
from bench.filtering import THRESHOLD, _pairs, contaminated, made_texts, mixed_rows
from espalier.filters.duplicates import shingles
from espalier.filters.novelty import novelty

if TYPE_CHECKING:
    from pathlib import Path


def test_all_pairs_are_those_that_a_look_at_each_finds() -> None:
    texts = made_texts(300)
    sets = [shingles(text) for text in texts]
    wanted = {
        (first, later)
        for (first, one), (later, two) in combinations(enumerate(sets), 2)
        if len(one & two) >= THRESHOLD * len(one | two)
    }
    assert wanted
    assert all_pairs(sets, THRESHOLD) == _pairs(texts) == wanted


def test_the_published_filter_decides_the_same() -> None:
    texts = made_texts(120)
    decisions = rouge_score_decisions(texts)
    assert not all(decisions)
    assert decisions == [near is None for near in novelty(texts)]


def test_datasketch_names_no_pair_that_is_none() -> None:
    pytest.importorskip("datasketch")
    texts = made_texts(300)
    exact = all_pairs([shingles(text) for text in texts], THRESHOLD)
    assert datasketch_pairs(texts, DATASKETCH["60, 20 by 3"]) <= exact


def test_a_passage_of_a_test_is_in_one_row_of_a_thousand() -> None:
    text = " ".join(f"word{number}" for number in range(40))
    rows = mixed_rows([text, "few words"], 1001)
    held = [row for row in (rows[0], rows[1000]) if any(run in row for run in _runs(text))]
    assert len(held) == 2
    assert made_texts(5, seed=1) == made_texts(5, seed=1)


def test_contamination_misses_no_run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr("bench.filtering.DATA", tmp_path)
    found = contaminated(lambda _: None, rows=2000)
    assert found["missed"] == 0
    assert found["rows_matched"] >= found["checked_with_run"] >= 2


def _runs(text: str) -> list[str]:
    words = text.split()
    return [" ".join(words[start : start + 26]) for start in range(len(words) - 25)]
