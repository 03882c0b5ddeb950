"""Answers and prompts that insult, by a classifier that is installed with the extra `toxicity`.

It is a linear model over words of English forum posts, which runs without a download (alt-profanity-check).
It knows insults and obscenities, no threat in polite words, and no other language: a row without Latin
letters cannot be judged. What it says is a reason to look, so that its threshold is high.
"""

from __future__ import annotations

from importlib import import_module
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, cast

from espalier.core.errors import MissingExtra, RecipeError
from espalier.data.judgement import Judgement, filters
from espalier.filters.languages import main_script

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from espalier.core.records import Example
    from espalier.data.judgement import Filter

BATCH = 1024


@filters.register("toxicity")
def toxicity(*, threshold: float = 0.95, of: Literal["answer", "row"] = "row") -> Filter:
    """English insults and obscenities, over a probability; needs the extra `toxicity`."""
    if not 0 < threshold < 1:
        raise RecipeError(
            f"threshold = {threshold} does not fit: it must be between 0 and 1.", where="filter.toxicity"
        )
    try:
        rate = cast("Any", import_module("profanity_check")).predict_prob
    except ImportError:
        raise MissingExtra("Telling insults", "toxicity") from None

    def judge(rows: Iterable[Example]) -> Iterator[Judgement]:
        rest = iter(rows)
        while part := list(islice(rest, BATCH)):
            texts = [_text(example, of) for example in part]
            for text, value in zip(texts, rate(texts), strict=True):
                if main_script(text) != "Latin":
                    yield Judgement(None, "It has no words that the classifier of insults knows.")
                elif value > threshold:
                    yield Judgement(False, f"It insults, with a probability of {value:.2f}.", float(value))
                else:
                    yield Judgement(True, score=float(value))

    return judge


def _text(example: Example, of: str) -> str:
    asked = [turn.text for turn in example.prompt if turn.role == "user"] if of == "row" else []
    return "\n".join([*asked, example.answer])
