"""How a run asks: the shape of its prompts, into which a person's own text is put.

A model answers best in the shape that it was trained in: under the same system turn, behind the same turns
and words. What all rows have in common is that shape; what they do not share is theirs alone.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from espalier.core.errors import DataError
from espalier.core.records import Message, Text, message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Example


@dataclass(frozen=True, slots=True)
class Asking:
    """The shape of a run's prompts.

    Attributes:
        turns: what stands before the question in every prompt: a system turn, and other turns.
        before: the words of the question before the input, and `after` those behind it.
        differs: whether the rows have system turns that differ, so that none can be taken for all.
    """

    turns: tuple[Message, ...] = ()
    before: str = ""
    after: str = ""
    differs: bool = False

    def prompt(self, text: str) -> tuple[Message, ...]:
        """Return the messages that ask for an answer to an input."""
        return (*self.turns, message("user", self.before + text + self.after))

    def under(self, system: str) -> Asking:
        """Return the shape with another system turn; an empty one is none."""
        rest = tuple(turn for turn in self.turns if turn.role != "system")
        first = (message("system", system),) if system else ()
        return replace(self, turns=(*first, *rest), differs=False)


def asking_of(examples: Sequence[Example]) -> Asking:
    """Return the shape that the prompts of a run's rows have in common.

    Raises:
        DataError: there are no rows.
    """
    if not examples:
        raise DataError("There are no rows, so how the run asks is not known.")
    heads = {example.prompt[:-1] for example in examples}
    systems = {tuple(turn for turn in head if turn.role == "system") for head in heads}
    turns = next(iter(heads)) if len(heads) == 1 else next(iter(systems)) if len(systems) == 1 else ()
    words = {_around(example) for example in examples}
    before, after = next(iter(words)) if len(words) == 1 else ("", "")
    return Asking(turns, before, after, differs=len(systems) > 1)


def _around(example: Example) -> tuple[str, str]:
    """Return the words of a row's question before its input and behind it."""
    question = example.prompt[-1]
    text = "".join(part.text for part in question.parts if isinstance(part, Text))
    before, found, after = text.rpartition(example.input)
    return (before, after) if found and example.input else ("", "")
