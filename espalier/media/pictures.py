"""Pictures as a model is to see them: upright, on white, in 8 bits of red, green and blue.

What a viewer does in silence is done here too: the camera's orientation (EXIF) is applied, transparency is
laid on white, 16-bit, CMYK and palettes are converted, and of what moves the first frame is taken. What a
viewer would draw half, or not at all, is refused: a file that is cut off is no picture with a grey half.
"""

from __future__ import annotations

import struct
import threading
import warnings
import zlib
from contextlib import contextmanager, nullcontext
from dataclasses import dataclass
from importlib import import_module
from typing import TYPE_CHECKING, Any

from espalier.core.errors import DataError, MissingExtra

if TYPE_CHECKING:
    from collections.abc import Generator
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

# No format that runs a program (EPS) or draws (SVG, WMF).
FORMATS = ("PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000")
LARGEST = 89_478_485  # pixels, Pillow's own bound: a quarter of a GiB in RGB
ELONGATED = 200  # times as long as broad: such a picture is a line in the square of any encoder
PADDED = "padded with white"  # how `squared` fits a picture into an encoder's square
TURNED = (5, 6, 7, 8)  # EXIF orientations that swap width and height
ORIENTATION = 0x0112  # EXIF tag
# All that Pillow's readers raise on damaged files.
BROKEN = (
    *(OSError, SyntaxError, ValueError, TypeError, EOFError, LookupError, OverflowError, MemoryError),
    *(AttributeError, AssertionError, RuntimeError, ZeroDivisionError, struct.error, zlib.error),
)
_QUIET = threading.RLock()


@dataclass(frozen=True, slots=True)
class Picture:
    """What a file of a picture holds.

    Attributes:
        width, height: pixels, as it is seen, its orientation applied.
        mode: how the file holds a pixel, in Pillow's words: RGB, RGBA, L, LA, P, CMYK, I;16 …
        format: PNG, JPEG …
        frames: 1, or how many it moves through; the first is taken.
        note: what was done so that it can be seen, or is odd about it; '' where nothing.
    """

    width: int
    height: int
    mode: str
    format: str
    frames: int = 1
    note: str = ""


def look(path: Path) -> Picture:
    """Return what a picture is, all of it decoded once.

    Raises:
        DataError: it cannot be decoded, is cut off, too large or a mere line; what to do.
        MissingExtra: Pillow is not installed.
    """
    with _opened(path) as image:
        size, mode, form, frames = image.size, image.mode, image.format, _frames(image)
        reduced = image.draft(None, (1, 1))  # JPEG: all of the file is read, fewer pixels are computed
        _load(image, path)
        transparent, orientation = image.has_transparency_data, image.getexif().get(ORIENTATION, 1)
        _flat(image, path)
        size = size if reduced else image.size
        width, height = size[::-1] if orientation in TURNED else size
    if max(width, height) > ELONGATED * min(width, height):
        raise DataError(
            f"The picture has {width:,}×{height:,} pixels: a line, of which an encoder sees nothing.",
            where=str(path),
            hint=f"Crop it until it is at most {ELONGATED} times as long as broad, or leave the row out.",
        )
    told = (
        (orientation in range(2, 9), "turned upright as its EXIF says"),
        (transparent, "transparency laid on white"),
        (mode.startswith(("I", "F")), "more than 8 bits a colour brought to 8"),
        (mode == "CMYK", "converted from CMYK"),
        (frames > 1, f"the first of {frames} frames"),
        (width * height == 1, "a single pixel"),
    )
    note = ", ".join(words for holds, words in told if holds)
    return Picture(width, height, mode, "JPEG" if form == "MPO" else form, frames, note)


def pixels(path: Path, most: int | None = None) -> NDArray[np.uint8]:
    """Return the pixels of a picture, uint8 [height, width, 3], red, green and blue.

    Args:
        path: of the file.
        most: pixels that it may have: a larger one is made smaller, its proportions kept.

    Raises:
        DataError, MissingExtra: as `look`.
    """
    import numpy as np

    with _opened(path) as image:
        _load(image, path)
        flat = _flat(image, path)
    if most is not None and flat.width * flat.height > most:
        flat = flat.resize(fitting(flat.width, flat.height, most), pillow("Image").Resampling.BICUBIC)
    return np.asarray(flat)


def squared(values: NDArray[np.uint8], side: int) -> NDArray[np.uint8]:
    """Return a picture [side, side, 3], as large as fits in its own proportions, white beside it."""
    import numpy as np

    library = pillow("Image")
    own = library.fromarray(values)
    share = side / max(own.size)
    size = (max(1, round(own.width * share)), max(1, round(own.height * share)))
    out = library.new("RGB", (side, side), "white")
    out.paste(own.resize(size, library.Resampling.BICUBIC), ((side - size[0]) // 2, (side - size[1]) // 2))
    return np.asarray(out)


def fitting(width: int, height: int, most: int) -> tuple[int, int]:
    """Return the largest size of these proportions, nearly, with at most `most` pixels and at least one."""
    scale = (most / (width * height)) ** 0.5
    breadth = min(max(1, int(width * scale)), most)
    length = max(1, int(height * scale))
    return (breadth, length) if breadth * length <= most else _narrow(breadth, length, most)


def _narrow(width: int, height: int, most: int) -> tuple[int, int]:
    """Return a size whose one side is a pixel, as the other cannot be made smaller in proportion."""
    return (width, max(1, most // width)) if width < height else (max(1, most // height), height)


def rgb(image: Any) -> Any:
    """Return a picture of Pillow's as RGB: upright, transparency on white, of any mode.

    Raises:
        ValueError: numbers that are no brightness.
    """
    with _quiet():
        image = pillow("ImageOps").exif_transpose(image)
    if image.mode.startswith(("I", "F")):
        return pillow("Image").fromarray(_brightness(image))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        white = pillow("Image").new("RGBA", image.size, "white")
        return pillow("Image").alpha_composite(white, image).convert("RGB")
    return image.convert("RGB")


def _brightness(image: Any) -> NDArray[np.uint8]:
    """Return grey of more than 8 bits as uint8 [height, width, 3]; its white is 65,535, or 1.0 or 255.0."""
    import numpy as np

    with np.errstate(invalid="ignore"):  # what is no number is refused below
        values = np.asarray(image).astype(np.float64)
    low, high = float(values.min()), float(values.max())
    whole = image.mode.startswith("I")
    bounds = (65_535,) if whole else (1, 255)
    bound = next((bound for bound in bounds if high <= bound), None)
    if bound is None or not low >= 0:
        raise ValueError(f"its values go from {low:g} to {high:g}, expected 0 to {bounds[-1]:,}")
    grey = np.rint(values * (255 / bound)).astype(np.uint8)
    return np.repeat(grey[:, :, None], 3, axis=2)


def ppm(values: NDArray[np.uint8]) -> bytes:
    """Return pixels, uint8 [height, width, 3], as a file.

    Its bytes, and so its name on the shelf, depend on the pixels alone and on no compressor's version.
    """
    height, width, _ = values.shape
    return b"P6\n%d %d\n255\n" % (width, height) + values.tobytes()


def pillow(module: str) -> Any:
    """Return a module of Pillow. Raises MissingExtra where it is not installed."""
    try:
        return import_module(f"PIL.{module}")
    except ImportError:
        raise MissingExtra("Reading pictures", "media") from None


@contextmanager
def _quiet() -> Generator[None]:
    """Let Pillow not warn of odd heads, one thread at a time: all share Python's filters of warnings."""
    with _QUIET, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _opened(path: Path) -> Any:
    """Return a picture whose head is read and checked, nothing decoded. Raises as `look`."""
    library = pillow("Image")
    with _quiet():
        warnings.simplefilter("error", library.DecompressionBombWarning)
        library.init()
        try:
            # Without those that this Pillow was built without.
            image = library.open(path, formats=[form for form in FORMATS if form in library.OPEN])
        except (library.DecompressionBombWarning, library.DecompressionBombError):
            raise _bomb(path) from None
        except library.UnidentifiedImageError:
            raise _undecodable(path, None) from None
        except BROKEN as error:
            raise _undecodable(path, error) from None
    if image.width * image.height > LARGEST:
        image.close()
        raise _bomb(path)
    return image


def _load(image: Any, path: Path) -> None:
    """Decode the first frame, and what EXIF says, which may stand behind it. Raises DataError: damaged."""
    try:
        # Of the others only heads warn, and decoding them must not wait for other threads.
        with _quiet() if image.format == "TIFF" else nullcontext():
            image.load()
    except BROKEN as error:
        raise _undecodable(path, error) from None
    with _quiet():
        try:
            image.getexif()
        except BROKEN:  # the orientation cannot be known then; the pixels can
            image.info.pop("exif", None)


def _flat(image: Any, path: Path) -> Any:
    """Return a decoded picture as `rgb` does. Raises DataError."""
    try:
        return rgb(image)
    except BROKEN as error:
        raise _undecodable(path, error) from None


def _frames(image: Any) -> int:
    """Return how many frames a file moves through; a photograph of a phone beside its depth does not."""
    if image.format == "MPO":
        return 1
    try:
        with _quiet():
            return int(image.n_frames)
    except BROKEN:  # most formats know no frames
        return 1


def _bomb(path: Path) -> DataError:
    return DataError(
        f"The picture has more than {LARGEST:,} pixels once unpacked, which may be meant to fill the memory.",
        where=str(path),
        hint="Make it smaller: no encoder sees more than a few million.",
    )


def _undecodable(path: Path, error: BaseException | None) -> DataError:
    why = f": {str(error).rstrip('.')}" if error is not None and str(error) else ""
    cut = "truncated" in why or "not enough image data" in why or isinstance(error, EOFError)
    return DataError(
        f"The picture {'is cut off' if cut else 'cannot be decoded'}{why.replace(str(path), 'the file')}.",
        where=str(path),
        hint="Fetch or export it again, or leave the row out.",
    )
