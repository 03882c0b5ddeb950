"""A picture of any form comes out as a viewer shows it: upright, on white, in 8 bits; or is refused."""

from __future__ import annotations

import contextlib
import io
import struct
import sys
import warnings
import zlib
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageOps

from espalier.core.errors import DataError, MissingExtra
from espalier.media import pictures
from espalier.media.pictures import ELONGATED, FORMATS, fitting, look, pixels, squared
from tests.media.conftest import flag

if TYPE_CHECKING:
    from pathlib import Path

RED, BLUE, WHITE = [255, 0, 0], [0, 0, 255], [255, 255, 255]


def saved(folder: Path, image: Image.Image, name: str = "x.png", **settings: Any) -> Path:
    image.save(folder / name, **settings)
    return folder / name


def chunk(kind: bytes, data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))


def png_of(width: int, height: int, rows: bytes, depth: int = 8, colour: int = 0) -> bytes:
    head = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, 0)
    parts = chunk(b"IHDR", head), chunk(b"IDAT", zlib.compress(rows)), chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + b"".join(parts)


@pytest.mark.parametrize("orientation", range(1, 9))
@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.webp", "x.tif"])
def test_a_turned_picture_stands_upright(tmp_path: Path, orientation: int, name: str) -> None:
    exif = Image.Exif()
    exif[0x0112] = orientation
    big = flag(48, 32)
    path = saved(tmp_path, big, name, exif=exif, **({"lossless": True} if name == "x.webp" else {}))
    found, seen = look(path), pixels(path)
    assert seen.shape == (found.height, found.width, 3)
    assert (found.width, found.height) == ((48, 32) if orientation < 5 else (32, 48))
    # Where the red upper half of the file is to be seen: above, below, left or right.
    red = {1: (4, 9), 2: (4, 9), 3: (28, 9), 4: (28, 9), 5: (9, 4), 6: (9, 28), 7: (9, 28), 8: (9, 4)}
    assert np.abs(seen[red[orientation]].astype(int) - RED).max() < 8
    if name != "x.tif":  # which Pillow turns as it reads
        assert ("turned upright" in found.note) == (orientation > 1)


def test_an_orientation_that_cannot_be_read_is_left_out(tmp_path: Path) -> None:
    for exif in (b"Exif\0\0MM\0*", b"Exif\0\0II*\0\xff\xff\xff\xff", b"Exif\0\0nonsense" * 9):
        path = saved(tmp_path, flag(48, 32), "x.jpg", exif=exif)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            assert (look(path).width, pixels(path).shape) == (48, (32, 48, 3))


def see_through() -> Image.Image:
    image = Image.new("RGBA", (4, 3), (255, 0, 0, 255))
    image.paste((0, 255, 0, 0), (0, 0, 2, 3))  # green, of which nothing is to be seen
    return image


@pytest.mark.parametrize(
    ("image", "name", "settings"),
    [
        (see_through(), "x.png", {}),
        (see_through(), "x.webp", {"lossless": True, "exact": True}),
        (see_through(), "x.tif", {}),
        (see_through().quantize(4), "x.png", {}),
        (see_through(), "x.gif", {}),
    ],
)
def test_transparency_is_laid_on_white(
    tmp_path: Path, image: Image.Image, name: str, settings: dict[str, Any]
) -> None:
    path = saved(tmp_path, image, name, **settings)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        assert pixels(path)[1].tolist() == [WHITE, WHITE, RED, RED]
    assert look(path).note == "transparency laid on white"


def test_half_transparent_grey_is_half_white(tmp_path: Path) -> None:
    image = Image.new("LA", (2, 1), (0, 128))
    assert pixels(saved(tmp_path, image))[0].tolist() == [[127] * 3] * 2
    assert look(tmp_path / "x.png").mode == "LA"


def test_a_palette_with_one_clear_colour(tmp_path: Path) -> None:
    image = Image.new("P", (2, 1))
    image.putpalette([*RED, *BLUE])
    image.putpixel((1, 0), 1)
    assert pixels(saved(tmp_path, image, transparency=1)).tolist() == [[RED, WHITE]]
    assert pixels(saved(tmp_path, image, "y.png")).tolist() == [[RED, BLUE]]
    assert look(tmp_path / "y.png") == pictures.Picture(2, 1, "P", "PNG")


def test_grey_and_rgb_with_one_clear_colour(tmp_path: Path) -> None:
    grey = Image.new("L", (2, 1), 7)
    grey.putpixel((1, 0), 9)
    assert pixels(saved(tmp_path, grey, transparency=9)).tolist() == [[[7] * 3, WHITE]]
    assert pixels(saved(tmp_path, flag(1, 2), transparency=(0, 0, 255)))[:, 0].tolist() == [RED, WHITE]


@pytest.mark.parametrize("name", ["x.png", "x.tif", "x.ppm"])
def test_sixteen_bits_of_grey_keep_their_brightness(tmp_path: Path, name: str) -> None:
    values = np.array([[0, 256, 32_896, 65_535]], np.uint16)
    path = saved(tmp_path, Image.fromarray(values), name)
    assert pixels(path)[0].tolist() == [[0] * 3, [1] * 3, [128] * 3, WHITE]
    assert "brought to 8" in look(path).note


def test_sixteen_bits_of_colour(tmp_path: Path) -> None:
    row = b"\0" + struct.pack(">6H", 65_535, 0, 0, 0, 0, 32_896)
    (tmp_path / "x.png").write_bytes(png_of(2, 1, row, depth=16, colour=2))
    assert pixels(tmp_path / "x.png").tolist() == [[RED, [0, 0, 128]]]


@pytest.mark.parametrize("depth", [1, 2, 4])
def test_few_bits_of_grey(tmp_path: Path, depth: int) -> None:
    (tmp_path / "x.png").write_bytes(png_of(2, 1, bytes([0, (2**depth - 1) << (8 - depth)]), depth))
    assert pixels(tmp_path / "x.png").tolist() == [[WHITE, [0] * 3]]


@pytest.mark.parametrize(("values", "seen"), [([0, 0.5, 1], [0, 128, 255]), ([0, 128, 255], [0, 128, 255])])
def test_brightness_as_fractions(tmp_path: Path, values: list[float], seen: list[int]) -> None:
    path = saved(tmp_path, Image.fromarray(np.array([values], np.float32)), "x.tif")
    assert pixels(path)[0, :, 0].tolist() == seen


@pytest.mark.parametrize("values", [[-1.0, 0.5], [0.0, 9000.0], [0.0, float("nan")]])
def test_numbers_that_are_no_brightness_are_refused_before_the_first_step(
    tmp_path: Path, values: list[float]
) -> None:
    path = saved(tmp_path, Image.fromarray(np.array([values], np.float32)), "x.tif")
    for reads in (look, pixels):
        with pytest.raises(DataError, match=r"its values go from .* expected 0 to 255"):
            reads(path)


@pytest.mark.parametrize("name", ["x.jpg", "x.tif"])
def test_cmyk_has_the_right_colours(tmp_path: Path, name: str) -> None:
    path = saved(tmp_path, Image.new("CMYK", (16, 16), (0, 255, 255, 0)), name)
    assert np.abs(pixels(path)[8, 8].astype(int) - RED).max() < 8
    assert look(path).note == "converted from CMYK"


@pytest.mark.parametrize("name", ["x.webp", "x.gif", "x.png", "x.tif"])
def test_of_what_moves_the_first_frame_is_taken_with_a_word(tmp_path: Path, name: str) -> None:
    rest = [Image.new("RGB", (6, 4), colour) for colour in ("blue", "lime")]
    settings = {"lossless": True} if name == "x.webp" else {}
    path = saved(
        tmp_path, Image.new("RGB", (6, 4), "red"), name, save_all=True, append_images=rest, **settings
    )
    found = look(path)
    assert (found.frames, found.note) == (3, "the first of 3 frames")
    assert (pixels(path) == RED).all()


def test_a_phones_photograph_with_its_depth_is_one_picture(tmp_path: Path) -> None:
    path = tmp_path / "x.jpg"
    flag(48, 32).save(path, "MPO", save_all=True, append_images=[flag(24, 16)])
    assert look(path) == pictures.Picture(48, 32, "RGB", "JPEG")


def test_one_pixel_is_a_picture_and_a_line_is_none(tmp_path: Path) -> None:
    assert look(saved(tmp_path, Image.new("RGB", (1, 1), "red"))).note == "a single pixel"
    assert pixels(tmp_path / "x.png", most=1).tolist() == [[RED]]
    for size in ((1, 20_000), (20_000, 1), (1, ELONGATED + 1)):
        with pytest.raises(DataError, match=f"{size[0]:,}×{size[1]:,} pixels: a line") as caught:
            look(saved(tmp_path, Image.new("L", size)))
        assert "at most 200 times as long" in caught.value.hint
    assert look(saved(tmp_path, Image.new("L", (1, ELONGATED)))).height == ELONGATED
    assert pixels(saved(tmp_path, Image.new("L", (1, 20_000))), most=400).shape == (400, 1, 3)


@given(st.integers(1, 30_000), st.integers(1, 30_000), st.integers(1, 10**7))
def test_a_picture_that_is_made_smaller_fits_and_keeps_its_proportions(
    width: int, height: int, most: int
) -> None:
    breadth, length = fitting(width, height, most)
    assert breadth >= 1
    assert length >= 1
    assert breadth * length <= most
    if width * height > most and min(breadth, length) > 50:
        assert (breadth / length) / (width / height) == pytest.approx(1, rel=0.05)
        assert breadth * length > 0.9 * most


def test_only_a_larger_picture_is_made_smaller(tmp_path: Path) -> None:
    path = saved(tmp_path, flag(60, 40))
    assert (pixels(path, most=2400) == np.asarray(flag(60, 40))).all()
    small = pixels(path, most=600)
    assert small.shape == (20, 30, 3)
    assert np.abs(small[2, 2].astype(int) - RED).max() < 8
    assert np.abs(small[-3, 2].astype(int) - BLUE).max() < 8


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("share", [0.1, 0.5, 0.95])
def test_what_is_cut_off_is_refused_and_never_half_grey(tmp_path: Path, form: str, share: float) -> None:
    noise = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 60, 3), np.uint8))
    whole = saved(tmp_path, noise, format=form)
    look(whole)
    data = whole.read_bytes()
    whole.write_bytes(data[: int(len(data) * share)])
    for reads in (look, pixels):
        with pytest.raises(DataError, match=r"is cut off|cannot be decoded") as caught:
            reads(whole)
        assert "Fetch or export it again" in caught.value.hint
        assert str(tmp_path) not in caught.value.message


@given(st.data())
def test_damage_is_a_sentence_or_no_damage(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    made = io.BytesIO()
    flag(24, 16).save(made, data.draw(st.sampled_from(FORMATS)))
    damaged = bytearray(made.getvalue())
    for place in data.draw(st.lists(st.integers(0, len(damaged) - 1), max_size=6)):
        damaged[place] = data.draw(st.integers(0, 255))
    path = tmp_path_factory.getbasetemp() / "damaged"
    path.write_bytes(damaged)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        with contextlib.suppress(DataError):
            found = look(path)
            assert pixels(path).shape == (found.height, found.width, 3)


def test_bombs_are_refused_before_they_are_unpacked(tmp_path: Path) -> None:
    for side in (9_500, 20_000, 60_000):  # Pillow warns of the first and raises at the others
        (tmp_path / "x.png").write_bytes(png_of(side, side, bytes(1000)))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            for reads in (look, pixels):
                with pytest.raises(DataError, match="more than 89,478,485 pixels once unpacked"):
                    reads(tmp_path / "x.png")


@pytest.mark.parametrize("data", [b"", b"<html>", b"%!PS-Adobe-3.0 EPSF-3.0\n", b"\x89PNG\r\n\x1a\n"])
def test_what_is_no_picture_cannot_be_decoded(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "x.png").write_bytes(data)
    with pytest.raises(DataError, match="cannot be decoded"):
        look(tmp_path / "x.png")


def test_a_picture_without_pixels_is_refused(tmp_path: Path) -> None:
    for data in (png_of(0, 3, b""), png_of(3, 0, b""), b"P6 0 3 255\n"):
        (tmp_path / "x.png").write_bytes(data)
        with pytest.raises(DataError, match="cannot be decoded"):
            look(tmp_path / "x.png")


def test_many_threads_read_at_once(tmp_path: Path) -> None:
    paths = [saved(tmp_path, flag(40 + number, 32), f"{number}.jpg") for number in range(40)]
    with ThreadPoolExecutor(8) as threads:
        assert [found.width for found in threads.map(look, paths)] == [40 + number for number in range(40)]


def test_the_slow_way_gives_the_same_pixels(tmp_path: Path) -> None:
    """Pillow's own steps one by one, without any of ours."""
    exif = Image.Exif()
    exif[0x0112] = 6
    path = saved(tmp_path, flag(48, 32), "x.jpg", exif=exif)
    slow = np.asarray(ImageOps.exif_transpose(Image.open(path)).convert("RGB"))
    assert (pixels(path) == slow).all()


def test_without_pillow_the_extra_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    path = saved(tmp_path, flag())
    monkeypatch.setitem(sys.modules, "PIL.Image", None)
    with pytest.raises(MissingExtra, match=r"pip install 'espalier-lm\[media\]'"):
        look(path)


@pytest.mark.parametrize(("width", "height"), [(40, 20), (20, 40), (7, 7), (500, 3)])
def test_a_square_has_all_of_the_picture_and_white(width: int, height: int) -> None:
    found = squared(np.zeros((height, width, 3), np.uint8), 28)
    assert found.shape == (28, 28, 3)
    black = (found == 0).all(-1)
    high, wide = black.any(1).sum(), black.any(0).sum()
    assert max(high, wide) == 28
    assert (wide, high) == (
        max(1, round(28 * width / max(width, height))),
        max(1, round(28 * height / max(width, height))),
    )
    assert (found[~black] == 255).all()
