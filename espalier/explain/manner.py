"""Style against facts on the general questions, each before and after tuning.

Style is that of free answers to all of the questions; facts are the right choices among options, which the
run may have been told already.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from espalier.core.errors import DataError, TemplateError
from espalier.core.recipe import Choice
from espalier.core.text import word_count
from espalier.evaluate.forgetting import RIGHT
from espalier.evaluate.statistics import mean, paired_difference
from espalier.explain.record import Moving, StyleAndFacts
from espalier.explain.style import TRAITS, style_score, traits
from espalier.runs.abilities import ask_abilities
from espalier.runs.events import say
from espalier.tasks.abilities import abilities

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from typing import TypeAlias

    from espalier.core.records import Example
    from espalier.decode.local import Local
    from espalier.explain.subject import Explained, System

    Values: TypeAlias = Sequence[float | None]

SETTINGS = Choice.model_validate({"kind": "greedy", "limit": 48})


@dataclass(frozen=True)
class Told:
    """A model's free answers to the general questions, and whether it chose rightly where it could."""

    texts: Sequence[str]
    right: Sequence[float | None]


def ask_manner(subject: Explained, local: Local, system: System) -> Told | None:
    """Return what a model says to the general questions; None where it cannot be asked, and why is said."""
    examples = abilities()
    verdicts = ask_abilities(subject.run, local, system)
    if verdicts is None:
        return None
    try:
        title = f"The {system} model's manner"
        answers = subject.answers(local, examples, SETTINGS, title)
    except (TemplateError, DataError) as error:
        say(f"Note: the general questions are not answered freely: {error.message}")
        return None
    right = [
        score.value if _is_choice(example) else None
        for example, score in zip(examples, verdicts[RIGHT], strict=True)
    ]
    return Told([answers[example.id].text for example in examples], right)


def manner_of(base: Told, tuned: Told) -> StyleAndFacts:
    """Return style and facts before and after, each with its interval by question."""
    sources = [example.source for example in abilities()]

    def moving(name: str, before: Values, after: Values, scale: float = 100.0) -> Moving:
        sides = [mean(values, sources) for values in (before, after)]
        found = [replace(one, scale=scale) for one in (*sides, paired_difference(after, before, sources))]
        return Moving(name, found[0], found[1], found[2])

    def of_texts(name: str, value: Callable[[str], float], scale: float = 100.0) -> Moving:
        before, after = ([float(value(text)) for text in told.texts] for told in (base, tuned))
        return moving(name, before, after, scale)

    return StyleAndFacts(
        questions=len(sources),
        style=of_texts("style: traits of an assistant's answer", style_score),
        traits=tuple(of_texts(name, lambda text, name=name: traits(text)[name]) for name in TRAITS),
        words=of_texts("words", word_count, 1.0),
        facts=moving("facts: right choices", base.right, tuned.right),
    )


def _is_choice(example: Example) -> bool:
    return "options" in example.facts
