"""Whether bytes are a picture or a sound, by how they begin: names of files and stated types may lie."""

from __future__ import annotations

from typing import Literal, NamedTuple, TypeAlias

from espalier.core.signatures import AGAIN, foreign

Kind: TypeAlias = Literal["image", "audio"]
WORDS: dict[Kind, str] = {"image": "a picture", "audio": "a sound"}
READ: dict[Kind, str] = {
    "image": "Pictures are read as PNG, JPEG, WebP, GIF, TIFF, BMP, AVIF, JPEG 2000 or PPM.",
    "audio": "Sounds are read as WAV, FLAC, OGG, MP3, AIFF, AU or CAF.",
}
BOTH = " ".join(READ.values())


class Form(NamedTuple):
    """What bytes are: a kind of media, and how such files end."""

    kind: Kind
    ending: str


class Foreign(NamedTuple):
    """What bytes are that are no medium that is read, as in "it is …", and what to do."""

    what: str
    hint: str


BEGINNINGS = (  # first bytes, what stands at the eighth, what it is
    (b"\x89PNG\r\n\x1a\n", b"", Form("image", "png")),
    (b"\xff\xd8\xff", b"", Form("image", "jpg")),
    (b"GIF8", b"", Form("image", "gif")),
    (b"RIFF", b"WEBP", Form("image", "webp")),
    (b"II*\x00", b"", Form("image", "tif")),
    (b"MM\x00*", b"", Form("image", "tif")),
    (b"II+\x00", b"", Form("image", "tif")),
    (b"MM\x00+", b"", Form("image", "tif")),
    (b"\x00\x00\x00\x0cjP  ", b"", Form("image", "jp2")),
    (b"\xff\x4f\xff\x51", b"", Form("image", "j2k")),
    *(
        (b"P%d%s" % (number, space), b"", Form("image", "ppm"))
        for number in (5, 6)
        for space in (b"\n", b" ")
    ),
    (b"RIFF", b"WAVE", Form("audio", "wav")),
    (b"RF64", b"WAVE", Form("audio", "wav")),
    (b"FORM", b"AIFF", Form("audio", "aiff")),
    (b"FORM", b"AIFC", Form("audio", "aiff")),
    (b"fLaC", b"", Form("audio", "flac")),
    (b"OggS", b"", Form("audio", "ogg")),
    (b"ID3", b"", Form("audio", "mp3")),
    (b".snd", b"", Form("audio", "au")),
    (b"caff", b"", Form("audio", "caf")),
)
HEIC = Foreign("an HEIC picture, which needs a licensed decoder", "Export it as JPEG or PNG.")
AAC = Foreign(
    "a sound in AAC, which needs FFmpeg", "Convert it to FLAC or WAV with the program that made it."
)
VIDEO = Foreign("a video", "Take pictures out of it, or its sound as FLAC or WAV.")
# Of files that are made of boxes (ISO 14496-12).
BRANDS = {b"heic": HEIC, b"heix": HEIC, b"mif1": HEIC, b"M4A ": AAC, b"M4B ": AAC}


def form_of(head: bytes) -> Form | Foreign:
    """Return what bytes are by the first 512 of them."""
    if not head:
        return Foreign("empty (0 bytes)", "Fetch or export it again, or leave the row out.")
    for begin, eighth, form in BEGINNINGS:
        if head.startswith(begin) and head[8:].startswith(eighth):
            return form
    if head[4:8] == b"ftyp" and head[8:12] in (b"avif", b"avis"):
        return Form("image", "avif")
    if head.startswith(b"BM") and head[6:10] == b"\0\0\0\0":
        return Form("image", "bmp")
    return Form("audio", "mp3") if _mpeg(head) else _other(head)


def _mpeg(head: bytes) -> bool:
    """Say whether bytes begin with a frame of MPEG layer 3: eleven bits set, no field reserved."""
    if len(head) < 4 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return False
    version, layer = head[1] >> 3 & 3, head[1] >> 1 & 3
    return version != 1 and layer == 1 and head[2] >> 4 != 15 and head[2] >> 2 & 3 != 3


def _other(head: bytes) -> Foreign:
    if head[4:8] == b"ftyp":
        return BRANDS.get(head[8:12], VIDEO)
    if head.startswith(b"\x1aE\xdf\xa3") or (head.startswith(b"RIFF") and head[8:11] == b"AVI"):
        return VIDEO
    if head.startswith(b"PK\x03\x04"):
        return Foreign("a ZIP archive", "Unpack it, and name the files inside.")
    what, hint = foreign(head)
    if what in ("", "XML") and b"<svg" in head.lower():
        return Foreign("a drawing in SVG, which has no pixels", "Export it as PNG at the size that you mean.")
    letters = head[:16].decode("ascii", errors="replace")
    begin = "".join(letter if letter.isascii() and letter.isprintable() else "·" for letter in letters)
    mends = hint == AGAIN or "git lfs" in hint
    return Foreign(
        what or f"of no kind that is read here (it begins with '{begin}')", hint if mends else BOTH
    )
