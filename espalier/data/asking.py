"""How a run asks: what its prompts share, so that a person's own text is asked as its rows were.

A task's rows share the task's words, a file of rows may share a system turn, tools, first turns, and lines
around what each row says itself. Inference without them asks a tuned model what it was never trained on.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from itertools import takewhile
from typing import TYPE_CHECKING

from espalier.core.errors import DataError
from espalier.core.records import Message, Text, ToolCall, ToolList, message

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Example, Part
    from espalier.tasks.templates import Show


SHOWN = 60  # characters of a text that is quoted


@dataclass(frozen=True, slots=True)
class Asking:
    """What stands around a row's own text.

    Attributes:
        turns: what every row begins with before it asks: a system turn with its tools, and others.
        before, after: what stands around the row's own text in the turn that asks.
        differs: whether the rows have system turns that differ, so that none can be taken for all.
        later: whether every row answers at the end of a conversation that `turns` does not hold.
        show: of a run on several tasks, what a prompt shows of its own; None where there is one.
    """

    turns: tuple[Message, ...] = ()
    before: str = ""
    after: str = ""
    differs: bool = False
    later: bool = False
    show: Show | None = None

    def prompt(self, text: str) -> tuple[Message, ...]:
        """Return the prompt for a text: one that has the words around it already gets no others."""
        whole = text if self.holds(text) else f"{self.before}{text}{self.after}"
        return (*self.turns, message("user", whole))

    def holds(self, text: str) -> bool:
        """Say whether a text has the words around it already."""
        return text.startswith(self.before) and text.endswith(self.after)

    def around(self, prompt: Sequence[Message]) -> tuple[Message, ...]:
        """Return a whole prompt, under the rows' system turn where it has none of its own."""
        turns = tuple(replace(turn, trained=False) for turn in prompt)
        return turns if _system(turns) else (*_system(self.turns), *turns)

    def over(self, row: Example, *, text: bool) -> Example:
        """Return a row that is asked so: a `text` in the words around it, a whole prompt as `around` has it.

        A system turn of its own stays.
        """
        prompt = row.prompt
        words = self.within(_system(prompt))
        whole = words.prompt(prompt[-1].text) if text else self.around(prompt)
        return replace(row, messages=(*whole, *row.messages[len(prompt) :]))

    def within(self, system: Sequence[Message]) -> Asking:
        """Return the same with a row's own system turn; what that lacks, text or tools, stays."""
        pairs = zip(_tools_and_text(system), _tools_and_text(self.turns), strict=True)
        parts = tuple(part for own, shared in pairs for part in own or shared)
        begin = [Message("system", parts)] if parts else []
        return replace(
            self, turns=(*begin, *_without_system(self.turns)), differs=self.differs and not system
        )

    @property
    def whole(self) -> Asking:
        """What of it stands around a whole prompt."""
        return Asking(_system(self.turns), differs=self.differs)

    def under(self, system: str) -> Asking:
        """Return the same with another system text, '' for none; the tools stay."""
        return replace(self, turns=under(self.turns, system), differs=False)


def under(messages: Sequence[Message], system: str) -> tuple[Message, ...]:
    """Return messages with this system text in place of their own, '' for none; their tools stay."""
    tools, _ = _tools_and_text(messages)
    parts = (*tools, *([Text(system)] if system else []))
    return (*([Message("system", parts)] if parts else []), *_without_system(messages))


def _tools_and_text(messages: Sequence[Message]) -> tuple[Sequence[Part], Sequence[Part]]:
    """Return the parts of the system turn that messages begin with: its tools, and its text."""
    parts = [part for turn in _system(messages) for part in turn.parts]
    tools = [part for part in parts if isinstance(part, ToolList)]
    return tools, [part for part in parts if part not in tools]


def asking_of(examples: Sequence[Example]) -> Asking:
    """Return what the prompts of a run's training rows share.

    Raises:
        DataError: there are no rows.
    """
    if not examples:
        raise DataError("There are no rows, so how the run asks is not known.")
    prompts = [tuple(replace(turn, trained=False) for turn in example.prompt) for example in examples]
    opening = _common([prompt[:-1] for prompt in prompts])
    before, after = _words_around(examples, len(opening))
    return Asking(
        turns=opening,
        before=before,
        after=after,
        differs=len({_system(prompt) for prompt in prompts}) > 1,
        later=all(_turns_before(example) > len(_without_system(opening)) for example in examples),
    )


def _turns_before(example: Example) -> int:
    """Return how many turns, without the system's, stand before the one that is first answered to learn."""
    places = (place for place, turn in enumerate(example.messages) if turn.trained)
    return next(places, len(example.messages)) - 1 - len(_system(example.messages))


def _common(heads: Sequence[tuple[Message, ...]]) -> tuple[Message, ...]:
    """Return the messages that all begin with, as far as a user's turn can follow them."""
    shared: list[Message] = []
    for turns in zip(*heads, strict=False):
        if any(turn != turns[0] for turn in turns):
            break
        shared.append(turns[0])
    while shared and not _ends_a_round(shared[-1]):
        shared.pop()
    return tuple(shared)


def _ends_a_round(turn: Message) -> bool:
    calls = any(isinstance(part, ToolCall) for part in turn.parts)
    return turn.role == "system" or (turn.role == "assistant" and not calls)


def _words_around(examples: Sequence[Example], place: int) -> tuple[str, str]:
    """Return what a task puts before every row's input, or the lines that all turns at a place share."""
    asked = [(example.prompt[-1].text, example.input) for example in examples]
    prefixes = {text[: len(text) - len(own)] if text.endswith(own) else "" for text, own in asked}
    if len(prefixes) == 1 and "" not in prefixes:
        return prefixes.pop(), ""
    texts = [example.prompt[place].text for example in examples]
    if len(set(texts)) < 2:
        return "", ""
    before = "".join(f"{line}\n" for line in _shared([text.split("\n")[:-1] for text in texts]))
    rests = [text[len(before) :].split("\n")[:0:-1] for text in texts]
    after = "".join(f"\n{line}" for line in reversed(_shared(rests)))
    return before if before.strip() else "", after if after.strip() else ""


def _shared(lists: Sequence[list[str]]) -> list[str]:
    """Return what all lists begin with."""
    return [lines[0] for lines in takewhile(lambda lines: len(set(lines)) == 1, zip(*lists, strict=False))]


def _system(messages: Sequence[Message]) -> tuple[Message, ...]:
    return tuple(messages[:1]) if messages and messages[0].role == "system" else ()


def _without_system(messages: Sequence[Message]) -> tuple[Message, ...]:
    return tuple(messages[len(_system(messages)) :])


def described(asking: Asking) -> list[str]:
    """Return in words what stands around a text, as far as a person needs them to know what it is."""
    system = _system(asking.turns)
    tools = any(isinstance(part, ToolList) for turn in system for part in turn.parts)
    others = len(_without_system(asking.turns))
    said = [f"under the system turn {_quoted(turn.text)}" for turn in system if turn.text]
    said += ["with its tools"] if tools else []
    said += [f"after the {others} turns that all rows begin with"] if others else []
    words = (("behind", asking.before), ("before", asking.after))
    return said + [f"{side} {_quoted(text)}" for side, text in words if text.strip()]


def _quoted(words: str) -> str:
    first = words.strip().split("\n", 1)[0]
    return f"“{first[:SHOWN]}{'…' * (len(first) > SHOWN)}”"
