"""A row's prompt cut into its parts: definition, cautions, worked examples, input; or a conversation's turns.

A part is known by its characters in the message: the cut follows `tasks/templates.py`, and holds only where
the parts joined again are the row's own message, letter by letter. A row that was asked otherwise is cut by
turns: the system's, each earlier exchange, and the last question as the input.

A part left out is gone with its heading and the blank line behind it. Finer units, sentences or words, are
cut within the parts in the same way, and a heading goes with the last of them.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import TYPE_CHECKING, Literal, get_args

from espalier.core.records import Text, message

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence
    from typing import TypeAlias

    from espalier.core.records import Example, Message, Task
    from espalier.tasks.templates import Show

    Texts: TypeAlias = Mapping[int, "tuple[str, ...] | None"]

Unit = Literal["part", "sentence", "word"]
UNITS: tuple[Unit, ...] = get_args(Unit)
CUTS = {"sentence": re.compile(r"(?<=[.!?])\s+|\n\s*"), "word": re.compile(r"\s+")}


@dataclass(frozen=True, slots=True)
class Piece:
    """What is left out, replaced or swapped as one.

    Attributes:
        kind: "definition", "caution", "good example", "bad example", "input", "system" or "exchange".
        name: the kind, with a number where there may be several.
        turns: the messages that it stands in, one but for an exchange.
        texts: its words in each of these.
        head: what stands before the words while any of the part are there.
        block: its paragraph of the message; what is in one is set apart by a line's end alone.
        part: which part it is, or is a unit of.
    """

    kind: str
    name: str
    turns: tuple[int, ...]
    texts: tuple[str, ...]
    head: str = ""
    block: int = 0
    part: int = 0


@dataclass(frozen=True, slots=True)
class Prompt:
    """A row's prompt as pieces, in their order; turns that hold none of them stay as they are."""

    example: Example
    pieces: tuple[Piece, ...]

    def messages(self, changed: Texts | None = None) -> tuple[Message, ...]:
        """Return the prompt with some pieces' words exchanged; None leaves a piece out.

        A system's turn and an exchange of which nothing is left are gone; a last turn stays, with no words.
        """
        changed = changed or {}
        made: list[Message] = []
        for turn, own in enumerate(self.example.prompt):
            here = [piece for piece in self.pieces if turn in piece.turns]
            text = "".join(words for words, _ in self.segments(turn, changed)) if here else ""
            if not here:
                made.append(replace(own, trained=False))
            elif text or here[0].kind not in ("system", "exchange"):
                made.append(message(own.role, text))
        return tuple(made)

    def without(self, places: frozenset[int]) -> tuple[Message, ...]:
        """Return the prompt without these pieces."""
        return self.messages(dict.fromkeys(places))

    def segments(self, turn: int, changed: Texts) -> Iterator[tuple[str, int | None]]:
        """Yield a turn's text from beginning to end: words with the piece that they are of, or None."""
        above: Piece | None = None
        for words in self._by_part(turn, changed):
            piece = self.pieces[words[0][1]]
            if above:
                yield ("\n" if above.block == piece.block else "\n\n"), None
            yield piece.head, words[0][1]
            yield from words
            above = piece

    def _by_part(self, turn: int, changed: Texts) -> Iterator[list[tuple[str, int]]]:
        """Yield the words of each part of a turn that has any left; one that lost some ends in no space."""
        parts: dict[int, list[tuple[str, int]]] = {}
        cut: set[int] = set()
        for place, piece in enumerate(self.pieces):
            if turn not in piece.turns:
                continue
            texts = changed.get(place, piece.texts)
            if texts is None:
                cut.add(piece.part)
            else:
                parts.setdefault(piece.part, []).append((texts[piece.turns.index(turn)], place))
        for part, words in parts.items():
            if part in cut:
                words[-1] = (words[-1][0].rstrip(), words[-1][1])
            yield words

    def finer(self, unit: Unit) -> Prompt:
        """Return the prompt with each part cut into sentences or words; an exchange stays whole."""
        if unit == "part":
            return self
        made: list[Piece] = []
        for piece in self.pieces:
            units = _cut(piece.texts[0], unit) if len(piece.turns) == 1 else []
            made += [replace(piece, texts=(text,)) for text in units] or [piece]
        return replace(self, pieces=tuple(made))


def cut(example: Example, task: Task | None = None, show: Show | None = None) -> Prompt:
    """Return a row's prompt in parts.

    Args:
        example: the row.
        task: that it is of, where it has words.
        show: what prompts show of that.
    """
    if task and show:
        prompt = Prompt(example, tuple(_of_task(task, show, example.input)))
        own = [(turn.role, turn.text) for turn in example.prompt]
        if own == [("user", prompt.messages()[0].text)]:
            return prompt
    return Prompt(example, tuple(_of_turns(example.prompt)))


def _of_task(task: Task, show: Show, text: str) -> Iterator[Piece]:
    """Yield what `templates.asked` joins."""
    found: list[tuple[str, str, str, int]] = []  # kind, heading, words, block
    if show.definition and task.definition.strip():
        found.append(("definition", "", task.definition, 0))
    if show.cautions:
        found += [("caution", "- ", caution, 1) for caution in task.cautions]
    for kind, shown in (
        ("good example", task.positive[: show.positive]),
        ("bad example", task.negative[: show.negative]),
    ):
        for item in shown:
            why = f"\nWhy: {item.explanation}" if show.explanations and item.explanation else ""
            words = f"Input: {item.input}\nOutput: {item.output}{why}"
            found.append((kind, f"{kind.capitalize()}\n", words, 2 + len(found)))
    found.append(("input", "Input: " if found else "", text, 2 + len(found)))
    kinds = [kind for kind, *_ in found]
    for part, (kind, head, words, block) in enumerate(found):
        name = kind if kind in ("definition", "input") else f"{kind} {1 + kinds[:part].count(kind)}"
        yield Piece(kind, name, (0,), (words,), head, block, part)


def _of_turns(turns: Sequence[Message]) -> Iterator[Piece]:
    """Yield a conversation's parts; what holds more than text is part of none."""
    if not turns:
        return
    asks = [place for place, turn in enumerate(turns) if turn.role == "user"] or [len(turns) - 1]
    groups = [("system", range(place, place + 1)) for place in range(asks[0])]
    groups += [("exchange", range(start, end)) for start, end in pairwise(asks)]
    groups.append(("input", range(asks[-1], asks[-1] + 1)))
    kinds: list[str] = []
    for kind, span in groups:
        if all(isinstance(part, Text) for place in span for part in turns[place].parts):
            kinds.append(kind)
            name = f"exchange {kinds.count(kind)}" if kind == "exchange" else kind
            yield Piece(kind, name, tuple(span), tuple(turns[place].text for place in span), part=len(kinds))


def _cut(text: str, unit: Unit) -> list[str]:
    """Return a text in units, with the space behind each; joined they are the text."""
    ends = [found.end() for found in CUTS[unit].finditer(text) if found.end() < len(text) and found.start()]
    return [text[start:end] for start, end in zip([0, *ends], [*ends, len(text)], strict=True)]
