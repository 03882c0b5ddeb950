"""Sentences and words as NLTK splits them, without its trained data, which is a download.

IFEval's public checker counts sentences with NLTK's English Punkt model (Kiss and Strunk, "Unsupervised
Multilingual Sentence Boundary Detection", 2006) and capital words among NLTK's tokens. The algorithm is that
one; what the model has learned of 20,000 words is replaced by the few that matter in replies: abbreviations,
words that begin sentences, words that are seen in lower case too. So a count may be off where an initial
stands before a word that the lists do not have; tests/scorers/ifeval/test_sentences.py has the measure.
"""

from __future__ import annotations

import re
from functools import lru_cache
from itertools import pairwise
from typing import TYPE_CHECKING

from espalier.scorers.ifeval.tables import TABLES

if TYPE_CHECKING:
    from collections.abc import Iterator

_WORDS = {name: frozenset(words.split()) for name, words in TABLES["sentences"].items()}
ABBREVIATIONS = _WORDS["abbreviations"]
# A word with such an ending is no name either.
_COMMON = re.compile(r".{3,}(?:tion|sion|ing|ment|ness|ity|ly|ed|ance|ence|ive|ous|able|ful|ical|ary)s?")

_INSIDE = r"""[)";}\]*:@'({\[?!]"""  # ends a word
_RUN = r"(?:--+|\.\.+|(?:\.\s){2,}\.)"
_TOKEN = re.compile(
    rf"{_RUN}|(?![\s(\"`{{\[:;&#*@)}}\]\-,])\S+?(?=\s|$|{_INSIDE}|{_RUN}|,(?=$|\s|{_INSIDE}|{_RUN}))|\S"
)
_END = re.compile(rf"[.?!](?=({_INSIDE}|\s+(\S+)))")
_CLOSING = re.compile(r"""["')\]}]+?(?:\s+|(?=--)|$)""", re.MULTILINE)
_NUMBER = re.compile(r"-?[.,]?\d[\d,.-]*\.?")
_INITIAL, _DOTS = re.compile(r"[^\W\d]\."), re.compile(r"\.\.+")
_SPACE = re.compile(r"[ \t\n\r\x0b\x0c]")


def _ends_alone(token: str) -> bool:
    """Tell by a token itself whether a sentence ends with it."""
    return token in (".", "?", "!") or (
        token.endswith(".") and not token.endswith("..") and not _short(token)
    )


def _short(token: str) -> bool:
    word = token[:-1].lower()
    return token.endswith(".") and (word in ABBREVIATIONS or word.split("-")[-1] in ABBREVIATIONS)


def _ends(token: str, following: str) -> bool:
    """Tell by a token and the next one whether a sentence ends in between."""
    ends = _ends_alone(token)
    if not token.endswith("."):
        return ends
    word = following.lower().removesuffix("." if len(following) > 1 and _ends_alone(following) else "")
    upper, number, initial = following[0].isupper(), _NUMBER.fullmatch(token), _INITIAL.fullmatch(token)
    if number and word in _WORDS["numbered"]:
        return False
    if not initial and (_short(token) or _DOTS.fullmatch(token)):
        return ends or (upper and word in _WORDS["starters"])
    if initial or number:
        known = {word, word.removesuffix("s")} & (_WORDS["starters"] | _WORDS["common"])
        name = initial and upper and not (known or _COMMON.fullmatch(word))
        return ends and not (name or following[0].islower() or following in ";:,.!?")
    return ends


def _ends_in(context: str) -> bool:
    tokens = [token for line in context.split("\n") for token in _TOKEN.findall(line)]
    return any(_ends(*pair) for pair in pairwise(tokens))


def _candidates(text: str) -> Iterator[tuple[re.Match[str], str]]:
    """Yield the signs that may end a sentence, each with its word and what follows.

    Of several in one word the last decides, but for one that the word begins with.
    """
    last, begin, stop = None, 0, 0
    for sign in _END.finditer(text):
        spaces = [space.end() for space in _SPACE.finditer(text, stop, sign.start())]
        start = spaces[-1] if spaces and spaces[-1] > stop + 1 else begin
        if last and stop <= start:
            yield last, text[begin : last.end()] + last[1]
        last, begin, stop = sign, start, sign.start()
    if last:
        yield last, text[begin : last.end()] + last[1]


@lru_cache(maxsize=4096)
def sentences(text: str) -> tuple[str, ...]:
    """Return the sentences of a text as Punkt tells them."""
    spans: list[tuple[int, int]] = []
    begin = 0
    for sign, context in _candidates(text):
        if _ends_in(context):
            spans.append((begin, sign.end()))
            begin = sign.start(2) if sign[2] else sign.end()
    return tuple(_realigned(text, [*spans, (begin, len(text.rstrip()))]))


def _realigned(text: str, spans: list[tuple[int, int]]) -> list[str]:
    """Return the sentences; what only closes one, quotation marks and brackets, belongs to it."""
    made: list[str] = []
    moved = 0
    for number, (begin, end) in enumerate(spans):
        start, stop = spans[number + 1] if number + 1 < len(spans) else (len(text), len(text))
        closing = _CLOSING.match(text[start:stop])
        made.append(text[begin + moved : start + len(closing[0].rstrip()) if closing else end])
        moved = closing.end() if closing else 0
    return [sentence for sentence in made if sentence]


# How NLTK's tokenizer pads signs with spaces, one after another; in brackets what stays.
_PADDED = (
    (r"([«“‘„]|`+)", r" \1 "),
    (r'^"', "``"),
    (r"(``)", r" \1 "),
    (r"([ (\[{<])(\"|'{2})", r"\1 `` "),
    (r"(?i)(')(?!re|ve|ll|m|t|s|d|n)(\w)\b", r"\1 \2"),
    (r"([^.])(\.)([\])}>\"' »”’]*)\s*$", r"\1 \2 \3 "),
    (r"([:,])([^\d])", r" \1 \2"),
    (r"([:,])$", r" \1 "),
    (r"(\.{2,}|[;@#$%&])", r" \1 "),
    (r"([^.])(\.)([\])}>\"']*)\s*$", r"\1 \2\3 "),
    (r"([?!])", r" \1 "),
    (r"([^'])' ", r"\1 ' "),
    (r"(\*)", r" \1 "),
    (r"([\]\[(){}<>]|--)", r" \1 "),
    (r"^|$", " "),
    (r"([»”’])", r" \1 "),
    (r"''|\"", " '' "),
    (r"\s+", " "),
    (r"([^' ])('[sSmMdD]|') ", r"\1 \2 "),
    (r"([^' ])('ll|'LL|'re|'RE|'ve|'VE|n't|N'T) ", r"\1 \2 "),
    (r"(?i)\b(can)(not)\b|\b(d)('ye)\b|\b(gim)(me)\b|\b(gon)(na)\b", r" \1\3\5\7 \2\4\6\8 "),
    (r"(?i)\b(got)(ta)\b|\b(lem)(me)\b|\b(more)('n)\b|\b(wan)(na)(?=\s)", r" \1\3\5\7 \2\4\6\8 "),
    (r"(?i) ('t)(is|was)\b", r" \1 \2 "),
)
_STEPS = tuple((re.compile(pattern), put) for pattern, put in _PADDED)


@lru_cache(maxsize=4096)
def tokens(text: str) -> tuple[str, ...]:
    """Return the tokens of a text's sentences, as NLTK's `word_tokenize` gives them: "don't" is two."""
    found: list[str] = []
    for sentence in sentences(text):
        for pattern, put in _STEPS:
            sentence = pattern.sub(put, sentence)
        found += sentence.split()
    return tuple(found)
