"""A tokenizer's ids of a text and the text of ids: its own, only that a piece which texts share is read once.

A tokenizer looks for its added tokens first, and reads what lies between two of them by itself. So a text can
be cut behind each of those, and the pieces read apart and remembered: a prompt and the same prompt with its
answer differ in the last. Tokens that take white space beside them, or are found in normalised text, are not
cut at; neither is where a sample read both ways comes out different, or the tokenizer is none of that kind.
"""

from __future__ import annotations

import os
import re
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache
from typing import TYPE_CHECKING, Any, Protocol

from espalier.encode.spelling import spelt

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

LONGEST_CHARACTER = 4  # bytes, and so tokens
REMEMBERED = 2048  # pieces
TOGETHER = 64  # pieces from which on several threads read
THREADS = 8  # at most


class Tokenizer(Protocol):
    """What is used of a transformers tokenizer, besides `apply_chat_template` (`voice.py`)."""

    chat_template: Any
    eos_token: Any
    special_tokens_map: Mapping[str, Any]
    name_or_path: str
    is_fast: bool
    backend_tokenizer: Any
    added_tokens_decoder: Mapping[int, Any]
    chat_control_tokens: Any

    def __call__(
        self, text: str | list[str], *, add_special_tokens: bool, truncation: bool, verbose: bool
    ) -> Any:
        """Return a mapping with `input_ids`; of a list of texts a list of them."""
        ...

    def decode(self, token_ids: Sequence[int], *, skip_special_tokens: bool) -> Any:
        """Return the text of ids."""
        ...

    def get_added_vocab(self) -> dict[str, int]:
        """Return the special and added tokens."""
        ...

    def get_vocab(self) -> dict[str, int]:
        """Return all tokens."""
        ...


class Reader:
    """Reads texts with a tokenizer. `special` are the ids of its special tokens."""

    def __init__(self, tokenizer: Tokenizer, sample: str) -> None:
        self._tokenizer = tokenizer
        # Each id once: the tokenizer makes a new number for each token, four times what a place for it takes.
        self._numbers: dict[int, int] = {}
        added = tokenizer.added_tokens_decoder
        self.special = frozenset(token for token, kind in added.items() if kind.special)
        exact = {kind.content: kind for kind in added.values() if not kind.normalized}
        self._exact = any_of(exact)
        cut = {name for name, kind in exact.items() if not (kind.lstrip or kind.rstrip or kind.single_word)}
        ids = {kind.content: token for token, kind in added.items()}
        self._cut = {name: ids[name] for name in cut} if tokenizer.is_fast else {}
        # What was read ahead: texts as their pieces, and the ids of these.
        self._ahead: dict[str, list[tuple[str, str]]] = {}
        self._known: dict[tuple[str, str], tuple[int, ...]] = {}
        self._threads = min(THREADS, os.cpu_count() or 1) if tokenizer.is_fast else 1
        self._remembered = lru_cache(REMEMBERED)(self._piece)
        # The library behind a fast tokenizer reads without places of tokens in texts, which nobody asks for,
        # in two thirds of the time; unless transformers does more to a text than it.
        self._plainly = tokenizer.is_fast and self._read(sample) == self._read_plainly([sample])[0]
        if self.ids(sample) != self.whole(sample):
            self._cut = {}

    def ids(self, text: str) -> tuple[int, ...]:
        """Return the ids of a text, as `whole` does."""
        return self._joined(self._ahead.pop(text, None) or [*self._pieces(text)])

    def _joined(self, pieces: Iterable[tuple[str, str]]) -> tuple[int, ...]:
        ids: list[int] = []
        for before, piece in pieces:
            if before:
                ids.append(self._cut[before])
            if piece:
                ids += self._known.get((before, piece)) or self._remembered(before, piece)
        return tuple(ids)

    def read_ahead(self, texts: Sequence[str]) -> None:
        """Read at once what `ids` will be asked for; a tokenizer takes less for many texts than for each."""
        self._ahead = {text: [*self._pieces(text)] for text in texts}
        pieces = [*dict.fromkeys(piece for cut in self._ahead.values() for piece in cut if piece[1])]
        read = self._read_together([before + text for before, text in pieces])
        self._known = {
            piece: self._interned(ids[1:] if piece[0] else ids)
            for piece, ids in zip(pieces, read, strict=True)
        }

    def whole(self, text: str) -> tuple[int, ...]:
        """Return the ids of a text that the tokenizer is given whole: the slow twin of `ids`."""
        return self._interned(self._read(text))

    def spelt(self) -> dict[int, bytes]:
        """Return what each token spells; see `spelling.spelt`. Raises TemplateError."""
        return spelt(self._tokenizer)

    def _pieces(self, text: str) -> Iterator[tuple[str, str]]:
        """Yield what is read apart: the added token before a piece, '' at the beginning, and the piece."""
        start, before = 0, ""
        for match in self._exact.finditer(text) if self._cut else ():
            if (name := match.group()) in self._cut:
                yield before, text[start : match.start()]
                start, before = match.end(), name
        yield before, text[start:]

    def _piece(self, before: str, text: str) -> tuple[int, ...]:
        """Return the ids of a piece of text behind the added token `before`, or at the beginning."""
        return self.whole(before + text)[1:] if before else self.whole(text)

    def _read(self, text: str | list[str]) -> list[Any]:
        return self._tokenizer(text, add_special_tokens=False, truncation=False, verbose=False)["input_ids"]

    def _read_plainly(self, texts: list[str]) -> list[Any]:
        read = self._tokenizer.backend_tokenizer.encode_batch_fast(texts, add_special_tokens=False)
        return [one.ids for one in read]

    def _read_together(self, texts: list[str]) -> list[Any]:
        """Return the ids of many texts; a fast tokenizer lets other threads go on, so they share the work."""
        if len(texts) < TOGETHER or self._threads == 1:
            return self._read(texts) if texts else []
        self._read(texts[0])  # by which transformers tells the library not to cut, to fill up or to split
        share = -(-len(texts) // self._threads)
        parts = [texts[at : at + share] for at in range(0, len(texts), share)]
        with ThreadPoolExecutor(self._threads) as threads:
            read = threads.map(self._read_plainly if self._plainly else self._read, parts)
            return [ids for part in read for ids in part]

    def _interned(self, ids: list[int]) -> tuple[int, ...]:
        try:
            return tuple(map(self._numbers.__getitem__, ids))
        except KeyError:
            return tuple(map(self._numbers.setdefault, ids, ids))

    def text(self, ids: Sequence[int], after: Sequence[int] = ()) -> str:
        """Return what the ids add to the text of those before them; as some decode, that loses no space."""
        before = self._decoded(after)
        text = self._decoded([*after, *ids])
        return text[len(before) :] if text.startswith(before) else self._decoded(ids)

    def pieces(self, ids: Sequence[int]) -> list[str]:
        """Return the text that each token adds, special tokens included, for showing.

        A character that is split over tokens is shown at its last one. A token is decoded after the one
        before it, for by themselves some tokenizers' tokens lose the space they begin with.
        """
        pieces: list[str] = []
        start, before = 0, ""
        for end in range(1, len(ids) + 1):
            text = self._decoded(ids[start:end])
            if text.endswith("\ufffd") and end < len(ids) and end - start <= LONGEST_CHARACTER:
                pieces.append("")
                continue
            pieces.append(text[len(before) :])
            start = end - 1
            before = self._decoded([ids[start]])
        return pieces

    def _decoded(self, ids: Sequence[int]) -> str:
        return str(self._tokenizer.decode(list(ids), skip_special_tokens=False))


def any_of(names: Iterable[str]) -> re.Pattern[str]:
    """Return what finds any of the names, of several at one place the longest; or nothing."""
    longest = sorted((name for name in names if name), key=lambda name: (-len(name), name))
    return re.compile("|".join(map(re.escape, longest)) or "(?!)")
