"""The peak is what was held since it was last forgotten."""

from __future__ import annotations

import subprocess
import sys

import pytest

# In a process of its own: one that has freed much memory takes new memory from there.
PROGRAM = """
import torch
from espalier.train.peak import forget_peak, peak_mb

large = torch.ones(50_000_000)
high = peak_mb()
del large
if forget_peak():
    low = peak_mb()
    small = torch.ones(10_000_000)
    print(high, low, peak_mb())
"""


def test_the_peak_can_start_anew():
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True)
    if not done.stdout:
        pytest.skip("this system does not let a process forget its peak")
    high, low, after = map(float, done.stdout.split())
    assert low < high - 150
    assert low + 20 < after < low + 80
