"""Instructions made harder, step by step, as in Evol-Instruct (Xu et al. 2023, arXiv 2304.12244).

What did not evolve is eliminated by the paper's four rules, which its released code lacks: nothing is gained
over the instruction before; the answer is a short apology; the answer is nothing but punctuation and words
without meaning; the instruction repeats words of the prompt that evolved it. Where one is eliminated, the
instruction before it is tried again in the next round, another way.
"""

from __future__ import annotations

import random
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from espalier.core.errors import RecipeError
from espalier.core.records import Example, message
from espalier.core.text import folded, word_count, words
from espalier.generate.author import (
    Answer,
    Author,
    Made,
    Reject,
    answered,
    ask_one,
    asked_in,
    batches,
    beyond_text,
    decide,
    origin_of,
    steps,
)
from espalier.generate.parsing import after_label, says_yes
from espalier.generate.prompts import PROMPTS

if TYPE_CHECKING:
    from espalier.generate.author import Step

Way = Literal["deepen", "constrain", "concretise", "reason", "widen"]
WAYS: tuple[Way, ...] = ("deepen", "constrain", "concretise", "reason", "widen")
LABELS = ("new instruction", "rewritten instruction", "rewritten prompt", "instruction")
APOLOGY = 80  # words: a longer answer that is sorry may still be one
_COPIED = re.compile(
    r"\b(?:given|rewritten|new|original|created)[ -]?(?:prompt|instruction)s?\b|\binstruction below\b"
    r"|\btwenty words\b",
    re.IGNORECASE,
)
_SORRY = re.compile(r"\bsorry\b|\bapologi[sz]e\b", re.IGNORECASE)
# Words without a meaning of their own, in the languages that most rows are in.
_EMPTY = frozenset(
    words(
        "a an the and or but if of to in on at by for with as is are was were be it this that i you he she "
        "we they not no yes so do does did have has had my your der die das und oder ein eine ist nicht le "
        "la les un une et est de el los las y es"
    )
)


@dataclass(frozen=True, slots=True)
class _State:
    """An instruction on its way: the row that it has come to, and the row that it began as."""

    row: Example
    first: Example


@steps.register("evolve")
def evolve(*, rounds: int = 1, ways: tuple[Way, ...] = WAYS, seed: int = 0) -> Step:
    """Harder instructions from the rows' own, with answers, round after round; what did not evolve is out."""
    if rounds < 1 or not ways:
        raise RecipeError("There must be at least 1 round, and 1 way.", where="generate")

    def write(rows: Sequence[Example], author: Author) -> Iterator[Made]:
        for part in batches(rows):
            states = [_State(row, row) for row in part]
            for number in range(rounds):
                taken: list[Way] = [_way(ways, state.first.id, number, seed) for state in states]
                for place, made in enumerate(_evolved(states, taken, author)):
                    yield made
                    if isinstance(made, Example):
                        states[place] = _State(made, states[place].first)

    return write


def _way(ways: Sequence[Way], row: str, number: int, seed: int) -> Way:
    """Draw a way for a row, another one in each round."""
    drawn: list[Way] = random.Random(f"{seed} {row}").sample(ways, len(ways))
    return drawn[number % len(ways)]


def _evolved(states: Sequence[_State], taken: Sequence[Way], author: Author) -> list[Made]:
    """Return for each instruction the row that it evolved to, or why it did not."""
    said: dict[int, Answer] = {}
    for way in WAYS:  # those of one way together, since their prompts begin alike
        places = [place for place, own in enumerate(taken) if own == way]
        prompts = [PROMPTS[way].format(instruction=asked_in(states[place].row)) for place in places]
        said.update(zip(places, ask_one(author, prompts), strict=True))
    texts = [after_label(said[place].text, *LABELS) for place in range(len(states))]
    faults = [
        said[place].fault or _unusable(asked_in(states[place].row), texts[place])
        for place in range(len(states))
    ]
    good = [place for place, fault in enumerate(faults) if not fault]
    pairs = [(asked_in(states[place].row), texts[place]) for place in good]
    question = PROMPTS["no-gain"]
    same = decide(author, [question.format(first=old, second=new) for old, new in pairs])
    for place, one in zip(good, same, strict=True):
        if says_yes(one.text):
            faults[place] = "It asks for the same as before."
    good = [place for place in good if not faults[place]]
    prompts = [(*states[place].row.prompt[:-1], message("user", texts[place])) for place in good]
    made: dict[int, Example] = {}
    for place, prompt, one in zip(good, prompts, ask_one(author, prompts), strict=True):
        faults[place] = one.fault or _worthless(one.text)
        parents = dict.fromkeys((states[place].row.id, states[place].first.id))
        origin = origin_of(taken[place], author, [said[place].request, one.request], list(parents))
        if not faults[place]:
            made[place] = answered(prompt, one.text, states[place].row, origin)
    return [
        made.get(place) or Reject("evolve", faults[place], texts[place], (state.row.id,), said[place].request)
        for place, state in enumerate(states)
    ]


def _unusable(before: str, text: str) -> str:
    """Return why a text is no evolved instruction; '' where it can be one."""
    if folded(text) == folded(before):
        return "It asks for the same as before."
    found = _COPIED.search(text)
    if found and not _COPIED.search(before):
        return "It repeats words of the prompt that evolved it."
    if word_count(text) > 2 * word_count(before) + 60:
        return "It has become far longer than it was asked to."
    return beyond_text(text)


def _worthless(answer: str) -> str:
    """Return why an answer shows that its instruction is too hard, or is none; '' where it does not."""
    if word_count(answer) < APOLOGY and _SORRY.search(answer):
        return "The answer to it is an apology."
    said = words(answer)
    if not any(word.isalnum() for word in said) or _EMPTY.issuperset(said):
        return "The answer to it says nothing."
    return ""
