"""A conversation with a model as it stands: turns are added, answered, taken back and saved. Nothing prints.

A turn is added when it is answered: what the model has no room for, or its template refuses, changes nothing.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError
from espalier.core.files import write_atomic
from espalier.core.records import Media, Message, Text, ToolList, message
from espalier.data.asking import Asking, under

if TYPE_CHECKING:
    from collections.abc import Iterator

    from espalier.encode.template import Template


@dataclass(frozen=True)
class Turn:
    """What was said and answered: `asked` is the user's whole turn, `text` what a person wrote of it.

    `cut` where the answer was stopped, or reached its limit: it is not one to train on.
    """

    text: str
    asked: Message
    answer: str
    cut: bool = False


@dataclass
class Conversation:
    """The turns so far, each asked in the shape of the run's rows.

    Attributes:
        asking: what stands before the first turn and around each; see `first`.
        first: whether the words around a turn stand around the first only, as in the run's rows.
        turns: oldest first.
        answers: how many were begun, those taken back as well: each is sampled with a seed of its own.
        shown: pictures and sounds that stand before the text of the next turn.
    """

    asking: Asking = field(default_factory=Asking)
    first: bool = False
    turns: list[Turn] = field(default_factory=list[Turn])
    answers: int = 0
    shown: list[Media] = field(default_factory=list["Media"])
    _saved: set[Path] = field(default_factory=set[Path])

    @property
    def messages(self) -> tuple[Message, ...]:
        """All that was said, with what every conversation begins with."""
        said = (m for turn in self.turns for m in (turn.asked, message("assistant", turn.answer)))
        return (*self.asking.turns, *said)

    @property
    def system(self) -> str:
        """The text of the system turn; '' for none."""
        return "".join(turn.text for turn in self.asking.turns[:1] if turn.role == "system")

    def prompt(self, text: str) -> tuple[Message, ...]:
        """Return what the model is given to answer a text as the next turn."""
        bare = self.first and self.turns
        asked = message("user", text) if bare else replace(self.asking, turns=()).prompt(text)[-1]
        return (*self.messages, replace(asked, parts=(*self.shown, *asked.parts)))

    def room(self, text: str, template: Template) -> int:
        """Return how many tokens an answer to a text may have.

        Raises:
            DataError: the conversation with this text leaves none in the model's context.
            TemplateError: the template cannot render it.
        """
        size = len(template.prompt_ids(self.prompt(text)))
        if size >= template.context:
            raise DataError(
                f"With this turn the conversation has {size} tokens, and the model's context is "
                f"{template.context}.",
                hint="The turn is left out: /undo takes back the last one before it, /reset begins anew.",
            )
        return template.context - size

    def add(self, text: str, answer: str, *, cut: bool = False) -> None:
        """Keep a text with its answer as the last turn."""
        self.turns.append(Turn(text, self.prompt(text)[-1], answer, cut))
        self.shown.clear()

    def undo(self) -> Turn | None:
        """Take back the last turn with its answer, and return it; None where there is none."""
        return self.turns.pop() if self.turns else None

    def reset(self) -> None:
        """Begin anew, under the same system turn."""
        self.turns.clear()
        self.shown.clear()

    def set_system(self, text: str) -> None:
        """Put a text in place of the system turn, '' for none; the turns so far stay, and so do tools."""
        turns = under(self.asking.turns, text)
        self.asking = replace(self.asking, turns=turns, differs=False)

    def save(self, path: Path) -> None:
        """Write the conversation as a row of messages that can be trained on; answers cut short weigh 0.

        A file in .jsonl gets a line more. Any other is written, and again when the same conversation is saved
        once more; one that was there before is not touched.

        Raises:
            DataError: there is nothing to save, the file is there, or it cannot be written.
        """
        if not self.turns:
            raise DataError("Nothing has been said yet, so there is nothing to save.")
        line = json.dumps(self.row(), ensure_ascii=False)
        try:
            if path.suffix == ".jsonl":
                with path.open("a", encoding="utf-8") as file:
                    file.write(f"{line}\n")
                return
            if path.exists() and path.resolve() not in self._saved:
                raise DataError(
                    "The file is there already.", where=str(path), hint="Name another, or one in .jsonl."
                )
            write_atomic(path, f"[{line}]\n")
            self._saved.add(path.resolve())
        except OSError as error:
            raise DataError(f"The conversation cannot be saved: {error.strerror}.", where=str(path)) from None

    def row(self) -> dict[str, Any]:
        """Return the conversation as a row: `messages`, and `tools` where there are any."""
        parts = [part for turn in self.asking.turns for part in turn.parts]
        tools = [tool for part in parts if isinstance(part, ToolList) for tool in json.loads(part.schemas)]
        return {"messages": list(self._turns()), **({"tools": tools} if tools else {})}

    def _turns(self) -> Iterator[dict[str, Any]]:
        for turn in self.asking.turns:
            if turn.text or turn.role != "system":
                yield {"role": turn.role, "content": turn.text, **_weight(turn.role == "assistant")}
        for turn in self.turns:
            yield {"role": "user", "content": _content(turn.asked)}
            yield {"role": "assistant", "content": turn.answer, **_weight(turn.cut)}


def _content(asked: Message) -> str | list[dict[str, str]]:
    """Return what a turn says: its text, or with media its parts, which say where those stand."""
    if not asked.media:
        return asked.text
    return [
        {"type": "text", "text": part.text}
        if isinstance(part, Text)
        else {"type": part.kind, part.kind: part.uri}
        for part in asked.parts
        if isinstance(part, Text | Media)
    ]


def _weight(out: bool) -> dict[str, int]:
    return {"weight": 0} if out else {}
