"""Texts of any script: what is the same, what the words are, and how many."""

from __future__ import annotations

import re
from unicodedata import normalize

import pytest
from hypothesis import given
from hypothesis import strategies as st

from espalier.core.text import counted, first_words, folded, unpunctuated, word_count, words
from espalier.tasks.task_files import load_task
from espalier.tasks.templates import normalised


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Straße", "STRASSE"),
        ("İSTANBUL'DA", "istanbul'da"),
        ("ISPARTA", "ısparta"),
        ("café", "cafe\u0301"),
        ("ＡＢＣ　１２３", "abc 123"),
        ("ﾊﾝｶｸ", "ハンカク"),
        ("ΟΔΟΣ", "οδος"),
        ("Привет,  Мир", "привет, мир"),
        ("می\u200cخواهم", "میخواهم"),
        ("\u200fשלום", "שלום"),
        ("co\u00adoperate", "cooperate"),
        ("пʼять", "п'ять"),
        ("don´t", "don't"),
        ("❤\ufe0f", "❤"),
        ("한국", normalize("NFD", "한국")),
    ],
)
def test_texts_that_only_look_different_are_the_same(one: str, other: str) -> None:
    assert folded(one) == folded(other)
    assert words(one) == words(other)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Don't stop: 3.5 x_y", ["don", "t", "stop", "3", "5", "x", "y"]),
        ("Où est le café ?", ["où", "est", "le", "café"]),
        ("Он читал книгу.", ["он", "читал", "книгу"]),
        ("τι ώρα είναι;", ["τι", "ώρα", "είναι"]),
        ("ما هو الوقت؟ ١٢", ["ما", "هو", "الوقت", "١٢"]),
        ("स्वास्थ्य सेवा।", ["स्वास्थ्य", "सेवा"]),
        ("한국어 단어", ["한국어", "단어"]),
        ("我喜欢GPT 4模型。", ["我", "喜", "欢", "gpt", "4", "模", "型"]),
        ("日々のテストー", ["日", "々", "の", "テ", "ス", "ト", "ー"]),
        ("ที่นี่", ["ที่", "นี่"]),
        ("ກິນເຂົ້າ", ["ກິ", "ນ", "ເ", "ຂົ້", "າ"]),
        ("ភ្នំពេញ", ["ភ្", "នំ", "ពេ", "ញ"]),
        ("မြန်မာ", ["မြ", "န်", "မာ"]),
        ("😀👍", ["😀", "👍"]),
        ("Nice 😀", ["nice"]),
        ("?!", ["?", "!"]),
        ("  ", []),
    ],
)
def test_words_of_scripts_with_spaces_and_letters_of_those_without(text: str, expected: list[str]) -> None:
    assert words(text) == tuple(expected)


@given(st.text(alphabet=st.characters(codec="ascii"), max_size=40))
def test_words_of_ascii_are_runs_of_letters_and_digits(text: str) -> None:
    found = tuple(re.findall("[a-z0-9]+", text.lower()))
    assert words(text) == (found or tuple("".join(text.split()).lower()))


@given(st.text(max_size=30))
def test_folding_is_done_once_for_all(text: str) -> None:
    assert folded(folded(text)) == folded(text)
    assert unpunctuated(unpunctuated(text)) == unpunctuated(text)
    assert folded(normalize("NFC", text)) == folded(normalize("NFD", text))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("Yes, it's «fine»…", "yes its fine"),
        ("“是的。”", "是的"),
        ("¿Sí?", "sí"),
        ("a-b a–b", "ab ab"),
        ("+", "+"),
        ("?!", "?!"),
        ("हाँ।", "हाँ"),
        ("5 €", "5 €"),
        ("", ""),
    ],
)
def test_punctuation_of_every_script_goes_unless_it_is_all_there_is(text: str, expected: str) -> None:
    assert unpunctuated(text) == expected


@pytest.mark.parametrize(
    ("text", "count"),
    [("Don't stop — it's 3.5 m", 5), ("我喜欢GPT模型。", 6), ("भारत में", 2), ("ที่นี่", 2), ("😀 !", 0), ("", 0)],
)
def test_words_are_counted_as_a_person_counts(text: str, count: int) -> None:
    assert word_count(text) == count


@given(st.text(max_size=30), st.integers(1, 9))
def test_first_words_are_a_beginning_with_so_many_words(text: str, count: int) -> None:
    start = first_words(text, count)
    assert text.startswith(start)
    assert first_words("Don't stop, now: 我们走吧。", 5) == "Don't stop, now: 我们"
    if text.isascii():
        assert word_count(start) == min(count, word_count(text))


def test_one_is_singular() -> None:
    assert [counted(n, "row") for n in (0, 1, 2)] == ["0 rows", "1 row", "2 rows"]
    assert counted(3, "branch", "branches") == "3 branches"


def test_sources_of_the_bundled_task_are_what_they_were() -> None:
    """The split follows from their names: another way to fold them would be another test set."""
    for row in load_task("event-duration").rows:
        assert normalised(row.input) == " ".join(row.input.lower().split())
