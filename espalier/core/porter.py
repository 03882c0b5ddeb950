"""The Porter stemmer, in the variant that the published ROUGE numbers of Super-NaturalInstructions rest on.

M. F. Porter, "An algorithm for suffix stripping", Program 14(3), 1980, with Porter's own later changes and
those of NLTK (its default mode), which google's `rouge_score` calls. The stems are NLTK's, without NLTK: the
tests compare the two. The names of the steps are the paper's.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def _pairs(pairs: str) -> tuple[tuple[str, str], ...]:
    """Read 'suffix:replacement' pairs."""
    return tuple(
        (suffix, replacement) for suffix, _, replacement in (p.partition(":") for p in pairs.split())
    )


def _rules(pairs: str) -> dict[str, tuple[tuple[str, str], ...]]:
    """Return pairs by the suffix's last letter; they are tried in order, and the first that fits decides."""
    read = _pairs(pairs)
    return {
        last: tuple(pair for pair in read if pair[0][-1] == last) for last in {one[-1] for one, _ in read}
    }


IRREGULAR = dict(
    _pairs(
        """sky:sky skies:sky dying:die lying:lie tying:tie news:news innings:inning inning:inning
        outings:outing outing:outing cannings:canning canning:canning howe:howe proceed:proceed
        exceed:exceed succeed:succeed"""
    )
)
STEP_1A = _rules("sses:ss ies:i ss:ss s:")
STEP_2 = _rules(
    """ational:ate tional:tion enci:ence anci:ance izer:ize bli:ble alli:al entli:ent eli:e ousli:ous
    ization:ize ation:ate ator:ate alism:al iveness:ive fulness:ful ousness:ous aliti:al iviti:ive
    biliti:ble fulli:ful"""
)
STEP_3 = _rules("icate:ic ative: alize:al iciti:ic ical:ic ful: ness:")
STEP_4 = _rules("al ance ence er ic able ible ant ement ment ent ou ism ate iti ous ive ize")


@lru_cache(maxsize=65536)
def stem(word: str) -> str:
    """Return the stem of a lower-case word; other characters than a to z count as consonants."""
    if word in IRREGULAR:
        return IRREGULAR[word]
    if len(word) <= 2:
        return word
    word = word[:-1] if word.endswith("ies") and len(word) == 4 else _replaced(word, STEP_1A, -1)
    word = _step_1b(word)
    if word.endswith("y") and len(word) > 2 and _shape(word)[-2] == "c":
        word = word[:-1] + "i"
    word = _replaced(_step_2(word), STEP_3, 0)
    return _step_5(_step_4(word))


def _shape(word: str) -> str:
    """Return one letter per character: c for a consonant, v for a vowel; y is a vowel after a consonant."""
    shape = ""
    for letter in word:
        vowel = letter in "aeiou" or (letter == "y" and shape[-1:] == "c")
        shape += "v" if vowel else "c"
    return shape


def _measure(word: str) -> int:
    """Return m of the paper's form [C](VC){m}[V]."""
    return _shape(word).count("vc")


def _ends_short(word: str) -> bool:
    """Tell whether a word ends in consonant, vowel, consonant but w, x, y (or is a vowel and a consonant)."""
    shape = _shape(word)
    return shape == "vc" or (shape.endswith("cvc") and word[-1] not in "wxy")


def _replaced(word: str, rules: Mapping[str, Sequence[tuple[str, str]]], measure: int) -> str:
    """Apply the first rule whose suffix fits, if the measure of what remains is greater than `measure`."""
    for suffix, replacement in rules.get(word[-1:], ()):
        if word.endswith(suffix):
            start = word[: -len(suffix)]
            return start + replacement if _measure(start) > measure else word
    return word


def _step_1b(word: str) -> str:
    if word.endswith("ied"):
        return word[:-1] if len(word) == 4 else word[:-2]
    if word.endswith("eed"):
        return word[:-1] if _measure(word[:-3]) > 0 else word
    for suffix in ("ed", "ing"):
        start = word.removesuffix(suffix)
        if start != word and "v" in _shape(start):
            return _mended(start)
    return word


def _mended(start: str) -> str:
    """Put right what removing -ed or -ing left: hopp becomes hop, fil file, troubl trouble."""
    if start.endswith(("at", "bl", "iz")):
        return start + "e"
    if len(start) >= 2 and start[-1] == start[-2] and _shape(start)[-1] == "c":
        return start if start[-1] in "lsz" else start[:-1]
    return start + "e" if _measure(start) == 1 and _ends_short(start) else start


def _step_2(word: str) -> str:
    if word.endswith("alli") and _measure(word[:-4]) > 0:
        return _step_2(word[:-2])
    if word.endswith("logi"):  # the l counts with the stem, so that short ones such as geo- fit too
        return word[:-1] if _measure(word[:-3]) > 0 else word
    return _replaced(word, STEP_2, 0)


def _step_4(word: str) -> str:
    if word.endswith("ion"):  # only after s or t, which stay
        return word[:-3] if word[-4:-3] in ("s", "t") and _measure(word[:-3]) > 1 else word
    return _replaced(word, STEP_4, 1)


def _step_5(word: str) -> str:
    if word.endswith("e"):
        measure = _measure(word[:-1])
        if measure > 1 or (measure == 1 and not _ends_short(word[:-1])):
            word = word[:-1]
    return word[:-1] if word.endswith("ll") and _measure(word[:-1]) > 1 else word
