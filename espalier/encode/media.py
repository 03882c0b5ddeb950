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
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeAlias, cast

from espalier.core.errors import TemplateError
from espalier.core.records import Media, Text, Thought, media_in
from espalier.media.kinds import WORDS

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from espalier.core.records import Message
    from espalier.encode.tokenizer import Tokenizer

# How many tokens a medium has. It raises what is wrong with one that the model cannot take.
Length: TypeAlias = Callable[[Media], int]

FIRST = 1 << 61  # the ids from here on are media's; those below are the vocabulary's and a soft prompt's
PLACES = 1 << 13  # tokens of one medium at most
DIGITS = 12  # hexadecimal, of the sha256, that an id tells: 48 bits
# Stand for a medium in a conversation until its ids do; no text has them.
STAND_INS = {"image": "\u241fimage\u241f", "audio": "\u241faudio\u241f"}
SHOWN_AS = re.compile("|".join(STAND_INS.values()))
SOFT = -1  # in an expansion, in the place of each token of the medium itself

_known: dict[int, Media] = {}  # whose block an id is of, by its number


@dataclass(frozen=True)
class Shown:
    """How a chat template of a model that was made for media shows one.

    Attributes:
        token: what the template writes in its place.
        before: ordinary text that the model's processor puts before the medium's tokens.
        after: the same behind them.
    """

    token: str
    before: str = ""
    after: str = ""


@dataclass(frozen=True)
class Expansion:
    """What stands in the place of a medium of a certain size.

    Attributes:
        ids: of the tokens in its place, `SOFT` for each of the medium's own.
        before: ordinary text before them, which is read together with the text that comes before.
        after: the same behind them.
    """

    ids: tuple[int, ...]
    before: str
    after: str


@dataclass(frozen=True)
class Takes:
    """What media are to a model.

    Attributes:
        length: how many tokens of its own a medium has.
        shown: how the model's own template shows media, by kind; without, they stand where rows have them.
        expansion: from a medium to all tokens in its place, `SOFT` for its own; None where it has no others.
    """

    length: Length
    shown: Mapping[str, Shown] = field(default_factory=dict[str, Shown])
    expansion: Callable[[Media], tuple[int, ...]] | None = None

    def ids(self, media: Media) -> tuple[int, ...]:
        """Return the ids in the place of a medium. Raises TemplateError, see `length` and `block`."""
        own = block(media, self.length(media))
        if self.expansion is None:
            return tuple(own)
        places = iter(own)
        return tuple(next(places) if token == SOFT else token for token in self.expansion(media))


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


def media_tokens(ids: Iterable[int]) -> int:
    """Return how many of some ids are media's."""
    return sum(token >= FIRST for token in ids)


def named(ids: Sequence[int]) -> list[int | str]:
    """Return ids with a medium's sha256 and the place in it where a block's id is: what keys are made of."""
    if max(ids, default=0) < FIRST:
        return list(ids)
    return [token if token < FIRST else f"{medium(token).sha256} {(token - FIRST) % PLACES}" for token in ids]


def with_stand_ins(tokenizer: Tokenizer, takes: Takes) -> Tokenizer:
    """Return a copy of a tokenizer that reads stand-ins as tokens, and whose templates write them for media.

    Raises:
        TemplateError: a template of a model that was made for media shows none.
    """
    from tokenizers import AddedToken

    own = cast("Any", copy.deepcopy(tokenizer))
    own.add_tokens([AddedToken(name, normalized=False) for name in STAND_INS.values()])
    for kind, shown in takes.shown.items():
        written = shown.before + STAND_INS[kind] + shown.after
        templates: Any = own.chat_template
        if isinstance(templates, dict):
            named = cast("dict[str, str]", templates)
            own.chat_template = {name: _writing(text, shown.token, written) for name, text in named.items()}
        else:
            own.chat_template = _writing(str(templates), shown.token, written)
    return own


def stand_ins_of(tokenizer: Tokenizer) -> dict[str, int]:
    """Return the ids of the stand-ins of a tokenizer that reads them, by kind; none of another."""
    added = tokenizer.get_added_vocab()
    return {kind: added[name] for kind, name in STAND_INS.items() if name in added}


def _writing(source: str, token: str, written: str) -> str:
    """Return a chat template's source that writes a text in the place of a token. Raises TemplateError."""
    first, *rest = source.split(token)
    if not rest:
        raise TemplateError(
            f"The chat template writes no {token!r}, which stands for a medium.",
            hint="Take the template that belongs to the model's processor (chat_template.jinja).",
        )
    literal = re.sub(r"['\"\\]", r"\\\g<0>", written).replace("\n", "\\n")
    out = first
    for part in rest:
        # Of plain text Jinja drops a line's end behind a block; of a literal nothing.
        inside = max(out.rfind("{{"), out.rfind("{%")) > max(out.rfind("}}"), out.rfind("%}"))
        out += (literal if inside else "{{ '" + literal + "' }}") + part
    return out


@dataclass(frozen=True)
class Blocks:
    """Puts ids in the places of media.

    Attributes:
        takes: what media are to the model; None where it takes none.
        tokens: the ids of the stand-ins, by kind.
    """

    takes: Takes | None
    tokens: Mapping[str, int]

    def bare(self, messages: Sequence[Message]) -> tuple[Message, ...]:
        """Return the messages with stand-ins for media.

        Raises:
            TemplateError: the model takes no media, or a text holds a stand-in.
        """
        media = media_in(messages)
        if self.takes is None:
            if media:
                raise TemplateError(
                    f"The row has {WORDS[media[0].kind]}, and the model reads text only.",
                    hint="Name what sees for it in model.encoders, or another model; or leave such rows out.",
                )
            return tuple(messages)
        texts = (part.text for turn in messages for part in turn.parts if isinstance(part, Text | Thought))
        if said := next(filter(None, map(SHOWN_AS.search, texts)), None):
            raise TemplateError(
                f"A text holds {said.group()!r}, which stands for media here.", hint="Cut it out."
            )
        return tuple(turn.showing(lambda one: [Text(STAND_INS[one.kind])]) for turn in messages)

    def size(self, media: Media) -> int:
        """Return how many tokens a medium has.

        Raises:
            TemplateError: the model takes none, or none of this kind, or the medium cannot be read.
        """
        if self.takes is None:
            raise TemplateError(
                f"Here is {WORDS[media.kind]}, and the model reads text only.",
                hint="Ask one that was tuned with an encoder for it in model.encoders, or leave it out.",
            )
        return self.takes.length(media)

    def put(self, ids: tuple[int, ...], media: Sequence[Media]) -> tuple[int, ...]:
        """Return ids with those of a medium for each stand-in.

        Raises:
            TemplateError: the template shows other media than there are.
        """
        kinds = {token: kind for kind, token in self.tokens.items()}
        shown = [kinds[token] for token in ids if token in kinds]
        if sorted(shown) != sorted(one.kind for one in media):
            raise TemplateError(
                f"The chat template shows {len(shown)} media of a conversation that has {len(media)}.",
                hint="Train a model whose template shows all turns.",
            )
        if not media or self.takes is None:
            return ids
        rest = {kind: iter([one for one in media if one.kind == kind]) for kind in self.tokens}
        out: list[int] = []
        for token in ids:
            if token in kinds:
                out.extend(self.takes.ids(next(rest[kinds[token]])))
            else:
                out.append(token)
        return tuple(out)

    def pieces(self, ids: Sequence[int], read: Callable[[Sequence[int]], list[str]]) -> list[str]:
        """Return the text that each token adds, as `read` has it of words; a medium's stands at its first."""
        if max(ids, default=0) < FIRST:
            return read(ids)
        first = [token < FIRST or (token - FIRST) % PLACES == 0 for token in ids]
        kept = [token for token, begins in zip(ids, first, strict=True) if begins]
        words = [token if token < FIRST else self.tokens[medium(token).kind] for token in kept]
        texts = iter(read(words))
        names = (f"⟨{WORDS[medium(token).kind]}⟩" for token in kept if token >= FIRST)
        return [
            (next(texts) if token < FIRST else SHOWN_AS.sub(lambda _: next(names), next(texts), count=1))
            if begins
            else ""
            for token, begins in zip(ids, first, strict=True)
        ]


def text_part(text: str) -> dict[str, str]:
    """Return a text as a part of a content, as chat templates are given it."""
    return {"type": "text", "text": text}


def in_parts(content: str) -> list[dict[str, str]]:
    """Return a text with stand-ins as the list of parts that templates of models for media are given."""
    kinds = {name: kind for kind, name in STAND_INS.items()}
    pieces = re.split(f"({SHOWN_AS.pattern})", content)
    parts = [{"type": kinds[one]} if one in kinds else text_part(one) for one in pieces if one]
    return parts or [text_part("")]
