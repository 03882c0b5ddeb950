"""Pictures and sounds that the tests draw and speak themselves."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from PIL import Image

from espalier.media.finding import Finder

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture
def finder(tmp_path: Path) -> Finder:
    (tmp_path / "data").mkdir()
    return Finder(tmp_path / "data", tmp_path / "shelf")


@pytest.fixture
def png(finder: Finder) -> Path:
    """Red above, blue below: what turns, or is cut off, is seen."""
    path = finder.base / "flag.png"
    flag().save(path)
    return path


@pytest.fixture
def wav(finder: Finder) -> Path:
    path = finder.base / "tone.wav"
    soundfile.write(path, tone(16_000, 0.5), 16_000)
    return path


def flag(width: int = 6, height: int = 4) -> Image.Image:
    image = Image.new("RGB", (width, height), "blue")
    image.paste((255, 0, 0), (0, 0, width, height // 2))
    return image


def tone(rate: int, seconds: float, frequency: float = 440.0) -> np.ndarray:
    """A tone as float32 [samples], half of full scale."""
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(rate * seconds)) / rate)).astype(np.float32)
