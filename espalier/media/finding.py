"""From what a row says of a picture or a sound to a `Media`: where its bytes lie, and their sha256.

A row may name a file, or hold the bytes in one of the ways that data sets have. What is no file yet is
written once to a shelf, a folder in which a file is called by its sha256, so that all that comes later deals
with files only. Nothing is decoded here, but for pictures and arrays that a program hands over in memory.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import itertools
import os
import re
import stat
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias, cast
from urllib.parse import unquote, unquote_to_bytes

from espalier.core.errors import DataError, nearest
from espalier.core.files import write_atomic
from espalier.core.records import Media
from espalier.core.signatures import HEAD
from espalier.media.fetching import fetched
from espalier.media.kinds import READ, WORDS, Form, form_of

if TYPE_CHECKING:
    from espalier.media.kinds import Kind

State: TypeAlias = tuple[int, int, int, int]

_HALVES = re.compile("[\ud800-\udfff]")
SHOWN = 80  # letters of a value that an error shows
NAMES = 2000  # in a folder that are looked through for the one that is meant
BASE64 = 64  # letters that a text has at least, and of which the first tell, where it is no path
FORMS = (
    "Give a path, a data: URL, bytes, {bytes, path}, {array, sampling_rate}, a Pillow picture or an array."
)
OVER = "Paths are relative to {base}; task.media names another folder."


@dataclass
class Finder:
    """Finds media, each file read once however many rows name it.

    Attributes:
        base: the folder that relative paths start from: that of the data file, or `task.media`.
        shelf: the folder for bytes that are no file yet: `shelf/ab/abcdef….png`; made with the first.
        fetch: whether what a URL names is fetched; once, a second run takes it from the shelf.
    """

    base: Path
    shelf: Path
    fetch: bool = False
    _read: dict[str, tuple[State, Media]] = field(
        default_factory=dict[str, "tuple[State, Media]"], repr=False
    )

    def find(self, value: object, kind: Kind | None, where: str) -> Media:
        """Return the picture or sound that a row gives as `value`.

        Args:
            value: a path; a `data:`, `file:` or `http(s):` URL; base64; bytes; {bytes, path}; {url}; {data},
                which is base64; {array, sampling_rate}; a picture of Pillow's; an array of pixels,
                [height, width] or with 1, 3 or 4 colours, of bytes or of 0 to 1.
            kind: what it has to be; None where either will do. The content tells what it is.
            where: the file and row, for errors.

        Raises:
            DataError: nothing is there, or none of these, or of the other kind; what to do.
            RunError: the shelf cannot be written, such as on a full disk.
            MissingExtra: it is in memory, and the library that made it is gone.
        """
        try:
            return self._found(value, kind)
        except DataError as error:
            raise DataError(error.message, where=where, hint=error.hint) from None

    def _found(self, value: object, kind: Kind | None) -> Media:
        match value:
            case str():
                return self._text(value, kind)
            case os.PathLike():
                return self._file(os.fspath(cast("os.PathLike[str]", value)), kind)
            case bytes() | bytearray():
                return self._shelved(bytes(value), kind, f"What the {len(value):,} bytes hold")
            case Mapping():
                return self._struct(cast("Mapping[str, object]", value), kind)
            case _:
                return self._shelved(_from_memory(value), kind, "What is in memory")

    def _text(self, value: str, kind: Kind | None) -> Media:
        if _HALVES.search(value):
            raise DataError("The text has half a character (a lone surrogate), which no name of a file has.")
        scheme = value[:8].lower()
        if scheme.startswith("data:"):
            return self._shelved(_inline(value), kind, "What the data: URL holds")
        if scheme.startswith(("http://", "https://")):
            return self._fetched(value, kind)
        if scheme.startswith("file://"):
            return self._file(unquote(value[len("file://") :]), kind)
        if (data := _base64(value)) is not None:
            return self._shelved(data, kind, "What the base64 says")
        return self._file(value, kind)

    def _struct(self, value: Mapping[str, object], kind: Kind | None) -> Media:
        """Return what an object holds: bytes before their path, which names a file that need not be here."""
        if isinstance(data := value.get("bytes"), bytes | bytearray):
            return self._shelved(
                bytes(data), kind, f"'{_short(value['path'])}'" if value.get("path") else "It"
            )
        if value.get("array") is not None:
            return self._shelved(_heard(value), kind, "The array")
        if isinstance(data := value.get("data"), str):
            return self._shelved(_unpacked(data), kind, "What the base64 says")
        inner = next((value[key] for key in ("path", "url", "file_name") if value.get(key)), None)
        if isinstance(inner, str):
            return self._text(inner, kind)
        keys = ", ".join(str(key) for key in value) or "nothing"
        raise DataError(f"An object with {keys} is no picture or sound.", hint=FORMS)

    def _file(self, name: str, kind: Kind | None) -> Media:
        """Return the file of that name, read unless it has been. Raises DataError without its place."""
        base = os.path.abspath(self.base)
        path = os.path.normpath(os.path.join(base, name))
        if not name.strip() or "\0" in name:
            raise DataError(f"'{_short(name)}' is no path.", hint=FORMS)
        if not os.path.isabs(name) and not Path(path).is_relative_to(base):
            raise DataError(
                f"The path '{_short(name)}' leaves the folder {base}.", hint=OVER.format(base=base)
            )
        state = self._state(path, name, base)
        known = self._read.get(path)
        if known is None or known[0] != state:
            known = (state, _opened(path, kind, f"'{_short(name)}'"))
            self._read[path] = known
        return _of_kind(known[1], kind, f"'{_short(name)}'")

    def _state(self, path: str, name: str, base: str) -> State:
        """Return the state of a regular file; what else has that name is never opened: a pipe would wait."""
        try:
            found = os.stat(path)
        except FileNotFoundError:
            hint = f"{_guess(path)}{OVER.format(base=base)}"
            raise DataError(f"There is no file '{_short(name)}'.", hint=hint) from None
        except OSError as error:
            raise DataError(f"'{_short(name)}' cannot be read: {error.strerror}.") from None
        if not stat.S_ISREG(found.st_mode):
            what = "a folder" if stat.S_ISDIR(found.st_mode) else "a pipe or a device"
            raise DataError(f"'{_short(name)}' is {what}; a file was expected.")
        return state_of(found)

    def _fetched(self, url: str, kind: Kind | None) -> Media:
        """Return what a URL names, from the shelf where it was fetched before."""
        told = self.shelf / "urls" / hashlib.sha256(url.encode()).hexdigest()
        if told.is_file() and (place := self.shelf / told.read_text()).is_file():
            return self._file(os.path.abspath(place), kind)
        if not self.fetch:
            raise DataError(
                f"'{_short(url)}' is not on this machine.",
                hint="task.fetch = true fetches what URLs name; or write the path of a copy.",
            )
        media = self._shelved(fetched(url), kind, f"What '{_short(url)}' names")
        write_atomic(told, os.path.relpath(media.uri, self.shelf))
        return media

    def _shelved(self, data: bytes, kind: Kind | None, what: str) -> Media:
        """Return bytes as a file on the shelf, written unless it is there. Raises RunError on a full disk."""
        form = _form(data[:HEAD], kind, what)
        digest = hashlib.sha256(data).hexdigest()
        path = Path(os.path.abspath(self.shelf), digest[:2], f"{digest}.{form.ending}")
        media = _of_kind(Media(form.kind, str(path), digest), kind, what)
        if not path.is_file() or path.stat().st_size != len(data):
            write_atomic(path, data)
        return media


def state_of(found: os.stat_result) -> State:
    """Return what of a file changes when its content does: size, two times (ns) and inode."""
    return found.st_size, found.st_mtime_ns, found.st_ctime_ns, found.st_ino


def _opened(path: str, kind: Kind | None, what: str) -> Media:
    """Return the medium in a regular file, hashed in pieces. Raises DataError without its place."""
    try:
        with open(path, "rb") as file:
            form = _form(file.read(HEAD), kind, what)
            file.seek(0)
            return Media(form.kind, path, hashlib.file_digest(file, "sha256").hexdigest())
    except OSError as error:
        raise DataError(f"{what} cannot be read: {error.strerror}.") from None


def _form(head: bytes, kind: Kind | None, what: str) -> Form:
    """Return what bytes are. Raises DataError where that is neither a picture nor a sound that is read."""
    form = form_of(head)
    if isinstance(form, Form):
        return form
    expected = WORDS[kind] if kind else "a picture or a sound"
    raise DataError(f"{what} is {form.what}, where {expected} was expected.", hint=form.hint)


def _of_kind(media: Media, kind: Kind | None, what: str) -> Media:
    """Return a medium of the kind that is expected. Raises DataError where it is of the other."""
    if kind is None or media.kind == kind:
        return media
    raise DataError(f"{what} is {WORDS[media.kind]}, where {WORDS[kind]} was expected.", hint=READ[kind])


def _inline(url: str) -> bytes:
    """Return the bytes of a data: URL. Raises DataError."""
    head, comma, data = url.partition(",")
    if not comma:
        raise DataError(f"The data: URL '{_short(url)}' has no comma before its data.")
    return _unpacked(unquote(data)) if head.lower().endswith(";base64") else unquote_to_bytes(data)


def _unpacked(text: str) -> bytes:
    """Return the bytes that base64 says. Raises DataError."""
    try:
        return base64.b64decode("".join(text.split()), validate=True)
    except (binascii.Error, ValueError) as error:
        said = str(error) or "damaged"
        raise DataError(
            f"The base64 '{_short(text)}' cannot be unpacked: {said}.", hint="It may have been cut off."
        ) from None


def _base64(text: str) -> bytes | None:
    """Return the bytes where a text is a medium in base64, and no path: a JPEG begins with '/9j/' there."""
    if len(text) < BASE64:
        return None
    try:
        head = base64.b64decode(text[:BASE64], validate=True)
    except (binascii.Error, ValueError):
        return None
    return _unpacked(text) if isinstance(form_of(head), Form) else None


def _from_memory(value: object) -> bytes:
    """Return a picture of Pillow's, or an array of pixels, as a file."""
    import numpy as np

    from espalier.media.pictures import BROKEN, ppm, rgb

    made = {f"{one.__module__}.{one.__qualname__}" for one in type(value).__mro__}
    if "numpy.ndarray" in made:
        return ppm(_pixels(cast("Any", value)))
    if "PIL.Image.Image" in made:
        try:
            return ppm(np.asarray(rgb(value)))
        except BROKEN as error:
            raise DataError(f"The picture in memory cannot be read: {error}.") from None
    hint = FORMS
    if any(name.endswith("AudioDecoder") for name in made):
        hint = "Take the bytes: dataset.cast_column('audio', datasets.Audio(decode=False))."
    said = f"'{_short(value)}' ({type(value).__name__})" if value is not None else "null"
    raise DataError(f"{said} is no picture or sound.", hint=hint)


def _pixels(values: Any) -> Any:
    """Return an array as uint8 [height, width, 3]. Raises DataError."""
    import numpy as np

    shape, colours = values.shape, (1, 3, 4)
    if values.ndim == 1:
        raise DataError(
            "An array of one dimension has no rate.",
            hint='Give {"array": …, "sampling_rate": 16000} for a sound.',
        )
    if values.ndim == 2:
        values = values[:, :, None]
    if values.ndim == 3 and values.shape[-1] not in colours and values.shape[0] in colours:
        values = values.transpose(1, 2, 0)
    if values.dtype.kind in "bf" and values.size and values.min() >= 0 and values.max() <= 1:
        values = np.rint(values * 255).astype(np.uint8)
    if values.ndim != 3 or values.shape[-1] not in colours or values.dtype != np.uint8 or not values.size:
        raise DataError(
            f"An array of shape {shape} and type {values.dtype} is no picture.",
            hint="Expected [height, width] or [height, width, 3], bytes (uint8) or numbers from 0 to 1.",
        )
    if values.shape[-1] == 4:  # on white, as transparency of files is
        opaque = values[:, :, 3:].astype(np.uint32)
        values = ((values[:, :, :3] * opaque + 255 * (255 - opaque) + 127) // 255).astype(np.uint8)
    return np.broadcast_to(values, (*values.shape[:2], 3))


def _heard(value: Mapping[str, object]) -> bytes:
    """Return {array, sampling_rate} as a WAV file. Raises DataError."""
    import numpy as np

    from espalier.media.sounds import wav

    rate = value.get("sampling_rate")
    if not isinstance(rate, int) or isinstance(rate, bool):
        raise DataError("A sound as an array needs its sampling_rate, in samples a second.")
    try:
        values = np.asarray(value["array"])
    except ValueError as error:
        raise DataError(f"The array of the sound cannot be read: {error}.") from None
    return wav(values, rate)


def _guess(path: str) -> str:
    """Return the name in the folder that may be meant, as a sentence; '' where there is none near."""
    folder = Path(path).parent
    try:
        names = [entry.name for entry in itertools.islice(os.scandir(folder), NAMES)]
    except OSError:
        return f"The folder {folder} does not exist either. "
    return nearest(Path(path).name, names).split("Known:")[0]


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= SHOWN else f"{text[: SHOWN // 2]}…{text[-SHOWN // 4 :]}"
