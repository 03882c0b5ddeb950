"""The most resident memory that this process has held, nothing loaded to ask; and no search for garbage."""

from __future__ import annotations

import gc
import resource
import sys
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Generator


@contextmanager
def all_kept() -> Generator[None]:
    """Look for no garbage while much is made that stays: each search would go through all of it."""
    searching = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if searching:
            gc.enable()


def peak_resident() -> float:
    """Return the peak so far, in bytes."""
    # Unlike getrusage's, the kernel's own mark knows nothing of the process that started this one.
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
