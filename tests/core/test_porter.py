"""The stemmer against NLTK's, which the published ROUGE numbers were made with."""

from __future__ import annotations

import re
from pathlib import Path

from hypothesis import example, given
from hypothesis import strategies as st
from nltk.stem.porter import PorterStemmer

from espalier.core.porter import IRREGULAR, STEP_2, STEP_3, STEP_4, stem

NLTK = PorterStemmer()
SUFFIXES = sorted(
    {s for rules in (STEP_2, STEP_3, STEP_4) for pairs in rules.values() for s, _ in pairs}
    | {"s", "sses", "ies", "eed", "ed", "ing", "ied", "y"}
)
LETTERS = "aabcdeeffgiillmnoosstuvxyyz09"


@given(st.text(LETTERS, min_size=1, max_size=8), st.lists(st.sampled_from(SUFFIXES), max_size=3))
@example("relationally", [])
@example("yyyy", ["ing"])
@example("sky", [])
def test_stems_are_those_of_nltk(start: str, suffixes: list[str]) -> None:
    word = start + "".join(suffixes)
    assert stem(word) == NLTK.stem(word)


def test_every_word_of_the_task_files_has_the_stem_of_nltk(shared_data: Path) -> None:
    folder = shared_data / "natural-instructions-v1"
    words = {w for file in folder.glob("*.json") for w in re.findall(r"[a-z0-9]+", file.read_text().lower())}
    assert len(words) > 5_000
    assert [w for w in sorted(words) if stem(w) != NLTK.stem(w)] == []


def test_irregular_forms_are_kept() -> None:
    assert {word: stem(word) for word in IRREGULAR} == IRREGULAR
    assert stem("a") == "a"
    assert stem("") == ""
