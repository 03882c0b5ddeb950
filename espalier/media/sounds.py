"""Sounds as a model is to hear them: one channel, at its rate, from whatever rate and format they have.

libsndfile reads them (WAV, FLAC, OGG, MP3 …) by content, whatever the file is called. Channels are mixed to
their mean and brought to another rate by a polyphase filter, from the rate of the file itself.
"""

from __future__ import annotations

from contextlib import contextmanager
from dataclasses import dataclass
from fractions import Fraction
from importlib import import_module
from typing import TYPE_CHECKING, Any, Literal

from espalier.core.errors import DataError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Generator, Iterator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

BLOCK = 1 << 18  # samples of all channels that are decoded at once
RATES = range(1_000, 768_001)  # samples a second; of another one the head is damaged
SILENT = 1e-4  # of full scale, from the lowest to the highest sample: 80 dB down
# What programs write for a length that they do not know yet, when they write into a pipe.
UNKNOWN = 0x7FFF_0000
LENGTHS: tuple[tuple[bytes, int, int, Literal["little", "big"], int], ...] = (
    # How a file begins, where the count of its bytes stands, and how many it leaves out.
    (b"RIFF", 4, 8, "little", 8),
    (b"RF64", 20, 28, "little", 8),
    (b"FORM", 4, 8, "big", 8),
    (b".snd", 8, 12, "big", 24),
)
AGAIN = "Fetch or export it again, or leave the row out."


@dataclass(frozen=True, slots=True)
class Sound:
    """What a file of a sound holds: samples a second, channels, seconds, and its format (WAV, MP3 …)."""

    rate: int
    channels: int
    seconds: float
    format: str


def look(path: Path) -> Sound:
    """Return what a sound is, all of it decoded once, a block at a time.

    Raises:
        DataError: it cannot be decoded, is cut off, has no samples, none but silence, or some that are no
            numbers; what to do.
        MissingExtra: soundfile is not installed.
    """
    with _opened(path) as file:
        heard, low, high = 0, float("inf"), float("-inf")
        for block in _blocks(file, path):
            heard += len(block)
            low, high = min(low, float(block.min())), max(high, float(block.max()))
        sound = Sound(file.samplerate, file.channels, heard / file.samplerate, file.format)
        if not heard:
            raise DataError("The sound has no samples.", where=str(path), hint=AGAIN)
        if heard < file.frames or _short(path):
            raise DataError(
                f"The sound is cut off after {sound.seconds:.1f} s: its head says that there is more.",
                where=str(path),
                hint=AGAIN,
            )
    if high - low <= SILENT:
        raise DataError(
            f"The sound is silent throughout its {sound.seconds:.1f} s.",
            where=str(path),
            hint="Leave the row out, or look whether its channels cancel each other.",
        )
    return sound


def samples(path: Path, rate: int) -> NDArray[np.float32]:
    """Return a sound as float32 [samples], one channel at `rate` samples a second.

    Raises:
        DataError, MissingExtra: as `look`, but for what only its whole length tells.
    """
    import numpy as np

    with _opened(path) as file:
        blocks = [*_blocks(file, path)]
        own = file.samplerate
    if not blocks:
        raise DataError("The sound has no samples.", where=str(path), hint=AGAIN)
    return resampled(np.concatenate(blocks), own, rate)


def resampled(values: NDArray[np.float32], own: int, rate: int) -> NDArray[np.float32]:
    """Return samples [n] of `own` a second at `rate` a second, by a polyphase filter."""
    import numpy as np

    if own == rate:
        return values
    ratio = Fraction(rate, own)
    filtered = import_module("scipy.signal").resample_poly(values, ratio.numerator, ratio.denominator)
    return filtered.astype(np.float32, copy=False)


def wav(values: NDArray[Any], rate: int) -> bytes:
    """Return samples, [n] or [n, channels] or [channels, n], as a WAV file of 32-bit floats.

    Whole numbers are scaled by what their type can hold. The bytes depend on samples and rate alone.

    Raises:
        DataError: samples of another shape or type; without a place.
    """
    import io

    import numpy as np

    if values.ndim == 2 and values.shape[0] < values.shape[1]:
        values = values.T
    if values.ndim not in (1, 2) or values.dtype.kind not in "iuf" or rate not in RATES:
        raise DataError(
            f"The sound is an array of shape {values.shape} and type {values.dtype} at {rate} samples/s; "
            "expected [samples] or [samples, channels] of numbers."
        )
    if values.dtype.kind in "iu":
        bound = np.iinfo(values.dtype)
        middle = 0 if bound.min else (bound.max + 1) // 2
        values = (values.astype(np.float64) - middle) / (bound.max - middle)
    made = io.BytesIO()
    import_module("scipy.io.wavfile").write(made, rate, np.ascontiguousarray(values, np.float32))
    return made.getvalue()


def soundfile() -> Any:
    """Return the package. Raises MissingExtra where it, or libsndfile, is not installed."""
    try:
        return import_module("soundfile")
    except (ImportError, OSError):
        raise MissingExtra("Reading sounds", "media") from None


@contextmanager
def _opened(path: Path) -> Generator[Any]:
    """Yield a file of sound. Raises as `look`."""
    library = soundfile()
    try:
        # Given a path, soundfile goes by the ending; given what is open, by the content.
        with path.open("rb") as raw, library.SoundFile(raw.fileno(), closefd=False) as file:
            if file.samplerate not in RATES:
                raise DataError(
                    f"The head of the sound says {file.samplerate:,} samples a second, which nobody hears.",
                    where=str(path),
                    hint=AGAIN,
                )
            yield file
    except library.LibsndfileError as error:
        raise DataError(
            f"The sound cannot be decoded: {error.error_string.rstrip('.')}.", where=str(path), hint=AGAIN
        ) from None
    except OSError as error:
        raise DataError(f"The file cannot be read: {error.strerror}.", where=str(path)) from None


def _blocks(file: Any, path: Path) -> Iterator[NDArray[np.float32]]:
    """Yield the mean of all channels, float32 [at most BLOCK / channels]. Raises DataError: no number."""
    import numpy as np

    while len(block := file.read(max(1, BLOCK // file.channels), dtype="float32", always_2d=True)):
        mixed: NDArray[np.float32] = block.mean(axis=1, dtype=np.float32)
        if not np.isfinite(mixed).all():
            raise _unnumbered(path)
        yield mixed


def _short(path: Path) -> bool:
    """Say whether a file has fewer bytes than its head says: libsndfile takes what is there."""
    with path.open("rb") as file:
        head = file.read(28)
    for begin, start, end, order, besides in LENGTHS:
        said = int.from_bytes(head[start:end], order) if head.startswith(begin) else 0
        if 0 < said < UNKNOWN:
            return path.stat().st_size < said + besides
    return False


def _unnumbered(path: Path) -> DataError:
    return DataError(
        "The sound has samples that are no numbers (NaN or infinite).",
        where=str(path),
        hint="Write it again from its source; a division by zero in what made it is the usual cause.",
    )
