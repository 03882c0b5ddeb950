"""The allocator's settings are taken, or said not to be."""

from __future__ import annotations

import platform
import subprocess
import sys

import pytest

from espalier.models.allocator import tune_allocator


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="needs glibc")
def test_glibc_takes_the_settings():
    assert tune_allocator() is True


def test_another_c_library_is_left_alone(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(platform, "libc_ver", lambda: ("", ""))
    assert tune_allocator() is False


# Prints the MB in use after some products, and how many more after twice as many, each of a size of its own.
PRODUCTS = """
import ctypes, torch
from espalier.models.allocator import tune_allocator

class Info(ctypes.Structure):
    _fields_ = [(name, ctypes.c_size_t) for name in "abcdefghij"]

def used():
    found = libc.mallinfo2()
    return (found.d + found.h) / 1e6

libc = ctypes.CDLL(None)
libc.mallinfo2.restype = Info
tune_allocator()
weights = torch.ones(64, 64, dtype=torch.bfloat16)
for size in range(200, 400):
    torch.ones(size, 64, dtype=torch.bfloat16) @ weights
    if size == 299:
        before = used()
print(used() - before)
"""


@pytest.mark.skipif(platform.libc_ver() < ("glibc", "2.33"), reason="needs glibc's mallinfo2")
def test_products_of_ever_new_sizes_do_not_fill_the_memory(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.delenv("ONEDNN_PRIMITIVE_CACHE_CAPACITY", raising=False)
    monkeypatch.delenv("LRU_CACHE_CAPACITY", raising=False)
    done = subprocess.run([sys.executable, "-c", PRODUCTS], capture_output=True, text=True, check=True)
    assert float(done.stdout) < 5  # 56 where all are kept
