"""The peak is what was held since it was last forgotten."""

from __future__ import annotations

import pytest
import torch

from espalier.train.peak import forget_peak, peak_mb


def test_the_peak_can_start_anew():
    large = torch.ones(50_000_000)
    high = peak_mb()
    del large
    if not forget_peak():
        pytest.skip("this system does not let a process forget its peak")
    low = peak_mb()
    assert low < high - 150
    small = torch.ones(10_000_000)
    assert low + 20 < peak_mb() < low + 80
    del small
