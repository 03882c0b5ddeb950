"""What a template adds to an answer, measured on one, and taken off those that a model wrote."""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING

from espalier.encode.spelling import Spelling
from espalier.encode.voice import PROBE

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.encode.tokenizer import Reader
    from espalier.encode.voice import Frame


class Dress:
    """What stands around the words of an answer: white space, a header, an empty thought.

    Args:
        reader: the tokenizer.
        before: a rendered prompt.
        whole: the same with its answer, `PROBE`.
        frame: how answers end.
    """

    def __init__(self, reader: Reader, before: str, whole: str, frame: Frame) -> None:
        self._reader = reader
        self._ending = frame.ending
        prompt, ids = reader.ids(before), reader.ids(whole)
        self._anchor = prompt[-1:]
        self._added: tuple[int, ...] = ()
        self._lead = ""
        if ids[: len(prompt)] != prompt:
            return
        answer = ids[len(prompt) :]
        lead, found, _ = reader.text(answer, self._anchor).partition(PROBE)
        if found:
            self._lead = lead
            fitting = (
                size for size in range(len(answer), 0, -1) if lead.startswith(self._text(answer[:size]))
            )
            self._added = answer[: next(fitting, 0)]

    @cached_property
    def spelling(self) -> Spelling:
        """What the tokens of an answer spell, and what stands around its words. Raises TemplateError."""
        lead, opening = self._lead, ()
        if not lead.isspace():  # white space may be a part of the first word's token, a header is not
            lead, opening = lead[len(self._text(self._added)) :], self._added
        return Spelling(self._reader.spelt(), lead, self._ending, opening)

    def taken_off(self, ids: Sequence[int]) -> str:
        """Return the text of an answer's ids, without special tokens and what the template adds to it.

        White space that the template adds may be a part of the first word's token.
        """
        own, added = tuple(ids), self._added
        if added and own[: len(added)] == added:
            own, lead, anchor = own[len(added) :], self._lead[len(self._text(added)) :], added[-1:]
        else:
            lead, anchor = self._lead, self._anchor
        words = [token for token in own if token not in self._reader.special]
        return self._reader.text(words, anchor).removeprefix(lead).removesuffix(self._ending)

    def _text(self, ids: tuple[int, ...]) -> str:
        return self._reader.text(ids, self._anchor)
