"""New instructions: out of seeds as in Self-Instruct, and for texts that are there as in back-translation.

Self-Instruct (Wang et al. 2022, arXiv 2212.10560) shows an author six tasks of people and two of its own,
keeps what is new, asks whether it is a classification, and has instances written: of classifications the
answer first, since the input first gives mostly one label. Back-translation is that of Li et al. 2023 (arXiv
2308.06259), with its grade by the author itself.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from espalier.core.errors import RecipeError
from espalier.core.records import Example, message
from espalier.core.text import folded, kinds, word_count
from espalier.filters.novelty import Pool
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
from espalier.generate.grading import grades
from espalier.generate.parsing import after_label, items_in, pairs_in, says_yes
from espalier.generate.prompts import EXAMPLES, LIST, PROMPTS

if TYPE_CHECKING:
    from espalier.generate.author import Step

PEOPLE, OWN, MORE = 6, 2, 8  # tasks shown of people and of the author, and tasks asked for
ROUND = 16  # prompts at once
BARREN = 3  # rounds without anything new, after which no more is asked
SHORTEST, LONGEST = 3, 150  # words of an instruction


@steps.register("self_instruct")
def self_instruct(
    *, count: int = 100, novelty: float = 0.7, seed: int = 0, about: tuple[str, ...] = ()
) -> Step:
    """New instructions from seeds, with instances; `about` names kinds or topics to fill, in turn."""
    if count < 1 or not 0 < novelty <= 1:
        raise RecipeError("The count must be at least 1, and novelty in (0, 1].", where="generate")

    def write(rows: Sequence[Example], author: Author) -> Iterator[Made]:
        if not rows:
            raise RecipeError("There are no seeds to write new instructions from.", where="generate")
        seeds = list({folded(one.text): one for one in map(_seed, rows)}.values())
        pool = Pool([one.text for one in seeds], novelty)
        for one in seeds:
            pool.add(one.text)
        own: list[_Shown] = []
        made = barren = number = 0
        while made < count and barren < BARREN:
            draw = random.Random(f"{seed} {number}")
            shown = [_shown(seeds, own, draw) for _ in range(min(ROUND, count - made))]
            wanted = [about[(number * ROUND + place) % len(about)] if about else "" for place in range(ROUND)]
            found: list[_Instruction] = []
            for one in _instructions(author, shown, wanted):
                fault = one.fault or _fault(one.text)
                if fault := fault or ("It resembles a task that is there." if pool.try_add(one.text) else ""):
                    yield Reject("self_instruct", fault, one.text, one.parents, one.request)
                else:
                    found.append(one)
            before = made
            for instruction, row in _instances(author, found[: count - made], rows[0]):
                if isinstance(row, Example) and made < count:
                    line = " ".join(instruction.text.split())
                    if not own or own[-1].text != line:
                        own.append(_Shown(line, row.id))
                    made += 1
                    yield row
                elif isinstance(row, Reject):
                    yield row
            barren = barren + 1 if made == before else 0
            number += 1

    return write


@steps.register("backtranslate")
def backtranslate(*, least: int = 0) -> Step:
    """Instructions for the rows' texts; with `least`, only pairs that the author grades so, of 10."""

    def write(rows: Sequence[Example], author: Author) -> Iterator[Made]:
        for part in batches(rows):
            texts = [row.answer or asked_in(row) for row in part]
            said = ask_one(author, [PROMPTS["backtranslate"].format(text=text) for text in texts])
            asked = [after_label(one.text, "instruction", "prompt", "question") for one in said]
            faults = [one.fault or _fault(text) for one, text in zip(said, asked, strict=True)]
            good = [place for place, fault in enumerate(faults) if not fault]
            if least:
                given = grades(author, [(asked[place], texts[place]) for place in good])
                for place, grade in zip(good, given, strict=True):
                    if grade is None:
                        faults[place] = "The author gives the pair no grade."
                    elif grade < least:
                        faults[place] = "The author grades the pair too low."
            for row, text, one, instruction, fault in zip(part, texts, said, asked, faults, strict=True):
                if fault:
                    yield Reject("backtranslate", fault, one.text, (row.id,), one.request)
                else:
                    origin = origin_of("backtranslate", author, [one.request], [row.id])
                    yield answered((message("user", instruction),), text, row, origin)

    return write


class _Shown(NamedTuple):
    """A task that an author is shown, and the row that it is from."""

    text: str
    row: str


class _Instruction(NamedTuple):
    """A new instruction, the rows that it was asked with, its request, and why there is none."""

    text: str
    parents: tuple[str, ...]
    request: str
    fault: str = ""


def _seed(row: Example) -> _Shown:
    """Return what a row asks in one line: without its input, where that stands in lines of its own."""
    asked = asked_in(row).strip()
    first = asked.split("\n", 1)[0].strip()
    whole = word_count(first) >= SHORTEST and kinds(first[-1]) == "p"
    return _Shown(first if whole else " ".join(asked.split()), row.id)


def _shown(seeds: Sequence[_Shown], own: Sequence[_Shown], draw: random.Random) -> list[_Shown]:
    """Draw the tasks that an author is shown: of people and its own, in any order."""
    machine = draw.sample(own, min(OWN, len(own)))
    people = draw.sample(seeds, min(PEOPLE + OWN - len(machine), len(seeds)))
    return draw.sample([*people, *machine], len(people) + len(machine))


def _instructions(
    author: Author, shown: Sequence[Sequence[_Shown]], about: Sequence[str]
) -> Iterator[_Instruction]:
    prompts = [
        PROMPTS["new-instructions"].format(
            count=MORE,
            next=len(tasks) + 1,
            about=f" All of them are of this kind: {kind}." if kind else "",
            listed="\n".join(f"{place}. {task.text}" for place, task in enumerate(tasks, start=1)),
        )
        for tasks, kind in zip(shown, about, strict=False)
    ]
    for tasks, one in zip(shown, ask_one(author.keeping_to(LIST), prompts), strict=True):
        parents = tuple(task.row for task in tasks)
        found = items_in(one.text)
        if one.finish == "length" and len(found) > 1:
            found.pop()  # it was cut off
        for text in found[:MORE]:
            # Lines have no meaning in a list of one task a line, but in code.
            plain = text if "```" in text else " ".join(text.split())
            yield _Instruction(plain, parents, one.request)
        if not found:
            fault = one.fault or "No instruction can be read from the answer."
            yield _Instruction(one.text, parents, one.request, fault)


def _fault(text: str) -> str:
    """Return why a text is no instruction; '' where it can be one, in any script."""
    if not text:
        return "No instruction can be read from the answer."
    if not SHORTEST <= word_count(text) <= LONGEST:
        return f"It has less than {SHORTEST} words, or more than {LONGEST}."
    if kinds(text[0]) not in ("l", "c") and text[0] not in "\"'“«¿¡(":
        return "It begins with a sign."
    return beyond_text(text)


def _instances(
    author: Author, found: Sequence[_Instruction], like: Example
) -> Iterator[tuple[_Instruction, Made]]:
    """Yield the rows of new instructions: one, or of a classification one for each answer."""
    question = PROMPTS["is-classification"]
    kinds_said = decide(author, [question.format(instruction=one.text) for one in found])
    names = ["output-first" if says_yes(said.text) else "input-first" for said in kinds_said]
    writer = author.keeping_to(EXAMPLES)
    prompts = [PROMPTS[name].format(instruction=one.text) for name, one in zip(names, found, strict=True)]
    said: list[Answer] = [Answer("", "", "error")] * len(found)
    for name in ("input-first", "output-first"):  # apart, since their prompts begin apart
        places = [place for place, own in enumerate(names) if own == name]
        for place, one in zip(places, ask_one(writer, [prompts[place] for place in places]), strict=True):
            said[place] = one
    for instruction, kind, name, one in zip(found, kinds_said, names, said, strict=True):
        pairs = [*dict.fromkeys(pairs_in(one.text))]
        if one.finish == "length":
            pairs = pairs[:-1]  # it was cut off
        if not pairs:
            fault = one.fault or "No example can be read from the answer."
            yield (
                instruction,
                Reject("self_instruct", fault, one.text, instruction.parents, one.request),
            )
        inputs = [folded(text) for text, _ in pairs]
        requests = [instruction.request, kind.request, one.request]
        for text, output in pairs if name == "output-first" else pairs[:1]:
            fault = "The answer repeats the input." if folded(text) == folded(output) else ""
            if name == "output-first" and inputs.count(folded(text)) > 1:
                fault = "One input has several answers."
            asked = message("user", f"{instruction.text}\n{text}" if text else instruction.text)
            origin = origin_of(name, author, requests, instruction.parents)
            row = answered((asked,), output, like, origin)
            refused = Reject("self_instruct", fault, output, instruction.parents, one.request)
            yield instruction, refused if fault else row
