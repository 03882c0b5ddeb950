"""Features that tests make are kept in a folder of their own."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from espalier.core.caches import keep_in

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture
def own_cache(tmp_path: Path) -> Iterator[Path]:
    """A folder for what is kept, for one test."""
    yield keep_in(tmp_path / "cache")
    keep_in(None)


@pytest.fixture(scope="module")
def module_cache(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """The same for the tests of a file."""
    yield keep_in(tmp_path_factory.mktemp("cache"))
    keep_in(None)
