"""Names of runs, which are names of folders too: in any script, on any file system."""

from __future__ import annotations

import unicodedata

from pydantic_core import PydanticCustomError

LONGEST = 200  # bytes: a file system takes 255 for a name, and files of a run are called after it
MARKS = "._-"


def run_name(name: str) -> str:
    """Return the name in its composed form (NFC), so that it is one name however it was typed.

    Raises:
        PydanticCustomError: it is empty or too long, begins or ends with what a folder's should not, or holds
            what is neither a letter nor a digit nor one of `MARKS`.
    """
    name = unicodedata.normalize("NFC", name)
    why = _unfit(name)
    if why:
        raise PydanticCustomError("run_name", "{why}", {"why": why})
    return name


def possible_path(path: str) -> str:
    """Return a path as it is. Raises PydanticCustomError where no file system can have it."""
    longest = max(len(part.encode()) for part in path.split("/"))
    if "\0" in path or longest > 255 or len(path.encode()) > 3000:
        why = "it has a null character" if "\0" in path else "it is too long for a file system"
        raise PydanticCustomError("run_name", "{why}", {"why": why})
    return path


def _unfit(name: str) -> str:
    if not name:
        return "it is empty"
    for character in name:
        if unicodedata.category(character)[0] not in "LNM" and character not in MARKS:
            return (
                f"{_shown(character)} cannot be in a run's name, only letters, digits, '.', '_' and '-' can"
            )
    if unicodedata.category(name[0])[0] not in "LN":
        return f"it begins with {_shown(name[0])}, and should with a letter or a digit"
    if name[-1] == ".":
        return "it ends with '.', which some file systems drop"
    size = len(name.encode())
    if size > LONGEST:
        return f"it has {size} bytes, and a folder's name has room for {LONGEST}"
    return ""


def _shown(character: str) -> str:
    """Return a character as a reader can see it: one that shows nothing by its name."""
    if character.isprintable() and not character.isspace():
        return f"'{character}'"
    return f"{unicodedata.name(character, 'a control character').lower()} (U+{ord(character):04X})"
