"""What the command line sets for the libraries does what it is set for."""

from __future__ import annotations

import os
import platform
import subprocess
import sys

import pytest

from espalier.core.runtime import ENVIRONMENT

# Prints the MB in use after some products, and how many more after twice as many, each of a size of its own.
PRODUCTS = """
import ctypes, torch

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "abcdefghij"]

def used():
    found = libc.mallinfo2()
    return (found.d + found.h) / 1e6

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
weights = torch.ones(64, 64, dtype=torch.bfloat16)
for size in range(200, 400):
    torch.ones(size, 64, dtype=torch.bfloat16) @ weights
    if size == 299:
        before = used()
print(used() - before)
"""


@pytest.mark.skipif(platform.libc_ver() < ("glibc", "2.33"), reason="needs glibc's mallinfo2")
def test_products_of_ever_new_sizes_do_not_fill_the_memory():
    environment = {**os.environ, **ENVIRONMENT}
    command = [sys.executable, "-c", PRODUCTS]
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    assert float(done.stdout) < 5  # 56 where all are kept
