"""What a file is by its first bytes, whatever its name says, and what to do with one that holds no rows."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
from importlib import import_module
from typing import TYPE_CHECKING, Any, BinaryIO, cast

from espalier.core.errors import DataError

if TYPE_CHECKING:
    from pathlib import Path

PARQUET, ARROW = b"PAR1", b"ARROW1"
# A stream of Arrow's begins with a marker and the length of its schema.
STREAM = b"\xff\xff\xff\xff"
PACKINGS = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\x04\x22\x4d\x18": "lz4",
    b"BZh": "bz2",
    b"\xfd7zXZ\x00": "xz",
}
HEAD = 512  # bytes

EXPORT = "Export it as CSV, JSONL or Parquet from the program that made it."
UNPACK = "Unpack it, and name the file of rows inside, or the folder."
# What begins so, and what to do about it.
OTHERS: tuple[tuple[bytes, str, str], ...] = (
    (b"%PDF", "a PDF", "Take the text out of it first."),
    (b"PK\x03\x04", "a ZIP archive, or an Office document such as .xlsx or .docx", f"{UNPACK} {EXPORT}"),
    (b"\xd0\xcf\x11\xe0", "an old Office document", EXPORT),
    (b"SQLite format 3\x00", "an SQLite database", "Export the table that you mean as CSV or JSONL."),
    (b"7z\xbc\xaf\x27\x1c", "a 7-Zip archive", UNPACK),
    (b"Rar!", "a RAR archive", UNPACK),
    (b"\x89HDF", "an HDF5 file", EXPORT),
    (b"\x93NUMPY", "a NumPy array", "Write its rows as JSONL."),
    (b"GGUF", "a GGUF file: a model's weights", "A model goes to model.name, and rows to task.path."),
    (b"\x89PNG", "a picture", "Rows go to task.path."),
    (b"\xff\xd8\xff", "a picture", "Rows go to task.path."),
    (b"GIF8", "a picture", "Rows go to task.path."),
    (b"RIFF", "a sound or a picture", "Rows go to task.path."),
    (b"ID3", "a sound", "Rows go to task.path."),
    (b"version https://git-lfs", "a pointer of Git LFS, and not the file itself", "Fetch it: git lfs pull"),
    *((bytes([0x80, version]), "a Python pickle", "It may run code when read: write JSONL or Parquet.")
      for version in (2, 3, 4, 5)),
)  # fmt: skip
PAGES = (b"<!doctype html", b"<html", b"<?xml")
MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}


def first_bytes(path: Path) -> bytes:
    """Return the first bytes of a file. Raises DataError where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(HEAD)
    except OSError as error:
        raise DataError(f"The file cannot be read: {error.strerror}.", where=str(path)) from None


def packing(head: bytes) -> str:
    """Return how a file is compressed, by its first bytes; '' where it is not."""
    return next((name for begin, name in PACKINGS.items() if head.startswith(begin)), "")


def opened(path: Path) -> BinaryIO:
    """Open a file for reading, unpacked where it is gzip, zstd, lz4, bz2 or xz."""
    match packing(first_bytes(path)):
        case "gzip":
            return cast("BinaryIO", gzip.open(path))
        case "bz2":
            return cast("BinaryIO", bz2.open(path))
        case "xz":
            return cast("BinaryIO", lzma.open(path))
        case "":
            return path.open("rb")
        case name:
            pyarrow: Any = import_module("pyarrow")
            return cast("BinaryIO", pyarrow.CompressedInputStream(str(path), name))


def encoding_of(head: bytes, where: str) -> str:
    """Return the encoding of a text by its first bytes.

    Raises:
        DataError: it is no text: what it is instead, and what to do.
    """
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name
    for begin, what, advice in OTHERS:
        if head.startswith(begin):
            raise DataError(f"The file is {what}, and no file of rows.", where=where, hint=advice)
    if head.lstrip().lower().startswith(PAGES):
        raise DataError(
            "The file is a web page or XML, and no file of rows.",
            where=where,
            hint="It may be what a server said in place of the file: fetch it again.",
        )
    if head[8:10] == b'{"':
        raise DataError(
            "The file is of safetensors: a model's weights.", where=where, hint="Rows go to task.path."
        )
    if len(head) > 3 and head[1::2].count(0) > len(head) // 4 and not head[0::2].count(0):
        return "utf-16-le"
    if len(head) > 3 and head[0::2].count(0) > len(head) // 4 and not head[1::2].count(0):
        return "utf-16-be"
    if b"\x00" in head:
        raise DataError("The file is binary, and no file of rows.", where=where, hint=EXPORT)
    return "utf-8-sig"


def as_text(stream: BinaryIO, path: Path) -> io.TextIOWrapper:
    """Return a stream of bytes as one of text, with lines as they are."""
    buffered = io.BufferedReader(cast("Any", stream), 1 << 20)
    head = buffered.peek(HEAD)[:HEAD]
    return io.TextIOWrapper(buffered, encoding=encoding_of(head, str(path)), newline="")
