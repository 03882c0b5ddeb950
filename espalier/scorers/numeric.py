"""Answers that are numbers, as GSM8K scores them (Cobbe et al. 2021, arXiv 2110.14168).

Strict is the data set's own extraction: the first `#### x`, without commas, equal as a text. Flexible is what
lm-eval calls so, the last number of the answer, but compared by value: $, commas, fractions, a percent sign,
units and the typographic minus are the same number written otherwise.
"""

from __future__ import annotations

import re
from fractions import Fraction
from typing import TYPE_CHECKING, Literal
from unicodedata import numeric

from espalier.core.errors import RecipeError
from espalier.core.records import Completion, Example, Metric, Score, Scorer
from espalier.scorers.by_row import ByRow

if TYPE_CHECKING:
    from collections.abc import Iterator

_NOTE = {
    "flexible": "The last number of the answer against the reference's, by value.",
    "strict": "The number after the mark, as a text: an answer without the mark is wrong.",
}
_LONG = 400  # digits of what is still a number to us: a longer one takes seconds to compute with
_VALUE = r"(?:\d{1,3}(?:,\d{3})+(?![\d,])|\d+)(?:\.\d+)?(?:[eE][+-]?\d{1,3}(?!\d))?|(?<!\d)\.\d+"
# A sign after a digit, a word or a bracket is a subtraction or a range; a digit in a word is a name.
_NUMBER = re.compile(
    rf"(?P<sign>(?<![\w.)%])-\s?)?[$€£¥]?\s?(?P<inner>(?<=[$€£¥])-)?(?<![A-Za-z_.])"
    rf"(?:(?:(?P<whole>\d+)\s+)?(?<!/)(?P<top>\d+)\s?/\s?(?P<bottom>\d+)(?![\d/])|(?P<value>{_VALUE}))"
    r"(?P<percent>\s?(?:%|percent\b|per cent\b))?"
)
_DASHES = str.maketrans(dict.fromkeys("−–﹣－", "-"))
_LATEX = re.compile(r"\\[dt]?frac\s*\{([^{}]*)\}\s*\{([^{}]*)\}")
_VULGAR = re.compile(r"(\d*)([¼-¾⅐-⅞])")
_GAPS = re.compile(r"(?<=\d)(?:\{,\}|\\,|[\u00a0\u2009\u202f])(?=\d{3}(?!\d))")


def numbers(text: str) -> Iterator[tuple[Fraction, bool]]:
    """Yield each number of a text by its value, with whether it is written in percent."""
    text = _VULGAR.sub(_spelt, _LATEX.sub(r" \1/\2", text.translate(_DASHES)))
    text = _GAPS.sub(",", text).replace("\\$", "$").replace("\\%", "%").replace("⁄", "/")
    for found in _NUMBER.finditer(text):
        if len(found.group()) > _LONG:
            continue
        top, bottom, written = found.group("top", "bottom", "value")
        if written is not None:
            value = Fraction(written.replace(",", ""))
        elif int(bottom):
            value = int(found.group("whole") or 0) + Fraction(int(top), int(bottom))
        else:
            continue
        negative = found.group("sign") or found.group("inner")
        yield (-value if negative else value), bool(found.group("percent"))


def last_number(text: str) -> tuple[Fraction, bool] | None:
    """Return the last number of a text; None where there is none."""
    return next(iter([*numbers(text)][-1:]), None)


def marked(text: str, mark: str = "####") -> str | None:
    """Return what follows the first mark, as GSM8K's own code takes it out; None where nothing does."""
    begin = r"(?m)^\s*" if mark[:1].isalnum() else ""  # "A:" is a mark, "company A:" is none
    found = re.search(begin + re.escape(mark) + r" (\-?[0-9\.\,]+)", text)
    return found.group(1).replace(",", "") if found else None


def equal(one: tuple[Fraction, bool], other: tuple[Fraction, bool]) -> bool:
    """Tell whether two numbers are the same; 50 % is 50 and 0.5 where the other does not say percent."""
    values = {one[0], other[0]}
    hundredth = {value / 100 if percent else value for value, percent in (one, other)}
    return len(values) == 1 or (one[1] != other[1] and len(hundredth) == 1)


def build_numeric(*, form: Literal["flexible", "strict"] = "flexible", mark: str = "####") -> Scorer:
    """1 where the answer's last number is the reference's; "strict": the number after the mark (GSM8K)."""
    if not mark.strip():
        raise RecipeError("The mark is empty.", where="numeric.mark", hint='GSM8K has "####".')

    def strict(example: Example, text: str) -> Score:
        wanted = [marked(one, mark) or _bare(one) for one in example.references]
        if None in wanted:
            return Score(None, f"a reference has no number after '{mark}'")
        found = marked(text, mark)
        why = "" if found else f"there is no number after '{mark}'"
        return Score(float(found in wanted), why, found or "")

    def flexible(example: Example, text: str) -> Score:
        wanted = [last_number(one.rpartition(mark)[2]) for one in example.references]
        known = [one for one in wanted if one]
        if not known:
            return Score(None, "the reference has no number")
        found = last_number(text)
        if found is None:
            return Score(0.0, "there is no number")
        return Score(float(any(equal(found, one) for one in known)), "", _written(*found))

    def judge(example: Example, completion: Completion) -> Score:
        if not example.references:
            return Score(None, "there is no reference")
        return (strict if form == "strict" else flexible)(example, completion.text)

    title = "Right number" if form == "flexible" else f"Right number after {mark}"
    metric = Metric(title, phrase="the share of right numbers", unit="%", note=_NOTE[form])
    return ByRow(judge, metric)


def _bare(text: str) -> str | None:
    """Return a reference that is a number and nothing else as it is compared."""
    plain = text.strip().removeprefix("$").replace(",", "")
    return plain if re.fullmatch(r"-?\d+(?:\.\d+)?", plain) else None


def _written(value: Fraction, percent: bool) -> str:
    plain = f"{float(value):.15g}" if abs(value) < 10**300 else str(value)
    return f"{plain} %" if percent else plain


def _spelt(found: re.Match[str]) -> str:
    part = Fraction(numeric(found.group(2))).limit_denominator(10)
    space = " " if found.group(1) else ""
    return f"{found.group(1)}{space}{part.numerator}/{part.denominator}"
