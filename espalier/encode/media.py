"""Media in token ids: each has a block of ids of its own, past every vocabulary, and is a node of the tree.

A block's ids are made of the medium's sha256 and of the place in it, so that they are the same in every row,
run and process: pictures differ at their first token, and no branch falls inside one. Two media whose hashes
begin alike are refused, and what is remembered by ids is remembered by the whole sha256 (`named`;
docs/decisions/media.md).

In a conversation's text a medium is a token that the model's own tokenizer does not have, so that what stands
before and after it is read apart, as with the control tokens of models that were made for media.
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from espalier.core.errors import TemplateError
from espalier.core.records import Media, Text, Thought, media_in
from espalier.media.kinds import WORDS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from espalier.core.records import Message
    from espalier.encode.tokenizer import Tokenizer

# How many tokens a medium has. It raises what is wrong with one that the model cannot take.
Length: TypeAlias = Callable[[Media], int]

FIRST = 1 << 61  # the ids from here on are media's; those below are the vocabulary's and a soft prompt's
PLACES = 1 << 13  # tokens of one medium at most
DIGITS = 12  # hexadecimal, of the sha256, that an id tells: 48 bits
# Stands for a medium in a conversation until its ids do; no text has it.
STAND_IN = "\u241fmedia\u241f"

_known: dict[int, Media] = {}  # whose block an id is of, by its number


def number_of(media: Media) -> int:
    """Return what the ids of a medium tell of its sha256."""
    return int(media.sha256[:DIGITS], 16)


def block(media: Media, size: int) -> range:
    """Return the ids of a medium of `size` tokens.

    Raises:
        TemplateError: it has too many tokens or none, or another medium's sha256 begins alike.
    """
    if not 0 < size <= PLACES:
        raise TemplateError(f"A medium should have 1 to {PLACES} tokens; this has {size}.", where=media.uri)
    number = number_of(media)
    if _known.setdefault(number, media) != media:
        raise TemplateError(
            f"Two media have a sha256 that begins with {media.sha256[:DIGITS]}.",
            where=media.uri,
            hint="Save one of them again in another format.",
        )
    start = FIRST + number * PLACES
    return range(start, start + size)


def medium(token: int) -> Media:
    """Return whose block an id is of, as this process has met it."""
    return _known[(token - FIRST) // PLACES]


def named(ids: Sequence[int]) -> list[int | str]:
    """Return ids with a medium's sha256 and the place in it where a block's id is: what keys are made of."""
    if max(ids, default=0) < FIRST:
        return list(ids)
    return [token if token < FIRST else f"{medium(token).sha256} {(token - FIRST) % PLACES}" for token in ids]


def with_stand_in(tokenizer: Tokenizer) -> Tokenizer:
    """Return a copy of a tokenizer that reads the stand-in as one token."""
    from tokenizers import AddedToken

    own = cast("Any", copy.deepcopy(tokenizer))
    own.add_tokens([AddedToken(STAND_IN, normalized=False)])
    return own


@dataclass(frozen=True)
class Blocks:
    """Puts blocks of ids in the places of media.

    Attributes:
        length: how many tokens a medium has; None where the model takes none.
        stand_in: the id of the stand-in.
    """

    length: Length | None
    stand_in: int

    def bare(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Return the messages with stand-ins for media.

        Raises:
            TemplateError: the model takes no media, or a text holds a stand-in.
        """
        media = media_in(messages)
        if self.length is None:
            if media:
                raise TemplateError(
                    f"The row has {WORDS[media[0].kind]}, and the model reads text only.",
                    hint="Name what sees for it in model.encoders, or another model; or leave such rows out.",
                )
            return tuple(messages)
        texts = (part.text for turn in messages for part in turn.parts if isinstance(part, Text | Thought))
        if any(STAND_IN in text for text in texts):
            raise TemplateError(
                f"A text holds {STAND_IN!r}, which stands for media here.", hint="Cut it out."
            )
        return tuple(turn.showing(lambda _: [Text(STAND_IN)]) for turn in messages)

    def size(self, media: Media) -> int:
        """Return how many tokens a medium has.

        Raises:
            TemplateError: the model takes none, or none of this kind, or the medium cannot be read.
        """
        if self.length is None:
            raise TemplateError(
                f"Here is {WORDS[media.kind]}, and the model reads text only.",
                hint="Ask one that was tuned with an encoder for it in model.encoders, or leave it out.",
            )
        return self.length(media)

    def put(self, ids: tuple[int, ...], media: Sequence[Media]) -> tuple[int, ...]:
        """Return ids with a medium's block for each stand-in.

        Raises:
            TemplateError: the template shows other media than there are.
        """
        if (shown := ids.count(self.stand_in)) != len(media):
            raise TemplateError(
                f"The chat template shows {shown} media of a conversation that has {len(media)}.",
                hint="Train a model whose template shows all turns.",
            )
        if not media or self.length is None:
            return ids
        rest = iter(media)
        out: list[int] = []
        for token in ids:
            if token == self.stand_in:
                own = next(rest)
                out.extend(block(own, self.length(own)))
            else:
                out.append(token)
        return tuple(out)

    def pieces(self, ids: Sequence[int], read: Callable[[Sequence[int]], list[str]]) -> list[str]:
        """Return the text that each token adds, as `read` has it of words; a medium's stands at its first."""
        if max(ids, default=0) < FIRST:
            return read(ids)
        first = [token < FIRST or (token - FIRST) % PLACES == 0 for token in ids]
        kept = [token for token, begins in zip(ids, first, strict=True) if begins]
        texts = iter(read([token if token < FIRST else self.stand_in for token in kept]))
        names = (f"⟨{WORDS[medium(token).kind]}⟩" for token in kept if token >= FIRST)
        return [
            (next(texts) if token < FIRST else next(texts).replace(STAND_IN, next(names))) if begins else ""
            for token, begins in zip(ids, first, strict=True)
        ]
