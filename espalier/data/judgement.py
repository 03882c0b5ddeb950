"""What a filter says of a row. It takes none away: that is `export`, by the verdicts that a person chose.

A filter is a function from rows to a judgement of each, in their order. It may go over the rows more than
once, and holds no more of them than it needs. To add one, write a factory whose parameters are what a recipe
sets, and register it; `kind = "my_module:function"` names one from outside the package.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from espalier.core.files import content_hash
from espalier.core.records import Example, Likelihood
from espalier.core.registry import Registry
from espalier.core.text import words


@dataclass(frozen=True, slots=True)
class Judgement:
    """A filter's verdict on one row, with its evidence.

    Attributes:
        ok: whether the row passes; None where it cannot be judged.
        why: the reason, in a sentence for a person; '' where it passes.
        score: the number that it was decided by, where there is one.
        near: id of the row that it is told beside: the one that it repeats, or contradicts.
        spans: parts of the row's texts that are meant: (number of the message, start, end) in characters.
    """

    ok: bool | None
    why: str = ""
    score: float | None = None
    near: str = ""
    spans: tuple[tuple[int, int, int], ...] = ()


PASSES = Judgement(True)
Filter: TypeAlias = Callable[[Iterable[Example]], Iterator[Judgement]]

filters: Registry[Filter] = Registry(
    "filter",
    "espalier.filters.form",
    "espalier.filters.refusals",
    "espalier.filters.personal",
    "espalier.filters.sets",
    "espalier.filters.language",
    "espalier.filters.checked",
    "espalier.filters.toxicity",
    "espalier.filters.semantic",
    "espalier.filters.complexity",
    "espalier.filters.executed",
    "espalier.filters.contaminated",
)

# Filters that ask a model how likely it finds texts: whoever builds one gives it that model.
Weighing: TypeAlias = Callable[[Likelihood], Filter]
weighing: Registry[Weighing] = Registry("filter", "espalier.filters.difficulty")


@dataclass(frozen=True, slots=True)
class Each:
    """A filter that looks at each row by itself, so that it may be given them in parts."""

    judge: Callable[[Example], Judgement]

    def __call__(self, rows: Iterable[Example]) -> Iterator[Judgement]:
        """Yield a judgement of each row."""
        return map(self.judge, rows)


def each(judge: Callable[[Example], Judgement]) -> Filter:
    """Return the filter that looks at each row by itself."""
    return Each(judge)


def answered(example: Example) -> Iterator[tuple[int, str, str]]:
    """Yield each answer that is trained on: its message's number, what was asked before it, and its text.

    Without one it is the first reference; a row that has only worse answers has none.
    """
    asked = ""
    for number, turn in enumerate(example.messages):
        if turn.trained:
            yield number, asked, turn.text
        elif turn.role == "user":
            asked = turn.text
    if example.references and not any(turn.trained for turn in example.messages):
        yield len(example.messages), asked, example.references[0]


def of_media(example: Example, text: str) -> str:
    """Return what a row asks such that it is the same only where it is asked of the same media.

    "What is this?" is another question of each picture, so every word is one on the row's own; a row that
    says nothing but what it shows is that. Without media it is the text as it is.
    """
    if not example.media:
        return text
    name = content_hash([one.name for one in example.media])
    found = (word if word.isascii() else word.encode().hex() for word in words(text))  # each stays one word
    return " ".join(f"{name}{word}" for word in found) or name


def compared_texts(rows: Iterable[Example], of: str = "prompt") -> tuple[list[str], list[str]]:
    """Return the text of each row that is compared with others, and its id; the system turn is left out.

    What is asked of different media has no word in common; see `of_media`.

    Args:
        rows: gone over once.
        of: "prompt", "answer", or else both.
    """
    texts: list[str] = []
    ids: list[str] = []
    for example in rows:
        turns = [of_media(example, turn.text) for turn in example.prompt if turn.role != "system"]
        texts.append(
            "\n".join({"prompt": turns, "answer": [example.answer]}.get(of, [*turns, example.answer]))
        )
        ids.append(example.id)
    return texts, ids
