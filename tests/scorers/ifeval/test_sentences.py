"""Sentences and words against NLTK's own code, given the words that ours has instead of its trained data."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.tokenize import NLTKWordTokenizer
from nltk.tokenize import punkt as nltk_punkt

from espalier.scorers.ifeval.sentences import _COMMON, _WORDS, ABBREVIATIONS, sentences, tokens


class Contexts(dict[str, int]):
    """What Punkt would have learned of words: the common ones are seen in either case, others never."""

    def __getitem__(self, word: str) -> int:
        common = {word, word.removesuffix("s")} & (_WORDS["starters"] | _WORDS["common"])
        return 0b1100110 if common or _COMMON.fullmatch(word) else 0


def nltk_sentences(text: str) -> list[str]:
    """Return the sentences by NLTK's code, the slow twin."""
    learned = nltk_punkt.PunktParameters()
    learned.abbrev_types = set(ABBREVIATIONS)
    learned.sent_starters = set(_WORDS["starters"])
    learned.collocations = {("##number##", word) for word in _WORDS["numbered"]}
    learned.ortho_context = Contexts()
    return nltk_punkt.PunktSentenceTokenizer(learned).tokenize(text)


PIECES = st.sampled_from(
    [
        *(
            "The cat",
            "sat",
            "down",
            "Rowling",
            "Introduction",
            "the",
            "e.g",
            "Mr",
            "U.S",
            "a.m",
            "J",
            "A",
            "7",
        ),
        *(
            ".",
            ". ",
            "...",
            "? ",
            "!",
            "?!",
            ".) ",
            '." ',
            ". . . ",
            ", ",
            "; ",
            "--",
            "-",
            "1,5",
            '"',
            "(",
            ")",
        ),
        *(
            " ",
            "\n",
            "\n\n",
            "* ",
            "1. ",
            "2) ",
            "A. ",
            "review",
            "However",
            "can't",
            "CANNOT",
            "it's",
            "$5",
            "%",
        ),
    ]
)
TEXTS = st.lists(PIECES, max_size=30).map("".join)


@given(text=TEXTS)
def test_sentences_are_those_of_nltk(text: str) -> None:
    assert list(sentences(text)) == nltk_sentences(text)


@given(text=TEXTS)
def test_tokens_are_those_of_nltk(text: str) -> None:
    twin = NLTKWordTokenizer()
    assert list(tokens(text)) == [token for part in sentences(text) for token in twin.tokenize(part)]


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("", 0),
        ("One. Two! Three?", 3),
        ("It cost 3.5 million. Mr. Smith paid.", 2),
        ("See e.g. the first.", 2),  # what Punkt does not know
        ("1. Apples\n2. Pears", 3),  # an enumerator is the end of one
        ("1. apples\n2. pears", 1),
        ("By J.K. Rowling and C. S. Lewis.", 1),
        ("A. Introduction\nB. Rowling", 3),
        ('He said "Go." Then (he left.) We stayed.', 3),
        ("Wait... what? Wait... However, it came.", 3),
        ("He said “Go.” Then he left.", 1),  # as NLTK did until 3.9: a curly mark hides the full stop
        ("Really?! Yes.", 2),
    ],
)
def test_the_count_is_that_of_the_trained_model(text: str, count: int) -> None:
    assert len(sentences(text)) == count


def test_capital_tokens() -> None:
    assert [t for t in tokens("I CAN'T GO. THE U.S. IS BIG!") if t.isupper()] == (
        ["I", "CA", "N'T", "GO", "THE", "U.S.", "IS", "BIG"]
    )
