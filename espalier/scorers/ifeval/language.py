"""In which language a reply is: as langdetect says, which the public checker asks, and without it.

langdetect draws numbers, so that of a short text it says now this, now that; here it is seeded. Where it is
not installed, and for the repaired checks always, a script tells most languages, and the words that every
text needs tell those that share one. That says the same on every machine, and nothing where it cannot tell.
"""

from __future__ import annotations

import re
from collections import Counter
from functools import cache, lru_cache
from importlib import import_module
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import MissingExtra
from espalier.scorers.ifeval.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Callable

_LETTERS = {name: re.compile(f"[{letters}]") for name, letters in TABLES["scripts"].items()}
# The languages of each script that several share, each with its common words.
_SHARED: dict[str, dict[str, frozenset[str]]] = {
    script: {code: frozenset(words.split()) for code, words in languages.items()}
    for script, languages in TABLES["languages"].items()
}
# In which script a language is written; one that no other is written in is called by the language's code.
SCRIPT = {
    **{name: name for name in _LETTERS if name.islower()},
    **{code: script for script, languages in _SHARED.items() for code in languages},
    "zh": "Han",
}


def letters_of(script: str, text: str) -> int:
    """Return how many letters of a script a text has."""
    return len(_LETTERS[script].findall(text))


@lru_cache(maxsize=4096)
def script_of(text: str) -> str:
    """Return the script that most letters are of, or the language of one of its own; '' without letters."""
    counts = Counter({name: letters_of(name, text) for name in _LETTERS})
    if 10 * counts["ja"] > counts["Han"]:
        counts["ja"] += counts.pop("Han")
    name, count = counts.most_common(1)[0]
    return name if count else ""


@lru_cache(maxsize=4096)
def language_of(text: str, lead: int = 1) -> str:
    """Return the language's ISO 639-1 code by its script and its commonest words; '' where they do not say.

    It has so many of them more than any other language of its script, at least.
    """
    script = script_of(text)
    if script not in _SHARED:
        return "zh" if script == "Han" else script
    words = re.findall(r"[^\s\d.,;:!?()\[\]{}«»“”\"*#_/|،؟।-]+", text.lower())
    counts = Counter({code: sum(map(known.__contains__, words)) for code, known in _SHARED[script].items()})
    (best, most), (_, second) = counts.most_common(2)
    return best if most - second >= lead else ""


@cache
def detector() -> Callable[[str], str | None] | None:
    """Return langdetect, seeded, as a function to a code, or to None where it finds none; None without it."""
    try:
        langdetect = cast("Any", import_module("langdetect"))
    except ImportError:
        return None
    langdetect.DetectorFactory.seed = 0

    def detect(text: str) -> str | None:
        try:
            return str(langdetect.detect(text))
        except langdetect.LangDetectException:
            return None

    return lru_cache(maxsize=4096)(detect)


def detected(text: str, wanted: str) -> str | None:
    """Return what langdetect says, or where it is not installed what is told here; None: nothing to go by.

    Raises:
        MissingExtra: langdetect is not installed, and the `wanted` language is none that is told here.
    """
    if detect := detector():
        return detect(text)
    if wanted.split("-")[0] not in SCRIPT:
        raise MissingExtra(f"Telling the language '{wanted}'", "ifeval")
    if not (script := script_of(text)):
        return None
    known = _SHARED.get(script, {})
    code = language_of(text) or (wanted if wanted in known else next(iter(known)))
    return "zh-cn" if code == "zh" else code
