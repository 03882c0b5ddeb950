"""Reading files with errors that say where, and writing them so that a kill leaves the old or the new."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import json
import lzma
import os
import re
import secrets
import tomllib
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from espalier.core.errors import DataError, RunError
from espalier.core.signatures import HEAD, encoding_of, opened, readings

if TYPE_CHECKING:
    from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence


_BEFORE, _AFTER = re.compile(r"\s*[\[,]\s*(?=\S)"), re.compile(r"\s*[,\]]")  # an item of a list
MOST_DIGITS = 1000  # of a whole number; Python itself refuses to print one of more than 4,300


def read_text(path: Path) -> str:
    """Return the text of a file, packed or not, in UTF-8, or in UTF-16 or UTF-32 where it begins so.

    Raises:
        DataError: the file is missing, is a folder, or is no text; the position is named, or what it is.
    """
    try:
        if path.is_dir():
            raise DataError("This is a folder; a file was expected.", where=str(path))
        if not path.exists():
            raise DataError("There is no such file.", where=str(path), hint=_neighbours(path))
        with opened(path) as file:
            data = file.read()
    except (OSError, EOFError, zlib.error, lzma.LZMAError) as error:
        raise DataError(f"The file cannot be read: {error}.", where=str(path)) from None
    return decoded(data, path, encoding_of(data[:HEAD], path))


def decoded(data: bytes, path: Path, encoding: str) -> str:
    """Return the bytes of a file as text. Raises DataError where they are not in that encoding."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError as error:
        before = data[: error.start]
        begin = before.rfind(b"\n") + 1
        line = data[begin:].split(b"\n", 1)[0]
        name = error.encoding.removesuffix("-sig").upper()
        raise DataError(
            f"The file is not {name}: byte 0x{data[error.start]:02x} at position {error.start}.",
            where=f"{path}:{1 + before.count(10)}",
            hint=readings(line, error.start - begin) if name == "UTF-8" else "",
        ) from None


def read_json(path: Path) -> Any:
    """Return what a JSON file holds.

    Raises:
        DataError: see `read_text`; or not JSON, with line and column.
    """
    text = read_text(path)
    if not text.strip():
        raise DataError("The file is empty.", where=str(path))
    try:
        return parse_json(text)
    except json.JSONDecodeError as error:
        raise DataError(
            f"The file is not JSON: {error.msg}, column {error.colno}.", where=f"{path}:{error.lineno}"
        ) from None
    except ValueError as error:
        raise DataError(f"The file cannot be read as JSON: {error}.", where=str(path)) from None


def read_jsonl(path: Path) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield (line number, object) for each line of a JSONL file that is not blank.

    Raises:
        DataError: see `read_text`; or a line is not a JSON object.
    """
    # Not splitlines(): JSON strings may hold U+2028 and its like, which are no line ends here.
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if not line.strip():
            continue
        yield number, json_line(line, f"{path}:{number}")


def json_line(line: str, where: str) -> dict[str, Any]:
    """Return the object that a line of JSONL holds.

    Raises:
        DataError: not JSON, or not an object.
    """
    try:
        value: object = parse_json(line)
    except json.JSONDecodeError as error:
        raise DataError(f"The line is not JSON: {error.msg}.", where=where) from None
    except ValueError as error:
        raise DataError(f"The line cannot be read as JSON: {error}.", where=where) from None
    if not isinstance(value, dict):
        raise DataError("The line is JSON but not an object {…}.", where=where)
    return cast("dict[str, Any]", value)


def parse_json(text: str) -> object:
    """Return the value of a JSON text.

    Raises:
        json.JSONDecodeError: it is not JSON.
        ValueError: it is, and says what nobody could use: a number of thousands of digits, lists in lists in
            lists, a key twice in one object, of which one would be lost.
    """
    try:
        return json.loads(text, object_pairs_hook=_object, parse_int=_whole)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def parse_toml(text: str) -> dict[str, Any]:
    """Return the table of a TOML text. Raises ValueError: it is no TOML, or says what nobody could use."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        raise
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except ValueError:  # of Python, which makes no number of so many digits
        raise ValueError("a number has thousands of digits") from None


def parse_values(text: str) -> Iterator[tuple[int, object]]:
    """Yield (line number, value) for each JSON value of a text in which they stand one behind another.

    Raises:
        json.JSONDecodeError, ValueError: as `parse_json`.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole)
    line, end = 1, 0
    while begin := re.compile(r"\S").search(text, end):
        line += text.count("\n", end, begin.start())
        try:
            value, end = decoder.raw_decode(text, begin.start())
        except RecursionError:
            raise ValueError("it is nested too deeply") from None
        yield line, value
        line += text.count("\n", begin.start(), end)


def parse_items(parts: Iterable[str]) -> Iterator[object]:
    """Yield the items of a JSON list that comes in parts, such as blocks of a file, each when it is whole.

    Raises:
        json.JSONDecodeError, ValueError: as `parse_json`; what stood before has been yielded.
    """
    decoder = json.JSONDecoder(object_pairs_hook=_object, parse_int=_whole)
    text, place, ends = "", 0, r"\s*\[?\s*\]\s*"
    for part in parts:
        text, place = text[place:] + part, 0
        while before := _BEFORE.match(text, place):
            try:
                value, end = decoder.raw_decode(text, before.end())
            except json.JSONDecodeError:  # it may go on in the next part
                break
            except RecursionError:
                raise ValueError("it is nested too deeply") from None
            if not _AFTER.match(text, end):  # a number may go on too
                break
            yield value
            place, ends = end, r"\s*\]\s*"
    if not re.compile(ends).fullmatch(text, place):
        raise json.JSONDecodeError("Expecting value, ',' delimiter or ']'", text, place)


def _whole(digits: str) -> int:
    if len(digits) > MOST_DIGITS:
        raise ValueError(f"a number has {len(digits)} digits")
    return int(digits)


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) < len(pairs):
        keys = [key for key, _ in pairs]
        raise ValueError(f"the key '{next(key for key in keys if keys.count(key) > 1)}' stands twice")
    return made


def jsonl(rows: Iterable[Mapping[str, Any]]) -> str:
    """Return rows as JSONL text."""
    return "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)


def write_atomic(path: Path, data: str | bytes) -> None:
    """Write a file so that readers, and a kill, see the old content or the new one, never a part.

    Raises:
        RunError: the disk is full or the folder cannot be written; the old file stands.
    """
    with replacing(path) as new, new.open("wb") as file:
        file.write(data.encode() if isinstance(data, str) else data)


@contextlib.contextmanager
def replacing(path: Path) -> Generator[Path]:
    """Yield a file to write to, which takes the place of `path` at the end if nothing went wrong.

    Raises:
        RunError: as `write_atomic`.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        new = path.with_name(f".{path.name}.{secrets.token_hex(4)}")
        os.close(os.open(new, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))  # less what the umask takes away
        try:
            yield new
            sync(new)
            os.replace(new, path)
        finally:
            new.unlink(missing_ok=True)
    except OSError as error:
        raise RunError(
            f"The file cannot be written: {error.strerror}.", where=str(path), hint=disk_hint(error)
        ) from None


def disk_hint(error: OSError) -> str:
    """Return what to do about a failed write."""
    import errno

    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return "Free some space and run the same command again; what was complete still stands." if full else ""


def write_changed(path: Path, data: bytes) -> bool:
    """Write a file that does not hold `data` yet, see `write_atomic`; return whether it did not."""
    if path.is_file() and path.read_bytes() == data:
        return False
    write_atomic(path, data)
    return True


def sync(path: Path) -> None:
    """Wait until a file or a folder's list of names is on the disk. Raises OSError."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def file_sha256(path: Path) -> str:
    """Return the sha256 of a file, in hexadecimal; one that has not changed is read once."""
    state = path.stat()
    return _sha256(path, state.st_ino, state.st_size, state.st_mtime_ns)


@functools.lru_cache(maxsize=256)
def _sha256(path: Path, *_: int) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def inventory(folder: Path) -> dict[str, list[int | str]]:
    """Return size and sha256 of each file in a folder, by its name, once they are on the disk."""
    files = sorted(path for path in folder.iterdir() if path.is_file())
    for path in (*files, folder):
        sync(path)
    return {path.name: [path.stat().st_size, file_sha256(path)] for path in files}


def damage(folder: Path, held: Mapping[str, Sequence[int | str]]) -> str:
    """Return what is wrong with a folder whose `inventory` was `held`; '' where nothing is."""
    for name, (size, digest) in held.items():
        path = folder / name
        if not path.is_file():
            return f"{name} is missing"
        if path.stat().st_size != size:
            return f"{name} has {path.stat().st_size:,} bytes and not {size:,}"
        if file_sha256(path) != digest:
            return f"{name} does not hold what was saved"
    return ""


def content_hash(value: object) -> str:
    """Return 16 hexadecimal digits for a JSON-like value; the order of keys does not matter."""
    text = json.dumps(value, ensure_ascii=False, sort_keys=True, default=str)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


def _neighbours(path: Path) -> str:
    from espalier.core.errors import nearest

    if not path.parent.is_dir():
        return f"The folder {path.parent} does not exist either."
    names = [entry.name for entry in path.parent.iterdir() if entry.suffix == path.suffix and entry.is_file()]
    return nearest(path.name, names[:20]) if names else ""
