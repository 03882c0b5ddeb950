"""Texts of any script: when two are the same, what their words are, and counts in words.

Python's `\\w` and `lower` do not do: `\\w` breaks a word at a vowel sign (Devanagari, Thai), and a sentence
of a script without spaces is one word to it.
"""

from __future__ import annotations

import re
from functools import lru_cache
from string import punctuation as PUNCTUATION
from unicodedata import category, name, normalize

# How the Unicode name of a letter begins in scripts that put no space between words.
_UNSPACED = re.compile(
    "(?:CJK|IDEOGRAPHIC|HIRAGANA|KATAKANA|BOPOMOFO|THAI|LAO|KHMER|MYANMAR|(?:NEW )?TAI|JAVANESE|YI)\\b"
)
# They say whether a sign is drawn as text or as a picture, or which form of a letter is meant.
_SELECTORS = frozenset(map(chr, (*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0))))
# Signs that Unicode takes for letters or accents, and people for the apostrophe that they cannot type.
_APOSTROPHES = str.maketrans(dict.fromkeys("\u02b9\u02bb\u02bc\u00b4", "'"))
# Kinds of characters: l is a letter or digit of a word, m a mark on one, c a letter that is its own word.
_WORDS = re.compile("cm*|l[lm]*")
_ASCII_WORDS = re.compile("[a-z0-9]+")  # the same, five times as fast
_RUNS = re.compile("cm*|[^ c]*l[^ c]*")


class _Kinds:
    """From code points to their kind, as `str.translate` asks for it."""

    def __getitem__(self, point: int) -> str:
        return _kind(chr(point))


_KINDS = _Kinds()


@lru_cache(maxsize=65536)
def _kind(character: str) -> str:
    match category(character)[0]:
        case "L" | "N" as general:
            digit = general == "N" and category(character) != "Nl"
            return "c" if _UNSPACED.match(name(character, "")) and not digit else "l"
        case "M":
            return "x" if character in _SELECTORS else "m"
        case "P":
            return "p"
        case _ if character.isspace():
            return " "
        case _:
            return "x" if category(character) == "Cf" else "p" if character in PUNCTUATION else "s"


def kinds(text: str) -> str:
    """Return the kind of each character: l, m and c make words, p is punctuation, s a sign, x invisible.

    A space stays one. Of ASCII all signs count as punctuation, as in Python: "+" too.
    """
    return text.translate(_KINDS)


@lru_cache(maxsize=16384)
def folded(text: str) -> str:
    """Return what texts have in common that only look different: case, width, composition, spaces.

    Unicode's NFKC and case folding, without invisible characters (joiners, marks of direction, soft hyphens).
    A Turkish i is one with and without its dot, as nobody says in which language a capital I was written.
    """
    if not text.isascii():
        text = text.translate(_APOSTROPHES)
        text = "".join(c for c, kind in zip(text, kinds(text), strict=True) if kind != "x")
        text = normalize("NFKC", normalize("NFKC", text).casefold())
        text = text.replace("i\u0307", "i").replace("ı", "i")
    return " ".join(text.lower().split())


@lru_cache(maxsize=16384)
def words(text: str) -> tuple[str, ...]:
    """Return the folded words of a text: letters with their marks, and digits; without punctuation and signs.

    In a script without spaces each letter is one. A text without any word (emoji, say) is read by its signs.
    """
    if text.isascii():
        plain = " ".join(text.lower().split())
        found = tuple(_ASCII_WORDS.findall(plain))
    else:
        plain = folded(text)
        found = tuple(plain[m.start() : m.end()] for m in _WORDS.finditer(kinds(plain)))
    return found or tuple(plain.replace(" ", ""))


@lru_cache(maxsize=16384)
def word_count(text: str) -> int:
    """Return how many words a text has as a person counts: "don't" is one. Without spaces, letters are."""
    return len(_RUNS.findall(kinds(folded(text))))


def first_words(text: str, count: int) -> str:
    """Return the beginning of a text, up to the end of its word of that number, as `word_count` counts."""
    ends = [run.end() for run in _RUNS.finditer(kinds(text))]
    return text[: ends[count - 1]] if 0 < count < len(ends) else text


@lru_cache(maxsize=16384)
def unpunctuated(text: str) -> str:
    """Return the folded text without punctuation of any script; a text of nothing else stays as it is."""
    plain = folded(text)
    kept = "".join(c for c, kind in zip(plain, kinds(plain), strict=True) if kind != "p")
    return " ".join(kept.split()) or plain


def counted(count: int, noun: str, plural: str = "") -> str:
    """Return a count with its noun: "1 row", "2 rows"."""
    return f"{count} {noun if count == 1 else plural or f'{noun}s'}"


def some(names: list[str], most: int) -> str:
    """Return names as a sentence lists them, and of more than `most` how many there are besides."""
    rest = len(names) - most
    *before, last = [*names[:most], *([f"{rest} more"] if rest > 0 else [])]
    return f"{', '.join(before)} and {last}" if before else last


def spelt(seconds: float) -> str:
    """Return a time as '40 s', '12 min' or '2.5 h'."""
    minutes = seconds / 60
    if minutes < 2:
        return f"{seconds:.0f} s"
    return f"{minutes:.0f} min" if minutes < 120 else f"{minutes / 60:.1f} h"
