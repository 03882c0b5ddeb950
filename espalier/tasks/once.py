"""What is read once while much is planned over the same files, as the settings of a study are.

Outside `reading_once` nothing is held, for a run reads its rows once, and they may be much of the memory.
Within it files are taken to stay as they are.
"""

from __future__ import annotations

from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar, cast

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Hashable

T = TypeVar("T")
MOST = 200_000  # rows that are held; what was read first goes first


@dataclass
class _Held:
    """What was read, with its number of rows, by its key."""

    found: dict[Hashable, tuple[int, Any]] = field(default_factory=dict["Hashable", tuple[int, Any]])
    rows: int = 0


_held: ContextVar[_Held | None] = ContextVar("held", default=None)


@contextmanager
def reading_once() -> Generator[None]:
    """Hold what `once` reads until the outermost of these ends."""
    if _held.get() is not None:
        yield
        return
    token = _held.set(_Held())
    try:
        yield
    finally:
        _held.reset(token)


def once(key: Hashable, read: Callable[[], T], size: Callable[[T], int]) -> T:
    """Return what was read under a key within `reading_once`, or what `read` gives now.

    Args:
        key: all that it depends on but the content of files.
        read: gives it; nobody may change what it gives.
        size: how many rows it holds.
    """
    held = _held.get()
    if held is None:
        return read()
    if key not in held.found:
        made = read()
        held.found[key] = size(made), made
        held.rows += held.found[key][0]
        while held.rows > MOST and len(held.found) > 1:
            held.rows -= held.found.pop(next(iter(held.found)))[0]
    return cast("T", held.found[key][1])
