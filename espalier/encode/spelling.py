"""What each token spells, in bytes: for those who have to know which tokens can stand where in a text.

Tokenizers of bytes (GPT-2's way) write each byte of a token as a character; SentencePiece's write a space as
"▁", and a byte that is no character as "<0xE2>". Which it is, is told by the letters, and tried on a sample.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from espalier.core.errors import TemplateError

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from espalier.encode.tokenizer import Tokenizer

SAMPLE = "It's 12 o'clock, \"über\"."


@dataclass(frozen=True, slots=True)
class Spelling:
    """What tokens spell, and what a template writes around an answer.

    Attributes:
        tokens: bytes of each token that may stand in an answer, by its id; special ones are left out.
        lead: what the template writes between prompt and answer.
        ending: what it writes behind the answer.
        opening: tokens that it writes before all that, such as an empty thought.
    """

    tokens: Mapping[int, bytes]
    lead: str = ""
    ending: str = ""
    opening: tuple[int, ...] = ()


def spelt(tokenizer: Tokenizer) -> dict[int, bytes]:
    """Return the bytes of each token but those that were added.

    Raises:
        TemplateError: the tokenizer is of another kind.
    """
    added = tokenizer.added_tokens_decoder
    pieces = {token: piece for piece, token in tokenizer.get_vocab().items() if token not in added}
    letters = {letter for piece in pieces.values() for letter in piece}
    if letters <= BYTES.keys() and SPACE in letters:
        found = {token: bytes(BYTES[c] for c in piece) for token, piece in pieces.items()}
    elif "▁" in letters:
        found = {token: _sentencepiece(piece) for token, piece in pieces.items()}
    else:
        raise _unknown(tokenizer)
    read: list[int] = tokenizer(SAMPLE, add_special_tokens=False, truncation=False, verbose=False)[
        "input_ids"
    ]
    spells = b"".join(found.get(token, b"") for token in read)
    if spells.removeprefix(b" ") != SAMPLE.encode() and found.keys() >= {*read}:
        raise _unknown(tokenizer)
    return found


def _unknown(tokenizer: Tokenizer) -> TemplateError:
    return TemplateError(
        "What the tokenizer's tokens spell is not known: it is neither of bytes nor SentencePiece's.",
        where=tokenizer.name_or_path,
        hint="An answer cannot be constrained with it.",
    )


def _byte_characters() -> Iterator[tuple[str, int]]:
    """Yield the character that stands for each byte in GPT-2's vocabulary, and all that followed it."""
    shown = [*range(33, 127), *range(161, 173), *range(174, 256)]
    hidden = [byte for byte in range(256) if byte not in shown]
    yield from ((chr(byte), byte) for byte in shown)
    yield from ((chr(256 + place), byte) for place, byte in enumerate(hidden))


BYTES = dict(_byte_characters())
SPACE = "Ġ"


def _sentencepiece(piece: str) -> bytes:
    if len(piece) == 6 and piece.startswith("<0x"):
        return bytes.fromhex(piece[3:5])
    return piece.replace("▁", " ").encode()
