"""Media as a page shows them: small pictures and sounds in data: URLs, of pixels and samples alone.

What the file held besides, such as the place where a photograph was taken, does not come along.
"""

from __future__ import annotations

import base64
import io
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError
from espalier.media.pictures import PADDED, pillow, squared
from espalier.media.sounds import samples, soundfile

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path

    import numpy as np
    from numpy.typing import NDArray

RATE = 16_000  # samples a second of a clip, what speech encoders hear
QUALITY = 80  # of a JPEG
SHORTEST = RATE // 10  # samples of a clip
BARS = 100
MIMES = {"MP3": "audio/mpeg", "FLAC": "audio/flac"}


def shown(values: NDArray[np.uint8], longest: int = 128) -> str:
    """Return pixels, uint8 [height, width, 3], as a data: URL: those that a model saw, after preprocessing.

    As PNG or as JPEG, whichever is shorter: drawings as the one, photographs as the other.
    """
    image = pillow("Image").fromarray(values)
    image.thumbnail((longest, longest))
    made: list[tuple[int, str, bytes]] = []
    for form, settings in (("png", {"optimize": True}), ("jpeg", {"quality": QUALITY})):
        file = io.BytesIO()
        image.save(file, form.upper(), **settings)
        made.append((len(file.getvalue()), f"image/{form}", file.getvalue()))
    _, mime, data = min(made)
    return _url(mime, data)


def as_seen(values: NDArray[np.uint8], settings: Mapping[str, Any]) -> NDArray[np.uint8]:
    """Return pixels as an encoder's settings let it see them: in a square with white, stretched, or cut off.

    Args:
        values: of the picture [height, width, 3].
        settings: {"pixels", "fit"} of an encoder of our own, or {"processor": {…}} in Hugging Face layout, of
            which size and crop are read; of any other the picture stays as it is.
    """
    if settings.get("fit") == PADDED:
        return squared(values, settings["pixels"])
    import numpy as np

    processor: object = settings.get("processor")
    given = cast("dict[str, Any]", processor) if isinstance(processor, dict) else {}
    size = {key: side for key, side in cast("dict[str, Any]", given.get("size") or {}).items() if side}
    image = pillow("Image").fromarray(values)
    if not given.get("do_resize", True):
        size = {}
    if size.keys() == {"height", "width"}:
        image = image.resize((size["width"], size["height"]))
    elif size.keys() == {"shortest_edge"}:
        share = size["shortest_edge"] / min(image.size)
        image = image.resize(tuple(max(1, round(side * share)) for side in image.size))
    if given.get("do_center_crop") and (cut := given.get("crop_size")):
        left, top = (image.width - cut["width"]) // 2, (image.height - cut["height"]) // 2
        image = image.crop((left, top, left + cut["width"], top + cut["height"]))
    return np.asarray(image)


def waveform(values: NDArray[np.float32], bars: int = BARS) -> list[float]:
    """Return how loud a sound is in each of at most `bars` equal parts, the loudest sample of each, 0 to 1.

    Relative to the loudest of all, so that a quiet recording is seen.
    """
    import numpy as np

    parts = np.array_split(np.abs(values), min(bars, max(1, len(values))))
    peaks = [float(part.max()) if len(part) else 0.0 for part in parts]
    most = max(peaks) or 1.0
    return [round(peak / most, 3) for peak in peaks]


def clip(path: Path, most: int = 100_000) -> str:
    """Return a sound as a data: URL that is at most `most` letters long: its beginning where all is longer.

    One channel of 16,000 samples a second, as MP3, or FLAC where this libsndfile writes no MP3; neither holds
    a time or a random number, so that the same sound gives the same page.

    Raises:
        DataError: it cannot be decoded, or a tenth of a second does not fit.
        MissingExtra: soundfile is not installed.
    """
    library = soundfile()
    form = "MP3" if "MP3" in library.available_formats() else "FLAC"
    values = samples(path, RATE)
    while True:
        file = io.BytesIO()
        library.write(file, values.clip(-1, 1), RATE, format=form)
        url = _url(MIMES[form], file.getvalue())
        if len(url) <= most:
            return url
        if len(values) <= SHORTEST:
            raise DataError(f"Of the sound nothing fits into {most:,} letters.", where=str(path))
        fits = int(len(values) * most / len(url))
        values = values[: max(SHORTEST, min(len(values) * 9 // 10, fits))]


def _url(mime: str, data: bytes) -> str:
    return f"data:{mime};base64,{base64.b64encode(data).decode()}"
