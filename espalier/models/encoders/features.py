"""What encoders made of media, kept on disk: a second epoch, a second run and a study encode nothing.

A file of half-precision numbers for each medium, by its sha256, in a folder for each encoder with its weights
and settings. One that is damaged is made again. Few are held in memory, the rest is read as it is needed.
"""

from __future__ import annotations

import contextlib
import io
from collections import OrderedDict
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch

from espalier.core.errors import DataError, ModelError, TemplateError
from espalier.core.files import file_sha256, write_atomic
from espalier.core.text import counted
from espalier.encode.media import Takes
from espalier.media.inspection import Refused, inspect, ledger
from espalier.media.kinds import WORDS

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from numpy.typing import NDArray

    from espalier.core.recipe import Choice
    from espalier.core.records import Media
    from espalier.media.inspection import Entry, Finding
    from espalier.media.pictures import Picture
    from espalier.media.sounds import Sound
    from espalier.models.encoders.encoders import Encoder
    from espalier.models.media import Grid, Manner

TOGETHER = 16  # media that are encoded at a time
HELD = 256 << 20  # bytes of features in memory


class KeptFeatures:
    """The features of media, from disk.

    Args:
        folder: where features of all encoders are.
        encoders: of each kind of media.
        choices: as which recipes name them.
        source: folder of the model whose own encoders they are.

    Attributes:
        encoded: media that were encoded, and not found on disk.
    """

    def __init__(
        self,
        folder: Path,
        encoders: Mapping[str, Encoder],
        choices: Sequence[Choice] = (),
        source: Path | None = None,
    ) -> None:
        self._folders = {kind: folder / encoder.key for kind, encoder in encoders.items()}
        self.choices = tuple(choices)
        self.source = source
        self.encoders = encoders
        self._ledger = folder
        self._known: dict[str, Entry] | None = None  # what is in it, once it is read
        self._opened: dict[str, Finding] = {}
        self._held: OrderedDict[Media, torch.Tensor] = OrderedDict()
        self._bytes = 0
        self.encoded = 0

    @property
    def keys(self) -> dict[str, str]:
        """What features depend on besides the files, by kind."""
        return {kind: encoder.key for kind, encoder in self.encoders.items()}

    @property
    def sizes(self) -> dict[str, int]:
        """Numbers of a token, by kind."""
        return {kind: encoder.width for kind, encoder in self.encoders.items()}

    def open(
        self, media: Iterable[Media], say: Callable[[int, int], object] = lambda done, total: None
    ) -> None:
        """Open each file once, and know what it holds or why it cannot be used; see `media/inspection.py`."""
        longest = min((e.longest for e in self.encoders.values() if e.longest is not None), default=None)
        if self._known is None:
            self._known = ledger(self._ledger)
        self._opened |= inspect(media, self._ledger, longest=longest, known=self._known, say=say)

    def fits(self, media: Media) -> bool:
        """Say whether a medium that was opened can be used."""
        return media.kind in self.encoders and not isinstance(self._found(media), Refused)

    @property
    def takes(self) -> Takes:
        """What media are to a model with these encoders."""
        shown = {kind: one.shown for kind, one in self.encoders.items() if one.shown}
        return Takes(self.length, shown, self.expansion if shown else None)

    def length(self, media: Media) -> int:
        """Return how many tokens a medium has. Raises TemplateError, see `usable`."""
        encoder, found = self.usable(media)
        tokens = encoder.length(found)
        if type(tokens) is not int:
            name = Path(media.uri).name
            raise _wrong(encoder, f"says that {name} has {tokens!r} tokens", "a whole number")
        return tokens

    def expansion(self, media: Media) -> tuple[int, ...]:
        """Return all tokens in a medium's place, `SOFT` for its own. Raises TemplateError, see `usable`."""
        encoder, found = self.usable(media)
        assert encoder.expansion
        assert encoder.shown
        made = encoder.expansion(found)
        if (made.before, made.after) != (encoder.shown.before, encoder.shown.after):
            raise TemplateError(
                "The model's processor puts other text around it than around other media: "
                f"{made.before!r} and {made.after!r}.",
                hint="Turn off what cuts pictures up in its settings (preprocessor_config.json).",
            )
        return made.ids

    @property
    def manner(self) -> Manner:
        """How the layers of the language model take media; of all kinds alike."""
        return next(iter(self.encoders.values())).manner

    def grid(self, media: Media) -> Grid | None:
        """Return where a medium's tokens are for positions of several dimensions; None for others."""
        encoder, found = self.usable(media)
        return encoder.grid(found) if encoder.grid else None

    def usable(self, media: Media) -> tuple[Encoder, Picture | Sound]:
        """Return what encodes a medium, and what its file holds.

        Raises:
            TemplateError: the model takes none of its kind, or the file cannot be used.
        """
        encoder = self.encoders.get(media.kind)
        if encoder is None:
            raise TemplateError(
                f"The row has {WORDS[media.kind]}, which the model takes none of.",
                hint=f"Name an encoder for {media.kind} in model.encoders, or leave such rows out.",
            )
        if isinstance(found := self._found(media), Refused):
            name = Path(media.uri).name
            raise TemplateError(f"{name}: {found.reason}", hint=found.hint)
        return encoder, found

    def account(self, media: Media) -> dict[str, Any]:
        """Return what its file holds and how many tokens a medium has, or why it cannot be used; no path."""
        one = {"sha256": media.sha256, "kind": media.kind, "name": Path(media.uri).name}
        found = asdict(self._found(media))
        return {**one, "tokens": self.length(media), **found} if self.fits(media) else {**one, **found}

    def _found(self, media: Media) -> Finding:
        if media.sha256 not in self._opened:
            self.open([media])
        return self._opened[media.sha256]

    def having(self, encoders: Mapping[str, Encoder]) -> KeptFeatures:
        """Return the same of other encoders."""
        return KeptFeatures(self._ledger, encoders, self.choices, self.source)

    def __deepcopy__(self, memo: object) -> KeptFeatures:
        """Return itself: it changes with no training."""
        return self

    def make(
        self, media: Sequence[Media], say: Callable[[int, int], object] = lambda done, all: None
    ) -> None:
        """Encode what is not on disk. `say` is told how many of how many are done.

        Raises:
            DataError: a file has changed or cannot be read any more.
            RunError: the disk is full.
        """
        lacking = [one for one in dict.fromkeys(media) if not self._path(one).exists()]
        done = 0
        for kind, encoder in self.encoders.items():
            own = [one for one in lacking if one.kind == kind]
            for start in range(0, len(own), TOGETHER):
                self._encode(encoder, own[start : start + TOGETHER])
                done += len(own[start : start + TOGETHER])
                say(done, len(lacking))

    def of(self, media: Media) -> torch.Tensor:
        """Return a medium's features [N, F]; see `models.media.Features`."""
        found = self._held.get(media)
        if found is None:
            found = self._read(media)
            self._held[media] = found
            self._bytes += found.nbytes
            while self._bytes > HELD and len(self._held) > 1:
                self._bytes -= self._held.popitem(last=False)[1].nbytes
        self._held.move_to_end(media)
        return found

    def _path(self, media: Media) -> Path:
        return self._folders[media.kind] / media.sha256[:2] / f"{media.sha256}.npy"

    def _read(self, media: Media) -> torch.Tensor:
        with contextlib.suppress(OSError, ValueError, EOFError):  # damaged, or cleared away meanwhile
            found = np.load(self._path(media))
            if self._right(found, media):
                return torch.from_numpy(found)
        self._encode(self.encoders[media.kind], [media])
        return torch.from_numpy(np.load(self._path(media)))

    def _right(self, found: NDArray[np.floating], media: Media) -> bool:
        """Say whether what is on disk is as long and as broad as the encoder says now."""
        tokens = self.length(media) if media.sha256 in self._opened else len(found)
        return found.shape == (tokens, self.encoders[media.kind].width)

    def _encode(self, encoder: Encoder, media: Sequence[Media]) -> None:
        for one in media:
            if file_sha256(Path(one.uri)) != one.sha256:
                raise DataError(
                    "The file has changed: it is not the one that was read with the rows.",
                    where=one.uri,
                    hint="Put the old one back, or start again.",
                )
        with torch.autocast("cpu", enabled=False):  # who asks may compute in bf16; what is kept is for all
            made = encoder.encode([Path(one.uri) for one in media])
        kept = checked(made, encoder, [(Path(one.uri).name, self.length(one)) for one in media])
        self.encoded += len(media)
        for one, features in zip(media, kept, strict=True):
            file = io.BytesIO()  # on a full disk NumPy would not say why it stops
            np.save(file, features)
            write_atomic(self._path(one), file.getvalue())


def checked(made: object, encoder: Encoder, files: Sequence[tuple[str, int]]) -> list[NDArray[np.floating]]:
    """Return what an encoder made of files, each with its tokens as the encoder's `length` has them.

    Raises:
        ModelError: it is not that: another count, shape or type, or numbers that half precision has not.
    """
    several = cast("Sequence[object]", made if isinstance(made, list | tuple | torch.Tensor) else [])
    if len(several) != len(files):
        what = counted(len(several), "result") if several else f"'{type(made).__name__}'"
        raise _wrong(
            encoder, f"gave {what} for {counted(len(files), 'file')}", "a list with a tensor for each"
        )
    kept: list[NDArray[np.floating]] = []
    for (name, tokens), features in zip(files, several, strict=True):
        shape = [tokens, encoder.width]
        if not isinstance(features, torch.Tensor) or list(features.shape) != shape:
            got = list(features.shape) if isinstance(features, torch.Tensor) else type(features).__name__
            said = f"{shape}, the tokens that its `length` says of this file and its `width`"
            raise _wrong(encoder, f"made {got} of {name}", said)
        written = features.detach().to("cpu", encoder.dtype)
        if not written.isfinite().all():
            most = f"{torch.finfo(encoder.dtype).max:,.0f}"
            what = f"numbers past {most}" if features.isfinite().all() else "NaN or infinite numbers"
            raise _wrong(encoder, f"made {what} of {name}", "those that are kept in half precision")
        kept.append(written.numpy())
    return kept


def _wrong(encoder: Encoder, what: str, expected: str) -> ModelError:
    return ModelError(
        f"The encoder '{encoder.name}' {what}; expected {expected}.",
        where="model.encoders",
        hint="Mend what the encoder's function returns.",
    )
