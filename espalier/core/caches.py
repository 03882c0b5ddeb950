"""Where what is made once for all runs lies: converted models, features of media, media that are no files.

A person names one folder for all of it (`--cache`, or `cache=` from Python). Factories that a recipe names,
such as encoders, have their own parameters and take no folder, so it is kept here for the work at hand.
"""

from __future__ import annotations

from contextvars import ContextVar
from pathlib import Path

_named: ContextVar[Path | None] = ContextVar("cache", default=None)


def default_cache() -> Path:
    """Return the folder for converted models where the caller names none."""
    return Path.home() / ".cache" / "espalier" / "models"


def keep_in(cache: Path | None) -> Path:
    """Keep what is made from here on in a folder, or in the default one, and return that."""
    _named.set(cache)
    return used_cache()


def used_cache() -> Path:
    """Return the folder for converted models."""
    return _named.get() or default_cache()


def beside(name: str) -> Path:
    """Return a folder for something else that is kept: in the named folder, or beside the default one."""
    cache = used_cache()
    return (cache.parent if cache == default_cache() else cache) / name
