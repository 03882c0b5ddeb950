"""VQA accuracy: answers to questions on pictures, held against those of one person or of several.

Antol et al. 2015 (arXiv 1505.00468), by the rules of the official evaluation (GT-Vision-Lab/VQA,
`vqaEval.py`): articles go, number words become digits, punctuation goes or becomes a space, apostrophes come
back into contractions. One version of it leaves answers as they are where all people say the same; here both
sides are always made alike.

Hard: the answer is one of the references. Soft: what three other people say is right, of each ten that leave
one person out in turn, so that an answer of one person alone is worth little.
"""

from __future__ import annotations

import re
from collections import Counter
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import TYPE_CHECKING, Literal

from espalier.core.records import Completion, Example, Metric, Score, Scorer

if TYPE_CHECKING:
    from collections.abc import Sequence

ENOUGH = 3  # other people who make an answer right
_HARD = Metric(
    "VQA accuracy",
    unit="%",
    note="The share of answers that equal a reference but for case, articles, number words and punctuation.",
)
_SOFT = Metric(
    "VQA accuracy (soft)",
    phrase="soft VQA accuracy",
    unit="%",
    note="An answer is right as far as three of the other people gave it, in the mean over who is left out.",
)
_ARTICLES = {"a", "an", "the"}
_NUMBERS = ("zero", "one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_DIGITS = {word: str(value) for value, word in enumerate(_NUMBERS)} | {"none": "0"}
_PUNCTUATION = ';/[]"{}()=+\\_-><@`,?!'
_STOP = re.compile(r"\.(?!\d)")
_GROUPED = re.compile(r"\d,\d")
_CONTRACTED = """
ain't aren't can't could've couldn't couldn't've didn't doesn't don't hadn't hadn't've hasn't haven't he'd
he'd've he's how'd how'll how's isn't it'd it'd've it'll ma'am mightn't mightn't've might've mustn't must've
needn't not've o'clock oughtn't 'ow's'at shan't she'd've should've shouldn't shouldn't've somebody'd've
somebody'll somebody's someone'd someone'd've someone'll someone's something'd something'd've something'll
that's there'd there'd've there're there's they'd they'd've they'll they're they've 'twas wasn't we'd've we've
weren't what'll what're what's what've when's where'd where's where've who'd who'd've who'll who's who've
why'll why're why's won't would've wouldn't wouldn't've y'all y'all'll y'all'd've you'd you'd've you'll you're
you've
"""


def _contractions() -> dict[str, str]:
    """Return contractions by what they are with one of their apostrophes left out."""
    found = {"somebody'd": "somebodyd"}  # as the official table has it
    for word in _CONTRACTED.split():
        places = [place for place, letter in enumerate(word) if letter == "'"]
        found |= {word[:place] + word[place + 1 :]: word for place in places}
    return found


_WHOLE = _contractions()


@lru_cache(maxsize=16384)
def normalised(text: str) -> str:
    """Return an answer as the official evaluation compares it.

    A sign of punctuation with a space beside it, anywhere in the text, is left out, and so are all where a
    comma groups digits; other signs become spaces. Where nothing would be left the text stays, so that the
    option "A" is not answered by silence.
    """
    text = text.replace("\n", " ").replace("\t", " ").strip()
    grouped = _GROUPED.search(text) is not None
    plain = text
    for sign in _PUNCTUATION:
        beside = f"{sign} " in text or f" {sign}" in text
        plain = plain.replace(sign, "" if beside or grouped else " ")
    words = (_DIGITS.get(word, word) for word in _STOP.sub("", plain).lower().split())
    kept = " ".join(_WHOLE.get(word, word) for word in words if word not in _ARTICLES)
    return kept or " ".join(text.lower().split())


def soft(answer: str, given: Sequence[str]) -> float:
    """Return how right a normalised answer is (0 to 1) by two people's normalised answers or more."""
    matching = given.count(answer)
    others = (matching - (one == answer) for one in given)
    return sum(min(1.0, count / ENOUGH) for count in others) / len(given)


@dataclass(frozen=True, slots=True)
class Vqa:
    """Whether answers are right: `people` for the soft measure, of which each reference is one's answer."""

    metric: Metric
    people: bool

    def fitted(self, examples: Sequence[Example]) -> Vqa:
        """Return it with the best value that these rows let an answer reach: people do not always agree."""
        if not self.people:
            return self
        rows = [[normalised(one) for one in e.references] for e in examples if len(e.references) > 1]
        if not rows:
            return self
        best = sum(max(soft(one, given) for one in given) for given in rows) / len(rows)
        note = f"{self.metric.note} No answers to these questions reach more than {100 * best:.1f} %."
        return replace(self, metric=replace(self.metric, ceiling=best, note=note))

    def score(self, examples: Sequence[Example], completions: Sequence[Completion]) -> list[Score]:
        """Return each row's accuracy; not scored without a reference, or softly with one alone."""
        return [self._of(example, one) for example, one in zip(examples, completions, strict=True)]

    def _of(self, example: Example, completion: Completion) -> Score:
        given = [normalised(one) for one in example.references]
        if not given:
            return Score(None, "there is no reference")
        answer = normalised(completion.text)
        if not self.people:
            return Score(float(answer in given), answer=answer)
        if len(given) == 1:
            return Score(None, "soft accuracy needs the answers of several people, and there is one")
        why = "" if answer in given else f"most people said “{Counter(given).most_common(1)[0][0]}”"
        return Score(soft(answer, given), why, answer)


def build_vqa(*, measure: Literal["hard", "soft"] = "hard") -> Scorer:
    """VQA accuracy after the official normalisation: 1 for a reference, or "soft" over several people's."""
    return Vqa(_SOFT if measure == "soft" else _HARD, measure == "soft")
