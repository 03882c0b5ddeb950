"""What a file is by its first bytes, whatever its name says, and what to do with one that cannot be read."""

from __future__ import annotations

import bz2
import gzip
import io
import lzma
import zipfile
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
CONTROLS = bytes([*range(9), *range(14, 27), *range(28, 32)])  # bytes that no text has
MARKS = {
    b"\xff\xfe\x00\x00": "utf-32",
    b"\x00\x00\xfe\xff": "utf-32",
    b"\xff\xfe": "utf-16",
    b"\xfe\xff": "utf-16",
}
# Encodings of before UTF-8, each common in some part of the world; nobody but a reader can tell them apart.
OLD = ("windows-1252", "gb18030", "shift_jis", "euc_kr", "windows-1251")

EXPORT = "Export it as CSV, JSONL or Parquet from the program that made it."
UNPACK = "Unpack it, and name the file inside, or the folder."
WORDS = "Write what it says as rows, an object {…} a line."
MODEL = "A model goes to model.name, with the folder that it lies in."
MEDIA = "Only text can be trained on."
AGAIN = "It may be what a server said in place of the file: fetch it again."
WRITTEN = {  # how a text begins, in lower case
    b"version https://git-lfs": ("a pointer of Git LFS, and not the file itself", "Fetch it: git lfs pull"),
    b"<!doctype html": ("a web page", AGAIN),
    b"<html": ("a web page", AGAIN),
    b"<?xml": ("XML", AGAIN),
    b"%pdf-": ("a PDF", WORDS),
    b"{\\rtf": ("a document (RTF)", WORDS),
}
BINARY = (  # first bytes, where they stand, what it is, what to do
    (b"\xd0\xcf\x11\xe0", 0, "an old Office document", EXPORT),
    (b"SQLite format 3\x00", 0, "an SQLite database", "Export the table that you mean as CSV or JSONL."),
    (b"\x93NUMPY", 0, "a NumPy array", EXPORT),
    (b"\x89HDF", 0, "an HDF5 file", EXPORT),
    (b"ORC", 0, "an ORC table", EXPORT),
    (b"Obj\x01", 0, "an Avro file", EXPORT),
    (b"FEA1", 0, "a Feather file of the first version", "Write it with pyarrow.feather.write_feather."),
    (b"PARE", 0, "an encrypted Parquet table", "Write it without encryption."),
    (b"ustar", 257, "a tar archive", UNPACK),
    (b"7z\xbc\xaf\x27\x1c", 0, "a 7-Zip archive", UNPACK),
    (b"Rar!", 0, "a RAR archive", UNPACK),
    (b"\x1f\x9d", 0, "compressed by compress", UNPACK),
    (b"GGUF", 0, "a GGUF file, a model's weights", MODEL),
    (b'{"', 8, "a safetensors file, a model's weights", MODEL),
    (b"\x89PNG", 0, "a picture", MEDIA),
    (b"\xff\xd8\xff", 0, "a picture", MEDIA),
    (b"GIF8", 0, "a picture", MEDIA),
    (b"II*\x00", 0, "a picture", MEDIA),
    (b"MM\x00*", 0, "a picture", MEDIA),
    (b"RIFF", 0, "a sound or a picture", MEDIA),
    (b"ID3", 0, "a sound", MEDIA),
    (b"OggS", 0, "a sound", MEDIA),
    (b"fLaC", 0, "a sound", MEDIA),
    (b"ftyp", 4, "a video", MEDIA),
    (b"\x1aE\xdf\xa3", 0, "a video", MEDIA),
    (b"\x7fELF", 0, "a program", EXPORT),
)
ARCHIVED = {  # a name in a ZIP archive tells what it is
    "xl/": ("an Excel workbook", "Save its sheet as CSV (UTF-8)."),
    "word/": ("a Word document", WORDS),
    "ppt/": ("a PowerPoint presentation", WORDS),
    "content.xml": ("an OpenDocument file", "Save its sheet as CSV (UTF-8)."),
    "META-INF/container.xml": ("an e-book", WORDS),
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


def encoding_of(head: bytes, path: Path) -> str:
    """Return the encoding of a text by its first bytes.

    Raises:
        DataError: it is no text: what it is instead, and what to do.
    """
    for mark, name in MARKS.items():
        if head.startswith(mark):
            return name
    what, advice = _archive(path) if head.startswith(b"PK\x03\x04") else foreign(head)
    if what:
        raise DataError(f"The file is {what}, which cannot be read here.", where=str(path), hint=advice)
    if len(head) > 3 and head[1::2].count(0) > len(head) // 4 and not head[0::2].count(0):
        return "utf-16-le"
    if len(head) > 3 and head[0::2].count(0) > len(head) // 4 and not head[1::2].count(0):
        return "utf-16-be"
    if b"\x00" in head or len(head) - len(head.translate(None, CONTROLS)) > len(head) // 50:
        raise DataError(
            "The file is binary, and of no kind that can be read here.", where=str(path), hint=EXPORT
        )
    return "utf-8-sig"


def foreign(head: bytes) -> tuple[str, str]:
    """Return what a file is that is, no text and no ZIP archive, and what to do; '' where it may be text."""
    if head.startswith((PARQUET, ARROW, STREAM)):
        return "a table (Parquet or Arrow)", "It is read where rows are, such as task.path."
    begin = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for start, told in WRITTEN.items():
        if begin.startswith(start):
            return told
    # Without one of these it is a text: a table's first column may well be called ID3.
    for start, place, what, advice in BINARY if {*CONTROLS} & {*head} else ():
        if head[place : place + len(start)] == start:
            return what, advice
    if head[:1] == b"\x80" and head[1:2] in (b"\x02", b"\x03", b"\x04", b"\x05"):
        return "a Python pickle", "It may run code when read: write JSONL or Parquet."
    return "", ""


def _archive(path: Path) -> tuple[str, str]:
    try:
        names = zipfile.ZipFile(path).namelist()
    except zipfile.BadZipFile:
        return "a ZIP archive, cut off or damaged", "Fetch it again."
    for part, told in ARCHIVED.items():
        if any(name.startswith(part) for name in names):
            return told
    if any(name.endswith("/data.pkl") for name in names):
        return "a PyTorch file", MODEL
    listed = ", ".join(names[:3]) + (", …" if len(names) > 3 else "")
    return f"a ZIP archive of {listed or 'nothing'}", UNPACK


def as_text(stream: BinaryIO, path: Path) -> io.TextIOWrapper:
    """Return a stream of bytes as one of text, with lines as they are."""
    buffered = io.BufferedReader(cast("Any", stream), 1 << 20)
    head = buffered.peek(HEAD)[:HEAD]
    return io.TextIOWrapper(buffered, encoding=encoding_of(head, path), newline="")


def readings(line: bytes, start: int) -> str:
    """Return what a place of a line that is not UTF-8 says in older encodings, and how to convert it.

    None is assumed: Chinese that is read as Latin is letters too, and would be trained.
    """
    said: dict[str, str] = {}
    for name in OLD:
        try:
            line.decode(name)
        except UnicodeDecodeError:
            continue
        shown = line[max(0, start - 12) : start + 12].decode(name, errors="ignore").strip()
        if shown not in said.values():
            said[name] = shown
    told = ", ".join(f"'{shown}' as {name}" for name, shown in [*said.items()][:3])
    if not told:
        return "It may be cut off or damaged; write it again as UTF-8."
    return f"The place says {told}. With the right one: iconv -f ENCODING -t utf-8 FILE > NEW"
