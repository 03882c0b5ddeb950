"""What tells code from its earlier versions, so that what it made is known to be old."""

from __future__ import annotations

from functools import cache
from importlib.metadata import version
from inspect import getsourcefile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from espalier.core.files import content_hash, file_sha256

if TYPE_CHECKING:
    from collections.abc import Callable

PACKAGE = Path(__file__).resolve().parent.parent


def code_hash(function: Callable[..., Any]) -> str:
    """Return the hash of a function's file; of one of this package, of all files of its room."""
    code = getsourcefile(function)
    file = Path(code).resolve() if code else PACKAGE
    if PACKAGE in file.parents:
        room = PACKAGE / file.relative_to(PACKAGE).parts[0]
        return f"{version('espalier-lm')} {_hash_of(room)}"
    return file_sha256(file) if file.is_file() else ""


@cache
def _hash_of(room: Path) -> str:
    files = sorted(path for path in room.rglob("*") if path.suffix in (".py", ".toml"))
    return content_hash([[file.name, file_sha256(file)] for file in files])
