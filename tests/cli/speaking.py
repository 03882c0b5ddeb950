"""What the recipes of spoken words read, a few kB of it: their script, with tones for speech."""

from __future__ import annotations

import importlib.util
import zlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unittest import mock

import numpy as np
import torch

from espalier.media import sounds
from espalier.models.encoders.encoders import Encoder

if TYPE_CHECKING:
    from collections.abc import Sequence

SCRIPT = Path(__file__).parents[2] / "examples" / "spoken.py"
RATE, BANDS = 8_000, 8


def pitches() -> Encoder:
    """Hears how loud each of eight bands is, in a token for each quarter of a second that has begun."""

    def length(found: Any) -> int:
        return int(found.seconds * 4) + 1

    def heard(paths: Sequence[Path]) -> list[torch.Tensor]:
        return [_bands(sounds.samples(path, RATE), length(sounds.look(path))) for path in paths]

    return Encoder("pitches", "audio", BANDS, {}, "none", length, heard, longest=30.0)


def _bands(heard: np.ndarray, tokens: int) -> torch.Tensor:
    parts = np.stack(np.array_split(np.resize(heard, (len(heard) // tokens) * tokens), tokens))
    spectrum = np.abs(np.fft.rfft(parts))
    return torch.tensor(np.stack([band.mean(1) for band in np.array_split(spectrum, BANDS, 1)], 1)).float()


@cache
def script() -> Any:
    """Return the script as a module."""
    found = importlib.util.spec_from_file_location("spoken", SCRIPT)
    assert found
    assert found.loader
    made = importlib.util.module_from_spec(found)
    found.loader.exec_module(made)
    return made


def tones(text: str, voice: str, *, pace: int = 165, pitch: int = 50, gap: int = 0) -> np.ndarray:
    """Return a tone for each word [n], as high as its letters have it: no voice is like another."""
    own = 1 + zlib.crc32(voice.encode()) % 100 / 1000 + pitch / 1000
    times = np.arange(round(script().RATE * 6 / pace)) / script().RATE
    pitches = [(200 + zlib.crc32(word.encode()) % 1500) * own for word in text.split()]
    return np.concatenate([0.5 * np.sin(2 * np.pi * one * times) for one in pitches]).astype(np.float32)


def spoken_digits(folder: Path) -> None:
    """Make the rows of spoken-digits, the person's too."""
    human = folder / "human"
    human.mkdir()
    for number, word in enumerate(script().WORDS):
        said = sounds.resampled(tones(word, "person"), script().RATE, 8_000)
        sounds.soundfile().write(human / f"{number}.wav", said, 8_000)
    with mock.patch.object(script(), "speak", tones):
        script().main(
            ["digits", str(folder / "digits"), "--human", str(human), "--train", "12", "--test", "6"]
        )


def spoken_intents(folder: Path) -> None:
    """Make the rows of spoken-intents."""
    with mock.patch.object(script(), "speak", tones):
        script().main(["intents", str(folder / "intents"), "--train", "24", "--test", "12"])
