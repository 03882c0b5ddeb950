"""Which scripts a text is written in, and which languages, as far as that can be told.

Scripts are told by Unicode alone. Languages are told by lingua, where it is installed; a text of two scripts
(a German question about a Japanese sentence) is judged script by script. Code, addresses and numbers say
nothing of a language, and a few words too little.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass
from functools import cache, lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast
from unicodedata import category, name

from espalier.core.errors import MissingExtra
from espalier.core.text import counted

if TYPE_CHECKING:
    from collections.abc import Callable, Collection

LETTERS = 20  # of an alphabet, from which on a language can be told
DENSE = 4  # letters that one of a script without spaces counts for
PART = 0.2  # of a text's letters, from which on a script is more than a quoted word
LOOKED_AT = 400  # letters of a script: more make it no surer
_WORDLESS = re.compile(
    r"```.*?(?:```|\Z)|`[^`\n]*`|\$\$.*?\$\$|https?://\S+|\S+@\S+|<[^>\n]{1,80}>", re.DOTALL
)
_DENSE = frozenset({"Han", "Hangul", "Thai", "Lao", "Khmer", "Myanmar", "Tibetan"})
_SHARED = frozenset({"Latin", "Cyrillic", "Arabic"})  # by many languages
_NAMED = {"Cjk": "Han", "Ideographic": "Han", "Hiragana": "Han", "Katakana": "Han", "Bopomofo": "Han"}


@dataclass(frozen=True, slots=True)
class Language:
    """A language that a text has, or one of its scripts.

    Attributes:
        code: of ISO 639-1, such as "de".
        name: in English.
        sureness: probability among all languages known, 0 to 1.
    """

    code: str
    name: str
    sureness: float


@lru_cache(maxsize=65536)
def script(character: str) -> str:
    """Return the script of a letter, such as "Latin" or "Han" (with kana); '' of any other character."""
    if category(character)[0] != "L":
        return ""
    if character.isascii():
        return "Latin"
    word = name(character, "").replace("FULLWIDTH ", "").replace("HALFWIDTH ", "").partition(" ")[0]
    word = word.partition("-")[0].capitalize()
    return _NAMED.get(word, "" if word in ("Modifier", "Feminine", "Masculine", "Micro") else word)


def scripts(text: str) -> Counter[str]:
    """Return how many letters of each script a text has."""
    if text.isascii():
        count = sum(map(str.isalpha, text))
        return Counter({"Latin": count} if count else {})
    return Counter(found for character in text if (found := script(character)))


def main_script(text: str) -> str:
    """Return the script that most of a text's letters are of; '' where it has none."""
    return max(scripts(text).items(), key=lambda item: (item[1], item[0]), default=("", 0))[0]


class Languages:
    """What tells languages. Raises MissingExtra where lingua is not installed."""

    def __init__(self) -> None:
        self._values = lru_cache(maxsize=8192)(_detector())

    def of(self, text: str, expected: Collection[str] = ()) -> tuple[Language, ...]:
        """Return the likeliest language of each script that makes up a fair part of a text, the main first.

        None for a script of which there are too few letters. With `expected`, any other language has to be
        found in both halves of the text, too: a few names are enough to mislead, but seldom twice. As lists
        of names are taken for Latin, that one is found only where it is expected.
        """
        plain = _WORDLESS.sub(" ", text)
        counts = scripts(plain)
        enough = [
            one
            for one, count in sorted(counts.items(), key=lambda item: (-item[1], item[0]))
            if count >= PART * counts.total() and count * _weight(one) >= LETTERS
        ]
        parts = [_only(plain, one) if len(counts) > 1 else plain for one in enough]
        found = ((part, self._values(part[:LOOKED_AT])) for part in parts)
        return tuple(
            one
            for part, one in found
            if one is not None and (not expected or one.code in expected or self._twice(part, one))
        )

    def _twice(self, text: str, language: Language) -> bool:
        if main_script(text) in _DENSE:
            return True
        middle = min(len(text), LOOKED_AT) // 2
        cut = max(text.rfind(" ", 0, middle), 0) or middle
        halves = (text[:cut], text[cut:LOOKED_AT])
        if language.code == "la" or min(map(len, halves)) < LETTERS // 2:
            return language.code != "la"
        found = [self._values(half) for half in halves]
        return all(one is None or one.code == language.code for one in found)


def _weight(script: str) -> int:
    """Return how much a letter of a script tells: more where few languages share it."""
    return DENSE if script in _DENSE else 1 if script in _SHARED else 2


def _only(text: str, kept: str) -> str:
    """Return the letters of one script and what belongs to none."""
    return " ".join("".join([c if script(c) in (kept, "") else " " for c in text]).split())


@cache
def _detector() -> Callable[[str], Language | None]:
    """Return what tells one text's language; late, because its models take a second and a gigabyte."""
    try:
        lingua = cast("Any", import_module("lingua"))
    except ImportError:
        raise MissingExtra("Telling languages", "language") from None
    detector = lingua.LanguageDetectorBuilder.from_all_languages().build()

    def tell(text: str) -> Language | None:
        values = detector.compute_language_confidence_values(text)
        if not values or not values[0].value:
            return None
        best = values[0]
        return Language(
            best.language.iso_code_639_1.name.lower(), best.language.name.capitalize(), float(best.value)
        )

    return tell


@cache
def known_codes() -> frozenset[str]:
    """Return the codes of all languages that can be told. Raises MissingExtra."""
    _detector()
    lingua = cast("Any", import_module("lingua"))
    return frozenset(one.iso_code_639_1.name.lower() for one in lingua.Language.all())


def told(text: str) -> str:
    """Return a text's main script with its share, for a person: "Cyrillic, 40 of 52 letters"."""
    counts = scripts(text)
    best = main_script(text)
    return f"{best}, {counts[best]} of {counted(counts.total(), 'letter')}" if best else "no letter"
