"""What a page shows of media: small, in itself, and without what a camera wrote beside the pixels."""

from __future__ import annotations

import base64
import io
import json
from typing import TYPE_CHECKING

import numpy as np
import pytest
import soundfile
from PIL import Image
from transformers import CLIPImageProcessorPil, ViTImageProcessorPil

from espalier.core.errors import DataError
from espalier.media.pictures import PADDED, pixels
from espalier.media.showing import as_seen, clip, shown, waveform
from tests.media.conftest import flag, tone

if TYPE_CHECKING:
    from pathlib import Path


def unpacked(url: str) -> tuple[str, bytes]:
    head, data = url.split(",")
    return head, base64.b64decode(data)


def noise(width: int, height: int) -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, (height, width, 3), np.uint8)


def test_a_thumbnail_is_upright_and_knows_no_place(tmp_path: Path) -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    exif.get_ifd(0x8825)[1] = "N"
    exif[0x010E] = "my garden"
    flag(300, 200).save(tmp_path / "x.jpg", exif=exif)
    assert b"my garden" in (tmp_path / "x.jpg").read_bytes()
    _, data = unpacked(shown(pixels(tmp_path / "x.jpg")))
    image = Image.open(io.BytesIO(data))
    assert image.size == (85, 128)
    assert not image.getexif()
    assert b"my garden" not in data
    assert b"Exif" not in data


def test_drawings_are_png_and_photographs_jpeg() -> None:
    assert unpacked(shown(np.asarray(flag(64, 64))))[0] == "data:image/png;base64"
    assert unpacked(shown(noise(64, 64)))[0] == "data:image/jpeg;base64"


@pytest.mark.parametrize(
    ("size", "expected"), [((640, 20), (128, 4)), ((3, 2), (3, 2)), ((1, 200), (1, 128))]
)
def test_the_longer_side_is_bounded_and_nothing_grows(
    size: tuple[int, int], expected: tuple[int, int]
) -> None:
    _, data = unpacked(shown(np.asarray(flag(*size))))
    assert Image.open(io.BytesIO(data)).size == expected


def test_a_waveform_has_its_loud_and_quiet_parts() -> None:
    loud, quiet = tone(16_000, 0.5), tone(16_000, 0.5) / 10
    bars = waveform(np.concatenate([loud, quiet]), bars=10)
    assert bars == pytest.approx([1] * 5 + [0.1] * 5, abs=0.01)
    assert waveform(np.zeros(5, np.float32)) == [0] * 5
    assert waveform(np.zeros(0, np.float32)) == [0]
    assert len(waveform(loud)) == 100


def test_a_clip_is_one_channel_of_what_was_heard(tmp_path: Path) -> None:
    both = np.stack([tone(44_100, 1), tone(44_100, 1)], 1)
    soundfile.write(tmp_path / "x.wav", both, 44_100)
    head, data = unpacked(clip(tmp_path / "x.wav"))
    assert head == "data:audio/mpeg;base64"
    values, rate = soundfile.read(io.BytesIO(data))
    assert (values.ndim, rate) == (1, 16_000)
    assert len(values) == pytest.approx(16_000, abs=2_500)
    assert clip(tmp_path / "x.wav") == clip(tmp_path / "x.wav")


def test_a_clip_keeps_to_its_budget_with_its_beginning(tmp_path: Path) -> None:
    soundfile.write(tmp_path / "x.wav", np.random.default_rng(0).normal(0, 0.2, 480_000), 16_000)
    url = clip(tmp_path / "x.wav", most=20_000)
    assert 12_000 < len(url) <= 20_000
    with pytest.raises(DataError, match="nothing fits into 100 letters"):
        clip(tmp_path / "x.wav", most=100)


def test_without_mp3_a_clip_is_flac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    soundfile.write(tmp_path / "x.wav", tone(16_000, 1), 16_000)
    monkeypatch.setattr(soundfile, "available_formats", lambda: {"FLAC": ""})
    head, data = unpacked(clip(tmp_path / "x.wav"))
    assert head == "data:audio/flac;base64"
    assert len(soundfile.read(io.BytesIO(data))[0]) == 16_000


def test_pictures_are_shown_as_processors_leave_them() -> None:
    """Against transformers' own processors: what they resize and cut, we show so."""
    values = np.zeros((40, 80, 3), np.uint8)
    values[:, 40:] = 200
    for processor in (
        ViTImageProcessorPil(size={"height": 32, "width": 32}),
        CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size={"height": 32, "width": 32}),
        CLIPImageProcessorPil(size={"shortest_edge": 24}, do_center_crop=False),
        CLIPImageProcessorPil(do_resize=False, crop_size={"height": 20, "width": 60}),
    ):
        theirs = processor([values], return_tensors="np", do_normalize=False, do_rescale=False)[
            "pixel_values"
        ][0]
        found = as_seen(values, {"processor": json.loads(json.dumps(processor.to_dict(), default=str))})
        assert found.shape == (*theirs.shape[-2:], 3)
        assert np.abs(found.astype(int) - theirs.transpose(1, 2, 0)).mean() < 4  # ways to interpolate differ
    assert as_seen(values, {}).shape == values.shape
    assert as_seen(values, {"pixels": 64, "fit": PADDED}).shape == (64, 64, 3)
