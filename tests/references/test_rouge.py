"""ROUGE-L of many pairs at once against the table of Lin (2004) over each pair's tokens."""

from __future__ import annotations

from unittest import mock

from hypothesis import example, given
from hypothesis import strategies as st

from espalier.scorers.rouge import rouge_l, rouge_l_of, tokens

WORDS = st.sampled_from(
    ["how", "long", "run", "Runs,", "running", "İstanbul", "3.5", "—", "да", "猫猫", "\0", ""]
)
TEXTS = st.one_of(st.lists(WORDS, max_size=9).map(" ".join), st.text(st.characters(), max_size=20))


def by_table(text: str, reference: str, *, official: bool) -> float:
    """Return the F-measure by the textbook's table of the longest common subsequence."""
    ours, theirs = tokens(text, official=official), tokens(reference, official=official)
    above = [0] * (len(theirs) + 1)
    for mine in ours:
        row = [0]
        for column, other in enumerate(theirs):
            row.append(above[column] + 1 if mine == other else max(above[column + 1], row[-1]))
        above = row
    return 2 * above[-1] / max(1, len(ours) + len(theirs))


@given(st.lists(st.tuples(TEXTS, TEXTS), max_size=6), st.booleans(), st.integers(0, 60))
@example([("\ud83d", "\ud83d \ud83d")], False, 0)
@example([("\ud83d a", "a")], True, 0)
def test_many_are_each_by_itself(pairs: list[tuple[str, str]], official: bool, letters: int) -> None:
    with mock.patch("espalier.scorers.rouge._LETTERS", letters):
        values = rouge_l_of(pairs, official=official)
    assert values == [by_table(*pair, official=official) for pair in pairs]
    assert values == [rouge_l(*pair, official=official) for pair in pairs]
