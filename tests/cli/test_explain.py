"""`espalier explain`: what is behind a run's score, asked once."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from collections.abc import Callable


def test_a_run_is_explained(espalier: Callable[..., Any], after: Any) -> None:
    done = espalier("explain", after.folder, "--card", "--shift", cwd=after.home)
    print(done.out)
    print(done.err)
    assert done.code == 0, done.err
