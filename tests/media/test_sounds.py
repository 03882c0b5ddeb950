"""A sound of any form comes out as one channel at the rate that is asked for, or is refused in words."""

from __future__ import annotations

import io
import struct
import sys
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from hypothesis import given, settings
from hypothesis import strategies as st

from espalier.core.errors import DataError, MissingExtra
from espalier.media.sounds import look, resampled, samples
from tests.media.conftest import tone

if TYPE_CHECKING:
    from pathlib import Path


def saved(folder: Path, values: np.ndarray, rate: int, name: str = "x.wav", **settings: Any) -> Path:
    made = io.BytesIO()
    soundfile.write(made, values, rate, **{"format": "WAV", **settings})
    (folder / name).write_bytes(made.getvalue())
    return folder / name


def loudest(values: np.ndarray, rate: int) -> float:
    """The frequency (Hz) that a sound has most of."""
    spectrum = np.abs(np.fft.rfft(values * np.hanning(len(values))))
    return float(np.argmax(spectrum) * rate / len(values))


@pytest.mark.parametrize("own", [8_000, 11_025, 16_000, 22_050, 44_100, 48_000, 192_000])
@pytest.mark.parametrize("rate", [16_000, 24_000])
def test_any_rate_keeps_pitch_loudness_and_length(tmp_path: Path, own: int, rate: int) -> None:
    path = saved(tmp_path, tone(own, 0.5), own)
    sound, heard = look(path), samples(path, rate)
    assert (sound.rate, sound.channels, sound.seconds, sound.format) == (
        own,
        1,
        pytest.approx(0.5, abs=1e-4),
        "WAV",
    )
    assert heard.dtype == np.float32
    assert len(heard) == pytest.approx(rate * 0.5, abs=1)
    assert loudest(heard, rate) == pytest.approx(440, abs=3)
    assert np.abs(heard[rate // 10 : -rate // 10]).max() == pytest.approx(0.5, abs=0.01)
    # The same tone, made at that rate at once.
    middle = slice(rate // 10, rate * 4 // 10)
    assert np.abs(heard[middle] - tone(rate, 0.5)[middle]).max() < 0.01


def test_what_the_lower_rate_cannot_hold_is_gone_and_not_folded(tmp_path: Path) -> None:
    path = saved(tmp_path, tone(48_000, 0.5, 15_000), 48_000)  # would sound at 1,000 Hz
    assert np.abs(samples(path, 16_000)[800:-800]).max() < 0.01


@pytest.mark.parametrize(
    ("subtype", "error"),
    [
        ("PCM_U8", 0.01),
        ("PCM_16", 1e-4),
        ("PCM_24", 1e-6),
        ("PCM_32", 1e-6),
        ("FLOAT", 0),
        ("DOUBLE", 0),
        ("ULAW", 0.03),
    ],
)
def test_any_depth(tmp_path: Path, subtype: str, error: float) -> None:
    path = saved(tmp_path, tone(16_000, 0.5), 16_000, subtype=subtype)
    look(path)
    assert np.abs(samples(path, 16_000)[:8000] - tone(16_000, 0.5)).max() <= error


@pytest.mark.parametrize("channels", [2, 6])
def test_channels_are_mixed_to_their_mean(tmp_path: Path, channels: int) -> None:
    values = np.zeros((8_000, channels), np.float32)
    values[:, -1] = tone(16_000, 0.5)
    path = saved(tmp_path, values, 16_000, subtype="FLOAT")
    assert look(path).channels == channels
    assert np.abs(samples(path, 16_000) - tone(16_000, 0.5) / channels).max() < 1e-6


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3", "AIFF"])
@pytest.mark.parametrize("name", ["x.wav", "x.mp3", "x.ogg", "x.raw", "x.png", "x"])
def test_the_content_tells_and_not_the_ending(tmp_path: Path, form: str, name: str) -> None:
    path = saved(tmp_path, tone(16_000, 0.5), 16_000, name, format=form)
    assert look(path).format == form
    assert look(path).seconds == pytest.approx(0.5, abs=0.1)  # MP3 fills its frames
    assert loudest(samples(path, 16_000), 16_000) == pytest.approx(440, abs=4)


@pytest.mark.parametrize(
    ("values", "said"),
    [
        (np.zeros(0, np.float32), "has no samples"),
        (np.zeros((0, 2), np.float32), "has no samples"),
        (np.zeros(8_000, np.float32), "is silent throughout its 0.5 s"),
        (np.full(8_000, 0.25, np.float32), "is silent throughout"),  # a constant is not heard
        (np.stack([tone(16_000, 0.5), -tone(16_000, 0.5)], 1), "is silent throughout"),
        (np.full(8_000, np.nan, np.float32), "no numbers"),
        (np.array([0.1] * 8_000 + [np.nan], np.float32), "no numbers"),
        (np.array([0.1, np.inf], np.float32), "no numbers"),
    ],
)
def test_what_cannot_be_heard_is_refused(tmp_path: Path, values: np.ndarray, said: str) -> None:
    with pytest.raises(DataError, match=said) as caught:
        look(saved(tmp_path, values, 16_000, subtype="FLOAT"))
    assert caught.value.hint
    assert str(tmp_path) not in caught.value.message


def test_silence_with_the_noise_of_its_last_bit_is_silence(tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(-1, 2, 8_000).astype(np.int16)
    with pytest.raises(DataError, match="silent"):
        look(saved(tmp_path, noise, 16_000))
    assert look(saved(tmp_path, noise * 20, 16_000)).seconds == 0.5


@pytest.mark.parametrize("form", ["WAV", "FLAC", "MP3", "AIFF", "CAF", "AU", "RF64"])
@pytest.mark.parametrize("share", [0.02, 0.5, 0.9])
def test_what_is_cut_off_is_refused(tmp_path: Path, form: str, share: float) -> None:
    noise = np.random.default_rng(0).normal(0, 0.1, 48_000)
    path = saved(tmp_path, noise, 16_000, format=form)
    assert look(path).seconds == pytest.approx(3, abs=0.1)
    data = path.read_bytes()
    path.write_bytes(data[: int(len(data) * share)])
    with pytest.raises(DataError, match=r"is cut off|cannot be decoded|no samples"):
        look(path)


def test_a_length_that_was_not_known_when_it_was_written_is_no_cut(tmp_path: Path) -> None:
    path = saved(tmp_path, tone(16_000, 0.5), 16_000)
    data = bytearray(path.read_bytes())
    place = data.index(b"data")
    for length in (0xFFFF_FFFF, 0x7FFF_FFFF):  # as ffmpeg and sox write into a pipe
        data[4:8] = data[place + 4 : place + 8] = struct.pack("<I", length)
        path.write_bytes(data)
        assert look(path).seconds == 0.5
        assert len(samples(path, 16_000)) == 8_000


@pytest.mark.parametrize(
    "data", [b"", b"<html>", b"RIFF", b"RIFF\0\0\0\0WAVE", b"OggS" + bytes(99), b"ID3" * 9]
)
def test_what_is_no_sound_cannot_be_decoded(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.wav").write_bytes(data)
    for reads in (look, lambda path: samples(path, 16_000)):
        with pytest.raises(DataError, match=r"cannot be decoded|no samples"):
            reads(tmp_path / "x.wav")


@pytest.mark.parametrize("rate", [1, 999, 768_001, 2_000_000_000])
def test_a_rate_that_is_none_is_refused_before_years_of_filtering(tmp_path: Path, rate: int) -> None:
    path = saved(tmp_path, tone(16_000, 0.5), 16_000)
    data = bytearray(path.read_bytes())
    data[24:28] = struct.pack("<I", rate)
    path.write_bytes(data)
    for reads in (look, lambda path: samples(path, 16_000)):
        with pytest.raises(DataError, match=f"says {rate:,} samples a second"):
            reads(path)


def test_a_file_that_is_gone_is_said(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="No such file"):
        look(tmp_path / "gone.wav")


def test_a_long_sound_is_looked_at_in_pieces_and_read_whole(tmp_path: Path) -> None:
    values = np.random.default_rng(0).normal(0, 0.1, (300_000, 2))
    path = saved(tmp_path, values, 16_000, subtype="FLOAT")
    assert look(path).seconds == 300_000 / 16_000
    assert np.abs(samples(path, 16_000) - values.mean(1)).max() < 1e-6


@settings(max_examples=20)
@given(st.sampled_from([8_000, 11_025, 12_345, 44_100, 48_000, 192_000]), st.integers(1, 400))
def test_resampling_gives_the_length_in_time(own: int, count: int) -> None:
    heard = resampled(np.ones(count, np.float32), own, 16_000)
    assert len(heard) == -(-count * 16_000 // own)
    assert heard.dtype == np.float32


def test_without_soundfile_the_extra_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = saved(tmp_path, tone(16_000, 0.5), 16_000)
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingExtra, match=r"pip install 'espalier-lm\[media\]'"):
        look(path)
