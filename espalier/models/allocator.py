"""glibc's allocator, told to keep the memory that a training step frees for the next step.

Left alone, it maps every large tensor anew and gives it back once freed, so that each step pays again for
pages that the kernel zeroes. What `MALLOC_*` variables do from outside, `mallopt` does from inside a process.
"""

from __future__ import annotations

import ctypes
import platform

# The numbers are those of malloc.h: never map tensors apart, never give memory back, grow by 256 MB.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
SETTINGS = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: 2**28}


def tune_allocator() -> bool:
    """Keep freed memory in the process; return whether the C library is one that can.

    Tensors that exist already stay where they are, so this belongs before the model is loaded.
    """
    if not _glibc():
        return False
    set_option = ctypes.CDLL(None).mallopt
    return all(set_option(option, value) == 1 for option, value in SETTINGS.items())


def give_back() -> None:
    """Give memory that is free now back to the system: between two works that need it in other pieces."""
    if _glibc():
        ctypes.CDLL(None).malloc_trim(0)


def _glibc() -> bool:
    return platform.libc_ver()[0] == "glibc"
