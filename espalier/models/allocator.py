"""The memory of a CPU's libraries: kept where the next step needs it, not kept where no step will.

Left alone, glibc maps every large tensor anew and gives it back once freed, so that each step pays again for
pages that the kernel zeroes. What `MALLOC_*` variables do from outside, `mallopt` does from inside a process.

oneDNN, and what stands between it and torch, keep what they prepared for the last 1024 products, by exact
size. Every tree has sizes of its own, some 25 that its layers share, so half a GB would be kept that never
serves again, in small blocks all over the heap between which no large tensor fits.
"""

from __future__ import annotations

import ctypes
import os
import platform

# The numbers are those of malloc.h: never map tensors apart, never give memory back, grow by 256 MB.
M_TRIM_THRESHOLD, M_TOP_PAD, M_MMAP_MAX = -1, -2, -4
SETTINGS = {M_MMAP_MAX: 0, M_TRIM_THRESHOLD: -1, M_TOP_PAD: 2**28}
# Products kept. Read at the first one; a person's own setting goes before.
KEPT = {"ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64", "LRU_CACHE_CAPACITY": "64"}


def tune_allocator() -> bool:
    """Set both for this process; return whether the C library is one that can keep what is freed.

    Tensors that exist already stay where they are, so this belongs before the model is loaded.
    """
    for name, count in KEPT.items():
        os.environ.setdefault(name, count)
    if platform.libc_ver()[0] != "glibc":
        return False
    set_option = ctypes.CDLL(None).mallopt
    return all(set_option(option, value) == 1 for option, value in SETTINGS.items())
