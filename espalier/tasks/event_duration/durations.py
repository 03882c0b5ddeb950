"""Duration expressions in an English sentence: "two hours", "three-year", "from 1914 to 1918", "since 1990".

`find_durations` returns those that say how long something lasts. Ages ("three years old"), points in time
("two days ago", "an hour later", "one day"), rates ("40 hours a week", "$20 an hour") and distances ("an hour
away") are no durations; a time limit ("within a week") is one only of getting something done.

Patterns find candidates; then a judge per pattern looks at the words before and after.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Literal, TypeAlias

from espalier.tasks.event_duration.words import FUNCTION_WORDS, is_verb_form, lowered

Joined: TypeAlias = Literal["clause", "noun", "complement", "deadline"]


@dataclass(frozen=True, slots=True)
class Duration:
    """A duration expression: its place in the text, and how it is joined to what lasts so long.

    `joined`: 'clause' ("slept for two hours"), 'noun' ("a two-hour nap", "two hours of rain", "a nap of two
    hours"), 'complement' ("spent two hours painting", "took two hours to paint", "after two hours at sea"),
    'deadline' ("mended it within two hours"). `noun` has the noun's words where joined is 'noun'.
    """

    start: int
    end: int
    text: str
    joined: Joined
    noun: str = ""


Judged: TypeAlias = tuple[Joined, str] | None


def find_durations(text: str) -> list[Duration]:
    """Return the duration expressions of a text in order; where two overlap, the longer one."""
    lower = lowered(text)
    found: list[Duration] = []
    for pattern, judge in _CANDIDATES:
        for match in pattern.finditer(lower):
            judged = judge(lower[: match.start()], match.group(), lower[match.end() :])
            if judged:
                found.append(Duration(match.start(), match.end(), text[match.start() : match.end()], *judged))
    kept: list[Duration] = []
    for item in sorted(found, key=lambda d: (d.start - d.end, d.start)):
        if all(item.end <= other.start or item.start >= other.end for other in kept):
            kept.append(item)
    return sorted(kept, key=lambda d: d.start)


def _any(listed: str) -> str:
    """Return a pattern for one of the listed phrases; an underscore is a space."""
    return "(?:" + "|".join(phrase.replace("_", r"\s+") for phrase in listed.split()) + ")"


_COUNT = _any(
    """one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen
    seventeen eighteen nineteen twenty thirty forty fifty sixty seventy eighty ninety hundred thousand
    million billion dozen"""
)
_NUMBER = rf"(?:\d[\d,]*(?:\.\d+)?|(?:(?:a|one)\s+)?{_COUNT}(?:[\s-](?:and[\s-])?{_COUNT})*)"
_MANY = _any("dozens hundreds thousands millions billions tens")
_VAGUE = (
    _any(
        """a_few several a_couple_of a_couple couple_of many a_number_of countless some few half_a_dozen
        half_an? half_the"""
    )
    + rf"|{_any('the_better_part the_best_part most much a_quarter three_quarters')}\s+of\s+an?"
    + rf"|{_MANY}(?:\s+of\s+{_MANY})?\s+of|an?"
)
_QUANTITY = (
    rf"(?:{_NUMBER}(?:\s*(?:-|–|to|or)\s*{_NUMBER})?(?:[\s-]and[\s-]a[\s-](?:half|quarter))?|{_VAGUE})"
)
_LONG = "minute|hour|day|night|week|fortnight|month|year|decade|season|semester|weekend|term"
_UNIT = (
    rf"(?:(?:{_LONG}|moment|second|morning|afternoon|evening|summer|winter|spring|autumn)s?|"
    r"centur(?:y|ies)|millenni(?:um|a)|mins?|hrs?|secs?)"
)
_BARE = _any("seconds minutes hours days nights weeks months years decades centuries millennia")
_ADJECTIVE = r"(?:(?!(?:of|the|and|or|to|in|a|an|at|on|for|more\s+than)\b)[a-z]+\s+)?"
_PERIOD = _any(
    """day night morning afternoon evening week weekend month year summer winter spring autumn season
    decade century"""
)
_MONTH = _any("january february march april may june july august september october november december")
_CLOCK = rf"(?:\d{{1,2}}(?:[:.]\d\d)?(?:\s*[ap]\.?m\.?)?|{_COUNT})(?:\s+o['’]clock)?(?:\s+in\s+the\s+\w+)?"
_POINT = (
    r"(?:(?:the\s+|early\s+|late\s+|mid-?\s*)*(?:(?:1\d|20)\d\d|(?:mon|tues|wednes|thurs|fri|satur|sun)day|"
    rf"(?:\d{{1,2}}\s+)?{_MONTH}(?:\s+\d+)?|"
    + _any(
        """noon midnight midday dawn dusk sunrise sunset daybreak nightfall morning evening night spring
        summer autumn winter"""
    )
    + rf"|{_CLOCK})(?!\s*(?:{_LONG})))"
)

# What stands between a preposition or verb and the amount: "for *well over* two hours".
_MODIFIERS = re.compile(
    r"(?:\b"
    + _any(
        """about around nearly almost at_least at_most up_to more_than less_than only just roughly
        approximately barely well exactly another some the_past the_last the_next the_first the"""
    )
    + r"\s+|(?<=\w\s)(?:over|under)\s+)*$"
)
# What makes the amount after it a duration.
_LICENCE = re.compile(
    r"\b(?:"
    + _any(
        """for during over through throughout last lasts lasted lasting take takes took taken taking spend
        spends spent spending need needs needed requires? required requiring wait waits waited waiting
        stay stays stayed staying work worked sleep slept serve served live lived continues? continued
        endures? endured rest rested sat walk walked trained? stretche[sd] spans? spanned ran runs?
        went_on goes_on another worth wastes? wasted devoted?"""
    )
    + r"(?:\s+(?:him|her|them|me|us|you|it|on))?|over\s+the(?:\s+past|\s+last)?)\s*$"
)
_USES_UP = re.compile(
    r"\b"
    + _any(
        """spends? spent spending takes? took taken taking needs? needed requires? required wastes? wasted"""
    )
    + r"\b"
    r"[^,;$€£\d]{0,40}$"
)
_ENDS = {
    "in": re.compile(r"\bin\s*$"),
    "within": re.compile(r"\bwithin\s*$"),
    "after": re.compile(r"\bafter\s*$"),
    "by": re.compile(r"\bby\s*$"),
    "of": re.compile(r"\w\s+of\s*$"),
    "period of": re.compile(r"\b(?:period|span|course|stretch|space|total|matter|time)\s+of\s*$"),
    "sentenced to": re.compile(r"\bsentenced?\b.*\bto\s*$"),
    "price": re.compile(r"(?:[$€£]\s?[\d,.]+|\d)(?:\s+(?:thousand|million|billion|trillion))?\s*$"),
}
# Words before an amount that make it a rate, an age, a distance or a point in time.
_UNFIT_BEFORE = re.compile(
    r"(?:\b"
    + _any(
        """every each per aged? age_of next first time_in the_other until till twice times once before at
        of_the hours minutes days percent dollars euros pounds cents miles kilometers kilometres km
        kilos people visitors units words"""
    )
    + r"|%)\s*$"
)
_POINT_AFTER = re.compile(
    r"\s*,?\s*"
    + _any(
        """ago olds? older younger of_age later earlier prior hence away ahead in_advance into behind apart
        from_now from_today previously beforehand sooner late early back"""
    )
    + r"\b"
)
_WEAK_AFTER = re.compile(
    r"\s*(?:before|after|from|since|until|past)\b|"
    rf"\s+(?:an?|per|each|every)\s+(?:second|{_LONG}|morning|evening)\b"
)
_INDEFINITE = re.compile(r"(?:an?|one)\s+(?:[a-z]+\s+)?[a-z]+$|(?:some|many|few)\s")
_TO_DO = re.compile(
    r"\s+(?:(?:just|only|simply)\s+)?(?:to\s+[a-z]+|[a-z]+ing\b|(?:in|at|on|with)\b|for\s+\w+\s+\w+\s+to\b)"
)
_IN_DOING = re.compile(r"\s+(?:in|at|on|as|with|under|without|[a-z]+ing)\b")


def _range(before: str, text: str, after: str) -> Judged:
    if before.rstrip().endswith("("):
        return "noun", _last_words(before.rstrip(" ("))
    noun = _noun_after(after)
    return ("noun", noun) if noun and text[0].isdigit() else ("clause", "")


def _since(before: str, text: str, after: str) -> Judged:
    return "clause", ""


def _whole(before: str, text: str, after: str) -> Judged:
    return _clause_or_complement(before, after)


def _compound(before: str, text: str, after: str) -> Judged:
    aged = re.match(r"[\s-]*olds?\b|\s+anniversary", after)
    return None if aged else ("noun", _noun_after(after))


def _bare(before: str, text: str, after: str) -> Judged:
    if (
        re.search(r"[\w’'-]$|\d\s*$", before)
        or _POINT_AFTER.match(after)
        or re.match(r"\s+of\s+(?:the\s+week|age)\b", after)
    ):
        return None
    if re.match(r"\s+of\s", after):
        # "in the last days of the war" is a point in time, "during the years of war" is a duration.
        framed = re.search(r"\b(?:the|these|those|last|first|early|final|golden|recent)\s+$", before)
        during = re.search(r"\b(?:during|over|through|after|spent)\s+the\s+$", before)
        return None if framed and not during else ("noun", _noun_after(after.lstrip()[2:]))
    return _clause_or_complement(before, after) if _LICENCE.search(_MODIFIERS.sub("", before)) else None


def _amount(before: str, text: str, after: str) -> Judged:
    lead = _MODIFIERS.sub("", before)
    ends = {name for name, pattern in _ENDS.items() if pattern.search(lead)}
    licensed = _LICENCE.search(lead) is not None or (
        before != lead and re.search(r"\bover\b", before[len(lead) :]) is not None
    )
    ordinal = text.endswith("second") and re.match(r"\s+[a-z]+", after)
    if ends & {"by", "price"} or ordinal or _POINT_AFTER.match(after):
        return None
    if "within" in ends:
        return "deadline", ""
    if not licensed and (_WEAK_AFTER.match(after) or _UNFIT_BEFORE.search(before)):
        return None
    if re.match(r"['’]|\s+of\s", after):
        return "noun", _noun_after(re.sub(r"^(?:['’]s?)?\s*(?:of\s+)?", "", after))
    if "after" in ends:
        return ("complement", "") if _IN_DOING.match(after) else None
    if "sentenced to" in ends:
        return "complement", ""
    if "of" in ends:
        return ("clause", "") if "period of" in ends else ("noun", _last_words(lead.rstrip()[:-2]))
    joined = _clause_or_complement(before, after)
    if licensed or "in" in ends or joined == ("complement", "") or not _INDEFINITE.match(text):
        return joined
    return None


def _clause_or_complement(before: str, after: str) -> tuple[Joined, str]:
    """Return 'complement' where "spent" or "took" joins an amount to what follows, else 'clause'."""
    return ("complement" if _USES_UP.search(before) and _TO_DO.match(after) else "clause"), ""


_CANDIDATES = tuple(
    (re.compile(pattern), judge)
    for pattern, judge in (
        (
            rf"\bfrom\s+{_POINT}\s+(?:to|until|till|through)\s+{_POINT}\b|\bbetween\s+{_POINT}\s+and\s+{_POINT}\b",
            _range,
        ),
        (r"(?<!\bin )(?<!\bof )(?:1\d|20)\d\d\s*(?:-|–|to)\s*(?:(?:1\d|20)?\d\d)\b", _range),
        (
            rf"\bsince\s+(?:{_POINT}|yesterday|childhood|birth|last\s+\w+|the\s+(?:age|mid|early|late|\d{{4}}s)\b)",
            _since,
        ),
        (
            rf"\b{_QUANTITY}(?:-|\s)?-{_UNIT}\b|\b(?:{_LONG}|decades|centur(?:y|ies)|months|years|weeks)-?long\b",
            _compound,
        ),
        (
            rf"\b{_QUANTITY}\s+{_ADJECTIVE}{_UNIT}\b(?:\s+and\s+a\s+(?:half|quarter))?"
            rf"(?:\s+(?:and|,)\s+{_QUANTITY}\s+{_UNIT}\b)?",
            _amount,
        ),
        (
            rf"\b(?:all|(?:the|an?)\s+(?:whole|entire|full)|throughout\s+the|through\s+the|"
            rf"(?:the\s+rest|the\s+remainder|much|most)\s+of\s+the)\s+{_PERIOD}\b(?:\s+long)?",
            _whole,
        ),
        (rf"\b{_BARE}\b", _bare),
    )
)


def _noun_after(after: str) -> str:
    """Return up to three words of the noun phrase that a text begins with."""
    phrase: list[str] = []
    for word in re.findall(r"[a-z]+(?:['’][a-z]+)?|[^\sa-z–-]", after):
        if not word[0].isalpha() or len(phrase) == 3:
            break
        if phrase and (word in FUNCTION_WORDS or (is_verb_form(word) and not word.endswith("ing"))):
            break
        if word not in FUNCTION_WORDS:
            phrase.append(word)
    return " ".join(phrase)


def _last_words(before: str) -> str:
    return " ".join(re.findall(r"[a-z]+", before)[-2:])
