"""What a judge's reply says: that the first answer is better, or the second, or neither; or nothing.

Models say "A" in many ways: "[[A]]" (MT-Bench), "A>>B" (Arena-Hard), {"winner": "A"}, "Answer A is better",
"the first one". Of marks and labels the last counts, since reasons come before a verdict. Sentences have to
agree: one that can be read in two ways says nothing, and is counted as that, and never guessed.
"""

from __future__ import annotations

import re
from typing import Literal, TypeAlias

Verdict: TypeAlias = Literal["first", "second", "tie"]
TURNED: dict[Verdict, Verdict] = {"first": "second", "second": "first", "tie": "tie"}

_NOUN = (
    r"(?:(?:the )?(?:answer|assistant|response|option|model|candidate|output|system|reply|choice)s?[ _:-]*)"
)
# A letter or number, with or without a noun: the article "a" is neither, so a small one needs its noun.
_NAME = rf"(?:{_NOUN}?(?-i:[AB12])(?!\w)|{_NOUN}[ab](?!\w)|the (?:first|second)(?: one| {_NOUN})?(?!\w))"
_TIE = (
    r"(?:(?:it is |it's |they are |they're |both are |both answers are |the answers are )?(?:a |an )?"
    r"(?:tied?|draw|equal(?:ly good)?|even|same|both|neither|none|equivalent))"
)
_VERY = (
    r"(?:(?:clearly|slightly|much|far|significantly|marginally|somewhat|a bit|overall|the|definitely) ){0,3}"
)
_GOOD = r"(?:better|best|superior|stronger|preferable|preferred|winner|more (?:accurate|correct|helpful))"
_BAD = r"(?:worse|worst|inferior|weaker|less (?:accurate|correct|helpful))"
_LABEL = (
    r"(?:verdict|winner|decision|judge?ment|preference|preferred|better|best|"
    r"(?:final |better |best |chosen |my |the |preferred )+(?:answer|response|choice|assistant))"
)

_MARK = re.compile(r"\[\[?\s*([^\[\]\n]{1,24}?)\s*\]\]?|\\boxed\{(?:\\text\{)?([^{}\n]{1,24})")
_ORDER = re.compile(r"^A\s*(>{1,3}|<{1,3}|={1,2}|~)\s*B$|^B\s*(>{1,3}|<{1,3}|={1,2}|~)\s*A$")
_FIELD = re.compile(
    r"[\"'](?:verdict|winner|answer|choice|preference|preferred|better|best|decision|label|result)[\"']"
    r"\s*:\s*[\"']?([^\"',}\n]{1,24})",
    re.IGNORECASE,
)
_LABELLED = re.compile(
    rf"\b{_LABEL}(?:\s+is)?\s*[:=]\s*({_NAME}|{_TIE}(?!\w)|C(?!\w)|[ab](?=\W*(?:\n|$)))", re.IGNORECASE
)
_LABEL_IS = re.compile(rf"\b{_LABEL}(?:\s+\w+)?\s+is\s+({_NAME})(?!\s+(?:not|{_VERY}{_BAD}))", re.IGNORECASE)
_BETTER = re.compile(
    rf"({_NAME})\s+(?:wins?|(?:is|was|seems|looks|appears)(?: to be)?\s+{_VERY}{_GOOD})\b",
    re.IGNORECASE,
)
_WORSE = re.compile(rf"({_NAME})\s+(?:loses|(?:is|was|seems|looks)\s+{_VERY}{_BAD})\b", re.IGNORECASE)
_CHOSEN = re.compile(rf"\b(?:prefer|choose|pick|select|go with|vote for|favou?r)\s+({_NAME})", re.IGNORECASE)
_EVEN = re.compile(
    r"\b(?:(?:it is|it's|i call (?:it|this)|this is) an? (?:tie|draw)"
    r"|(?:both|they|the two|the) ?(?:answers |responses )?(?:are|is) "
    r"(?:about |roughly |equally )?(?:equal|equally|the same|identical|tied|good|bad)\b"
    r"|neither (?:answer |response )?is better)",
    re.IGNORECASE,
)
_FIRST = re.compile(r"(?<![a-z])(?:a|1|first)(?![a-z])", re.IGNORECASE)
_NOT = re.compile(r"\b(?:not|\w+n't|nor|neither|cannot|unable|if|whether)\b", re.IGNORECASE)
_SENTENCE = re.compile(r"(?<=[.!?])\s+|\n+")
_LEAD = re.compile(rf"^\W*({_NAME})\s*(?:[.:,;()\]–—-]|\n|$)", re.IGNORECASE)
_LEAD_TIE = re.compile(r"^\W*(tie|draw)\b\s*(?:[.:,;)\]–—-]|\n|$)", re.IGNORECASE)


def verdict_of(text: str) -> Verdict | None:
    """Return what a reply to a pairwise prompt says; None where it says nothing that can be read.

    The reply is one without what a model thought before it (`generate.parsing.unthought`).
    """
    plain = re.sub(r"[*`#]+", "", text.replace("’", "'").replace("_", " ")).strip()
    whole = _named(plain)
    if whole:
        return whole
    for pattern in (_MARK, _FIELD, _LABELLED, _LABEL_IS):
        for match in reversed([*pattern.finditer(plain)]):
            if said := _named(_group(match)):
                return said
    lead = _LEAD.match(plain) or _LEAD_TIE.match(plain)
    claims: set[Verdict] = {said for sentence in _SENTENCE.split(plain) for said in _claims(sentence)}
    if lead and (said := _named(lead[1])):
        claims.add(said)
    return claims.pop() if len(claims) == 1 else None


def gold_of(text: str) -> Verdict | None:
    """Return what a file's verdict says: as `verdict_of`, or a number from 1 to 2 as AlpacaEval has it."""
    try:
        number = float(text)
    except ValueError:
        said = text.strip().lower().replace("_", " ")
        return "tie" if said.startswith("tie") else verdict_of(text.strip().replace("_", " "))
    if number == 0 or number == 1.5:
        return "tie"
    return None if not 1 <= number <= 2 else "first" if number < 1.5 else "second"


def _group(match: re.Match[str]) -> str:
    return next((one for one in match.groups() if one is not None), "")


def _named(text: str) -> Verdict | None:
    """Return the verdict that a text is, when it is nothing else."""
    bare = text.strip().strip(".,;:!()[]{}\"'“”«» \n\t")
    if order := _ORDER.match(bare.upper()):
        sign, turned = order[1] or order[2], order[1] is None
        if sign[0] in "=~":
            return "tie"
        return "first" if (sign[0] == ">") != turned else "second"
    if re.fullmatch(rf"{_TIE}|C|{_NOUN}?C", bare, re.IGNORECASE):
        return "tie"
    if re.fullmatch(rf"{_NAME}|[ab]|{_NOUN}?\(?[ab12]\)?|first|second|model [ab]", bare, re.IGNORECASE):
        return "first" if _FIRST.search(bare) else "second"
    return None


def _claims(sentence: str) -> set[Verdict]:
    """Return what a sentence claims; nothing of one that denies or supposes."""
    if _EVEN.search(sentence):
        return {"tie"}
    if _NOT.search(sentence):
        return set()
    said: set[Verdict] = set()
    for pattern, turned in ((_BETTER, False), (_CHOSEN, False), (_WORSE, True)):
        for match in pattern.finditer(sentence):
            if found := _named(match[1]):
                said.add(TURNED[found] if turned else found)
    return said
