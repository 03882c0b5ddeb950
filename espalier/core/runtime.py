"""What libraries read from the environment before they are loaded, set where a person has not.

The command line does it at once. A program that imports espalier has it done by the first of its functions
that computes, which tells where torch was loaded before.
"""

from __future__ import annotations

import os
import sys

ENVIRONMENT = {
    "TOKENIZERS_PARALLELISM": "false",  # read when they fork
    "THP_MEM_ALLOC_ENABLE": "1",  # large pages; read at torch's first allocation
    # oneDNN, and what stands between it and torch, keep what they prepared for the last 1024 products, by
    # exact size. Every tree has sizes of its own, some 25 that its layers share, so half a GB would be kept
    # that never serves again, in small blocks all over the heap between which no large tensor fits.
    "ONEDNN_PRIMITIVE_CACHE_CAPACITY": "64",
    "LRU_CACHE_CAPACITY": "64",
}


def prepare_environment() -> list[str]:
    """Set what is not set; return the names of those that come too late, as torch is loaded already."""
    missing = [name for name in ENVIRONMENT if name not in os.environ]
    for name in missing:
        os.environ[name] = ENVIRONMENT[name]
    return [name for name in missing if "torch" in sys.modules and name != "TOKENIZERS_PARALLELISM"]
