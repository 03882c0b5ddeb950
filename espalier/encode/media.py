"""Media in token ids: each has a block of ids of its own, past every vocabulary, and is a node of the tree.

A block's ids are made of the medium's sha256 and of the place in it, so that they are the same in every row,
run and process: pictures differ at their first token, and no branch falls inside one. Two media whose hashes
begin alike are refused, and what is remembered by ids is remembered by the whole sha256 (`named`;
docs/decisions/media.md).
"""

from __future__ import annotations

import copy
from dataclasses import replace
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import TemplateError
from espalier.core.records import Media, Text
from espalier.encode.template import RENDERING, Answered, Template

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

    from espalier.core.records import Message
    from espalier.encode.tokenizer import Tokenizer
    from espalier.encode.voice import Rendering

    Length = Callable[[Media], int]

FIRST = 1 << 61  # the ids from here on are media's; those below are the vocabulary's and a soft prompt's
PLACES = 1 << 13  # tokens of one medium at most
DIGITS = 12  # hexadecimal, of the sha256, that an id tells: 48 bits
# Stands for a medium in a conversation until its ids do; no text has it.
STAND_IN = "\u241fmedia\u241f"

_known: dict[int, str] = {}  # whose block an id is of, by its number: the same in every process


def block(media: Media, size: int) -> range:
    """Return the ids of a medium of `size` tokens.

    Raises:
        TemplateError: it has too many tokens or none, or another medium's sha256 begins alike.
    """
    if not 0 < size <= PLACES:
        raise TemplateError(f"A medium should have 1 to {PLACES} tokens; this has {size}.", where=media.uri)
    number = int(media.sha256[:DIGITS], 16)
    if _known.setdefault(number, media.sha256) != media.sha256:
        raise TemplateError(
            f"Two media have a sha256 that begins with {media.sha256[:DIGITS]}.",
            where=media.uri,
            hint="Save one of them again in another format.",
        )
    start = FIRST + number * PLACES
    return range(start, start + size)


def number_of(token: int) -> int:
    """Return which medium's an id past `FIRST` is: what the first digits of its sha256 say."""
    return (token - FIRST) // PLACES


def named(ids: Sequence[int]) -> list[int | str]:
    """Return ids with a medium's sha256 and the place in it where a block's id is: what keys are made of."""
    if not ids or max(ids) < FIRST:
        return list(ids)
    return [
        token if token < FIRST else f"{_known[number_of(token)]} {(token - FIRST) % PLACES}" for token in ids
    ]


def media_in(messages: Iterable[Message]) -> list[Media]:
    """Return the media of a conversation in their order."""
    return [part for turn in messages for part in turn.parts if isinstance(part, Media)]


class MediaTemplate(Template):
    """A template that renders media, in place of each the ids of its block.

    In the text it is a token that the model's own tokenizer does not have, so that what stands before and
    after it is read apart, as with the control tokens of models that were made for media.

    Args:
        tokenizer: as for `Template`.
        context: as for `Template`; a medium's tokens count.
        rendering: as for `Template`.
        length: how many tokens a medium has. Raises what is wrong with one that the model takes none of.
    """

    def __init__(
        self, tokenizer: Tokenizer, context: int, length: Length, rendering: Rendering = RENDERING
    ) -> None:
        from tokenizers import AddedToken

        own = cast("Any", copy.deepcopy(tokenizer))
        own.add_tokens([AddedToken(STAND_IN, normalized=False)])
        self._length = length
        self._plain = tokenizer
        super().__init__(own, context, rendering)
        self._stand_in: int = own.convert_tokens_to_ids(STAND_IN)

    def under(self, rendering: Rendering) -> Template:
        """Return this template with another rendering."""
        return MediaTemplate(self._plain, self.context, self._length, rendering).prefixed(self.prefix)

    def answered(self, messages: Sequence[Message]) -> Answered:
        """Return the ids of a conversation that ends with an answer; see `Template`. Raises TemplateError."""
        found = super().answered(self._bare(messages))
        media = media_in(messages)
        ids = self._expanded(found.ids, media)
        before = media[: found.ids[: found.prompt].count(self._stand_in)]
        return Answered(ids, len(self._expanded(found.ids[: found.prompt], before)))

    def prompt_ids(self, messages: Sequence[Message]) -> tuple[int, ...]:
        """Return the ids that a model is prompted with to answer `messages`. Raises TemplateError."""
        return self._expanded(super().prompt_ids(self._bare(messages)), media_in(messages))

    def read_ahead(self, conversations: Iterable[Sequence[Message]]) -> None:
        """Render and read conversations together, see `Template`."""
        super().read_ahead(map(self._bare, conversations))

    def is_own(self, messages: Sequence[Message]) -> bool:
        """Say whether the ids are the tokenizer's own, with stand-ins for media. Raises TemplateError."""
        return super().is_own(self._bare(messages))

    def prompt_text(self, messages: Sequence[Message]) -> str:
        """Return the text that a model is prompted with, a stand-in for each medium."""
        return super().prompt_text(self._bare(messages))

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the text that each token adds, a medium's at its first token."""
        return super().pieces([token if token < FIRST else self._stand_in for token in ids])

    def _bare(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Return the messages with stand-ins for media. Raises TemplateError for a text that has one."""
        if any(STAND_IN in str(getattr(part, "text", "")) for turn in messages for part in turn.parts):
            raise self._refused(f"A text holds {STAND_IN!r}, which stands for media here.", "Leave it out.")
        return tuple(
            replace(turn, parts=tuple(Text(STAND_IN) if isinstance(p, Media) else p for p in turn.parts))
            if media_in([turn])
            else turn
            for turn in messages
        )

    def _expanded(self, ids: tuple[int, ...], media: Sequence[Media]) -> tuple[int, ...]:
        """Return ids with a medium's block for each stand-in."""
        if ids.count(self._stand_in) != len(media):
            raise self._refused(
                f"The chat template shows {ids.count(self._stand_in)} media of a conversation that has "
                f"{len(media)}.",
                "Train a model whose template shows all turns.",
            )
        rest = iter(media)
        out: list[int] = []
        for token in ids:
            if token != self._stand_in:
                out.append(token)
            else:
                medium = next(rest)
                out.extend(block(medium, self._length(medium)))
        return tuple(out)
