"""Conversations that an author holds with itself, as the assistant and as the person (Baize, UltraChat)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from espalier.core.errors import RecipeError
from espalier.core.records import Example, Message, example_id, message
from espalier.core.text import unpunctuated
from espalier.generate.author import Answer, Author, Made, Reject, ask_one, batches, origin_of, steps
from espalier.generate.parsing import after_label
from espalier.generate.prompts import PROMPTS

if TYPE_CHECKING:
    from espalier.generate.author import Step

SPEAKERS = {"user": "You", "assistant": "Assistant"}


class _Talk:
    """A conversation as far as it has come, with its requests, and why it ended before its time."""

    def __init__(self, row: Example) -> None:
        self.row = row
        self.turns: list[Message] = list(row.prompt)
        self.requests: list[str] = []
        self.end = ""

    @property
    def answers(self) -> int:
        return sum(turn.trained for turn in self.turns)

    def written(self) -> str:
        """The conversation as text, without what the system's message says."""
        said = [turn for turn in self.turns if turn.role in SPEAKERS]
        return "\n\n".join(f"{SPEAKERS[turn.role]}: {turn.text}" for turn in said)


@steps.register("converse")
def converse(*, turns: int = 3, least: int = 2) -> Step:
    """Conversations that begin with the rows' prompts and go on for so many answers, at least for `least`."""
    if not 1 <= least <= turns:
        raise RecipeError("There must be at least 1 turn, and `least` not over `turns`.", where="generate")

    def write(rows: Sequence[Example], author: Author) -> Iterator[Made]:
        for part in batches(rows):
            talks = [_Talk(row) for row in part]
            for number in range(turns):
                open_ = [talk for talk in talks if not talk.end]
                for talk, one in zip(open_, ask_one(author, [talk.turns for talk in open_]), strict=True):
                    _answer(talk, one)
                open_ = [talk for talk in talks if not talk.end] if number < turns - 1 else []
                prompts = [PROMPTS["next-turn"].format(conversation=talk.written()) for talk in open_]
                for talk, one in zip(open_, ask_one(author, prompts), strict=True):
                    _go_on(talk, one)
            yield from (_made(talk, least, author) for talk in talks)

    return write


def _answer(talk: _Talk, one: Answer) -> None:
    said = [unpunctuated(turn.text) for turn in talk.turns if turn.trained]
    talk.end = one.fault or ("An answer is given twice." if unpunctuated(one.text) in said else "")
    if not talk.end:
        talk.turns.append(message("assistant", one.text, trained=True))
        talk.requests.append(one.request)


def _go_on(talk: _Talk, one: Answer) -> None:
    text = after_label(one.text, "you", "user", "person", "human")
    asked = [unpunctuated(turn.text) for turn in talk.turns if turn.role == "user"]
    if one.fault:
        talk.end = one.fault
    elif unpunctuated(text) in ("end", ""):
        talk.end = "The person had nothing more to say."
    elif unpunctuated(text) in asked:
        talk.end = "The person asks the same twice."
    else:
        talk.turns.append(message("user", text))
        talk.requests.append(one.request)


def _made(talk: _Talk, least: int, author: Author) -> Made:
    row = talk.row
    if talk.turns[-1].role != "assistant" and talk.answers:
        talk.turns.pop()  # a question that was not answered
    if talk.answers < least:
        last = talk.requests[-1] if talk.requests else ""
        return Reject("converse", talk.end, talk.written(), (row.id,), last)
    return Example(
        example_id(row.task, [(turn.role, turn.text) for turn in talk.turns]),
        row.task,
        row.source,
        tuple(talk.turns),
        (talk.turns[-1].text,),
        origin=origin_of("converse", author, talk.requests, [row.id]),
        input=row.input,
    )
