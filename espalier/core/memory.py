"""The most resident memory that this process has held; nothing is loaded to ask."""

from __future__ import annotations

import resource
import sys
from contextlib import suppress
from pathlib import Path


def peak_resident() -> float:
    """Return the peak so far, in bytes."""
    # Unlike getrusage's, the kernel's own mark knows nothing of the process that started this one.
    with suppress(OSError):
        for line in Path("/proc/self/status").read_text().splitlines():
            if line.startswith("VmHWM:"):
                return int(line.split()[1]) * 1024
    unit = 1 if sys.platform == "darwin" else 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
