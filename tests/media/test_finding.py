"""Whatever a row gives for a picture or a sound becomes a file with its sha256, or a sentence."""

from __future__ import annotations

import base64
import hashlib
import io
import os
import resource
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import numpy as np
import pytest
import soundfile
from PIL import Image

from espalier.core.errors import DataError, RunError
from espalier.media import finding
from espalier.media.finding import Finder
from espalier.media.pictures import pixels
from espalier.media.sounds import look, samples

if TYPE_CHECKING:
    from collections.abc import Callable, Generator


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.mark.parametrize(
    "given",
    [
        lambda path: path.name,
        lambda path: path,
        lambda path: str(path),
        lambda path: f"../data/{path.name}",  # comes back to where it was
        lambda path: path.as_uri(),
        lambda path: path.read_bytes(),
        lambda path: bytearray(path.read_bytes()),
        lambda path: {"bytes": path.read_bytes(), "path": "elsewhere.png"},
        lambda path: {"bytes": None, "path": path.name},
        lambda path: {"url": path.name},
        lambda path: {"data": base64.b64encode(path.read_bytes()).decode(), "format": "png"},
        lambda path: "data:image/jpeg;base64," + base64.b64encode(path.read_bytes()).decode(),
        lambda path: "DATA:;BASE64," + quote(base64.encodebytes(path.read_bytes()).decode()),
        lambda path: "data:image/png," + quote(path.read_bytes()),
        lambda path: base64.b64encode(path.read_bytes()).decode(),
    ],
)
@pytest.mark.parametrize("kind", ["image", "audio"])
def test_one_file_is_one_medium_however_it_is_given(
    finder: Finder, png: Path, wav: Path, given: Callable[[Path], object], kind: Any
) -> None:
    path = png if kind == "image" else wav
    for wanted in (kind, None):
        found = finder.find(given(path), wanted, "rows.jsonl:1")
        assert (found.kind, found.sha256) == (kind, sha256(path.read_bytes()))
        with open(found.uri, "rb") as file:
            assert sha256(file.read()) == found.sha256
        assert os.path.isabs(Path(found.uri))


def test_a_jpeg_in_base64_is_no_absolute_path(finder: Finder) -> None:
    made = io.BytesIO()
    Image.new("RGB", (8, 8)).save(made, "JPEG")
    text = base64.b64encode(made.getvalue()).decode()
    assert text.startswith("/9j/")
    assert finder.find(text, "image", "x").sha256 == sha256(made.getvalue())


def test_a_name_lies_and_the_content_tells(finder: Finder, png: Path, wav: Path) -> None:
    for path, wrong in ((png, "flag.jpg"), (wav, "tone.mp3"), (wav, "tone.png"), (png, "no ending")):
        (finder.base / wrong).write_bytes(path.read_bytes())
        assert finder.find(wrong, None, "x").kind == ("image" if path == png else "audio")
    assert finder.find("flag.jpg", None, "x").sha256 == finder.find("flag.png", None, "x").sha256


def test_bytes_lie_on_the_shelf_once_under_their_sha256(finder: Finder, png: Path) -> None:
    data = png.read_bytes()
    for _ in range(3):
        found = finder.find(data, "image", "x")
    assert found.uri == str(finder.shelf / sha256(data)[:2] / f"{sha256(data)}.png")
    assert [path.name for path in finder.shelf.rglob("*.*")] == [f"{sha256(data)}.png"]


def test_a_file_on_the_shelf_that_a_kill_tore_is_written_again(finder: Finder, png: Path) -> None:
    found = finder.find(png.read_bytes(), "image", "x")
    with open(found.uri, "wb") as file:
        file.write(b"torn")
    finder.find(png.read_bytes(), "image", "x")
    with open(found.uri, "rb") as file:
        assert file.read() == png.read_bytes()


def test_a_picture_in_memory_keeps_its_pixels_and_is_upright(finder: Finder) -> None:
    image = Image.new("RGB", (3, 2), "red")
    image.putpixel((0, 0), (1, 2, 3))
    exif = Image.Exif()
    exif[0x0112] = 6
    file = io.BytesIO()
    image.save(file, "PNG", exif=exif)
    turned = finder.find(Image.open(file), "image", "x")
    assert pixels(Path(turned.uri)).shape == (3, 2, 3)
    plain = finder.find(image, "image", "x")
    assert (pixels(Path(plain.uri)) == np.asarray(image)).all()
    assert finder.find(np.asarray(image), "image", "x") == plain


@pytest.mark.parametrize(
    ("array", "seen"),
    [
        (np.full((2, 3), 7, np.uint8), [7, 7, 7]),
        (np.full((2, 3, 1), 7, np.uint8), [7, 7, 7]),
        (np.full((3, 2, 5), 7, np.uint8), [7, 7, 7]),  # channels first
        (np.full((2, 3, 3), 1.0), [255, 255, 255]),
        (np.full((2, 3, 3), 0.5, np.float32), [128, 128, 128]),
        (np.full((2, 3), True), [255, 255, 255]),
        (np.broadcast_to(np.array([0, 0, 0, 0], np.uint8), (2, 3, 4)), [255, 255, 255]),  # seen through
        (np.broadcast_to(np.array([9, 0, 0, 255], np.uint8), (2, 3, 4)), [9, 0, 0]),
    ],
)
def test_arrays_are_pixels(finder: Finder, array: np.ndarray, seen: list[int]) -> None:
    assert pixels(Path(finder.find(array, "image", "x").uri))[0, 0].tolist() == seen


@pytest.mark.parametrize(
    "array",
    [
        np.zeros((2, 3, 2), np.uint8),
        np.zeros((2, 3, 3), np.int64),
        np.full((2, 3, 3), 300.0),
        np.full((2, 3, 3), np.nan),
        np.zeros((0, 3, 3), np.uint8),
        np.zeros((2, 2, 3, 3), np.uint8),
        np.zeros(7, np.uint8),
        np.zeros((), np.uint8),
    ],
)
def test_other_arrays_are_refused(finder: Finder, array: np.ndarray) -> None:
    with pytest.raises(DataError, match="An array of") as caught:
        finder.find(array, "image", "rows.jsonl:3")
    assert caught.value.where == "rows.jsonl:3"
    assert caught.value.hint


@pytest.mark.parametrize("kind", ["float32", "float64", "int16", "int32", "uint8"])
def test_an_array_with_its_rate_is_a_sound(finder: Finder, kind: str) -> None:
    wave = 0.5 * np.sin(np.arange(800) / 9)
    most = {"int16": 32_767, "int32": 2**31 - 1, "uint8": 127}.get(kind, 1)
    array = (wave * most + (128 if kind == "uint8" else 0)).astype(kind)
    found = finder.find({"array": array, "sampling_rate": 8000, "path": None}, "audio", "x")
    heard = samples(Path(found.uri), 8000)
    assert np.abs(heard - wave).max() < (0.02 if kind == "uint8" else 1e-3)
    assert found.sha256 == finder.find({"array": array, "sampling_rate": 8000}, None, "x").sha256


@pytest.mark.parametrize("shape", [(2, 800), (800, 2)])
def test_channels_may_stand_first_or_last(finder: Finder, shape: tuple[int, int]) -> None:
    found = finder.find(
        {"array": np.linspace(-0.5, 0.5, 1600).reshape(shape), "sampling_rate": 8000}, None, "x"
    )
    sound = look(Path(found.uri))
    assert (sound.channels, sound.seconds) == (2, 0.1)


@pytest.mark.parametrize(
    ("value", "said"),
    [
        ({"array": [0.0, 0.1], "sampling_rate": None}, "needs its sampling_rate"),
        ({"array": [0.0, 0.1]}, "needs its sampling_rate"),
        ({"array": ["a", "b"], "sampling_rate": 8000}, "expected .samples."),
        ({"array": [[0.0], [0.1, 0.2]], "sampling_rate": 8000}, "cannot be read"),
        ({"array": np.zeros((2, 2, 2)), "sampling_rate": 8000}, "expected .samples."),
        ({"array": [0.0, 0.1], "sampling_rate": 0}, "expected .samples."),
        ({}, "An object with nothing"),
        ({"colour": "red"}, "An object with colour"),
        ({"bytes": None, "path": None}, "An object with bytes, path"),
        ({"bytes": b"", "path": "a.png"}, r"'a\.png' is empty \(0 bytes\)"),
        (None, "null is no picture or sound"),
        (7, "'7' \\(int\\) is no picture or sound"),
        (["flag.png"], "list"),
        ([], "list"),
        ("", "'' is no path"),
        ("  ", "is no path"),
        ("a\0b", "is no path"),
        ("data:image/png;base64", "has no comma"),
        ("data:image/png;base64,iVBOR", "cannot be unpacked"),
        ("data:image/png;base64,%%%", "cannot be unpacked"),
        ("data:image/png;base64,äö", "cannot be unpacked"),
        ("data:image/png;base64,", "is empty"),
        ({"data": "iVBOR"}, "cannot be unpacked"),
        ("../outside.png", "leaves the folder"),
        ("pictures/../../outside.png", "leaves the folder"),
        ("file://[/x.png", "There is no file"),
        ("\ud800.png", "half a character"),
        ("http://x/\ud800.png", "half a character"),
        ("folder", "is a folder"),
        ("pipe", "is a pipe or a device"),
        ("/dev/zero", "is a pipe or a device"),
        ("loop", "symbolic links"),
        ("gone.png", "There is no file 'gone.png'"),
        ("nowhere/gone.png", "There is no file"),
        ("x" * 5000, "cannot be read: File name too long"),
        ("http://127.0.0.1:9/x.png", "is not on this machine"),
    ],
)
def test_what_is_no_medium_is_said(finder: Finder, png: Path, value: object, said: str) -> None:
    (finder.base / "folder").mkdir()
    (finder.base / "outside.png").write_bytes(png.read_bytes())
    os.mkfifo(finder.base / "pipe")
    (finder.base / "loop").symlink_to(finder.base / "loop")
    with pytest.raises(DataError, match=said) as caught:
        finder.find(value, None, "rows.jsonl:3")
    assert caught.value.where == "rows.jsonl:3"
    assert len(str(caught.value)) < 600


def test_a_missing_file_says_where_it_was_looked_for_and_what_is_near(finder: Finder, png: Path) -> None:
    with pytest.raises(DataError) as caught:
        finder.find("flags.png", "image", "x")
    assert "Did you mean 'flag.png'?" in caught.value.hint
    assert f"relative to {finder.base}; task.media" in caught.value.hint


@pytest.mark.parametrize(
    ("data", "said", "hint"),
    [
        (b"", r"is empty \(0 bytes\), where a picture was expected", "Fetch or export"),
        (b"<!DOCTYPE html><html>404</html>", "is a web page, where", "fetch it again"),
        (b"\n<html><svg></svg>", "is a web page", "fetch it again"),
        (b'<svg xmlns="http://www.w3.org/2000/svg"/>', "a drawing in SVG", "as PNG"),
        (b'<?xml version="1.0"?>\n<svg/>', "a drawing in SVG", "as PNG"),
        (b"version https://git-lfs.github.com/spec/v1\noid", "a pointer of Git LFS", "git lfs pull"),
        (b"\0\0\0\x18ftypmp42", "is a video", "Take pictures"),
        (b"\0\0\0\x18ftypheic", "HEIC", "JPEG"),
        (b"RIFF\0\0\0\0AVI LIST", "is a video", "Take pictures"),
        (b"\x1aE\xdf\xa3", "is a video", "Take pictures"),
        (b"PK\x03\x04", "is a ZIP archive", "Unpack"),
        (b"%PDF-1.7", "is a PDF", "PNG, JPEG"),
        (b"not found", "begins with 'not found'", "PNG, JPEG"),
        (b"\xff\xfea\0b\0", "of no kind that is read here", "PNG, JPEG"),
        (b"%!PS-Adobe", "of no kind that is read here", "PNG, JPEG"),
    ],
)
def test_files_of_other_kinds_are_told(finder: Finder, data: bytes, said: str, hint: str) -> None:
    (finder.base / "cat.png").write_bytes(data)
    for value in ("cat.png", data, {"bytes": data, "path": "cat.png"}):
        with pytest.raises(DataError, match=said) as caught:
            finder.find(value, "image", "x")
        assert hint in caught.value.hint
    assert not finder.shelf.exists()


def test_the_other_kind_is_refused_by_its_name(finder: Finder, png: Path, wav: Path) -> None:
    for _ in range(2):  # the second time from what is remembered
        with pytest.raises(DataError, match=r"'tone\.wav' is a sound, where a picture was expected"):
            finder.find("tone.wav", "image", "x")
        with pytest.raises(DataError, match=r"'flag\.png' is a picture, where a sound was expected"):
            finder.find("flag.png", "audio", "x")
    assert finder.find("tone.wav", "audio", "x").kind == "audio"


def test_a_file_that_many_rows_name_is_read_once(finder: Finder, png: Path, monkeypatch: Any) -> None:
    opened: list[str] = []
    slow = finding._opened
    monkeypatch.setattr(finding, "_opened", lambda path, *rest: (opened.append(path), slow(path, *rest))[1])
    found = {finder.find("flag.png", "image", str(row)).sha256 for row in range(1000)}
    assert (len(found), len(opened)) == (1, 1)


def test_a_file_that_changes_meanwhile_is_another_medium(finder: Finder, png: Path) -> None:
    before, state = finder.find("flag.png", "image", "x"), png.stat()
    data = bytearray(png.read_bytes())
    data[-20] ^= 1
    png.write_bytes(data)
    os.utime(png, ns=(state.st_atime_ns, state.st_mtime_ns))  # as a tool does that keeps times
    assert png.stat().st_size == state.st_size
    assert finder.find("flag.png", "image", "x").sha256 == sha256(bytes(data)) != before.sha256


def test_one_content_under_a_thousand_names_is_one_medium(finder: Finder, png: Path) -> None:
    for number in range(1000):
        (finder.base / f"{number}.png").symlink_to(png)
    assert len({finder.find(f"{number}.png", "image", "x").sha256 for number in range(1000)}) == 1


def test_a_link_may_lead_out_of_the_folder(finder: Finder, png: Path, tmp_path: Path) -> None:
    (finder.base / "elsewhere").symlink_to(tmp_path / "disk")
    (tmp_path / "disk").mkdir()
    (tmp_path / "disk" / "flag.png").write_bytes(png.read_bytes())
    assert finder.find("elsewhere/flag.png", "image", "x").sha256 == sha256(png.read_bytes())


def test_a_full_disk_leaves_nothing_half_on_the_shelf(finder: Finder) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (100, 100, 3), np.uint8)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, before[1]))
    try:
        with pytest.raises(RunError, match="cannot be written"):
            finder.find(noise, "image", "x")
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert not [path for path in finder.shelf.rglob("*") if path.is_file()]
    assert finder.find(noise, "image", "x").kind == "image"


@pytest.fixture
def site(png: Path) -> Generator[tuple[str, list[str]]]:
    """A server with one picture, a page in place of another, and what was asked of it."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_response(404 if "gone" in self.path else 200)
            self.end_headers()
            self.wfile.write(b"<!doctype html>" if "page" in self.path else png.read_bytes())

        def log_message(self, *_: object) -> None: ...

    server = HTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_url_is_fetched_when_asked_for_and_once(
    finder: Finder, png: Path, site: tuple[str, list[str]]
) -> None:
    url, asked = site
    with pytest.raises(DataError, match="not on this machine") as caught:
        finder.find(f"{url}/cat.png", "image", "x")
    assert "task.fetch = true" in caught.value.hint
    assert not asked
    fetching = Finder(finder.base, finder.shelf, fetch=True)
    assert fetching.find(f"{url}/cat.png", "image", "x").sha256 == sha256(png.read_bytes())
    # A second run, even one that fetches nothing, has it.
    for again in (fetching, Finder(finder.base, finder.shelf)):
        assert again.find({"url": f"{url}/cat.png"}, "image", "x").sha256 == sha256(png.read_bytes())
    assert asked == ["/cat.png"]


def test_a_url_that_fails_is_said(finder: Finder, site: tuple[str, list[str]]) -> None:
    url, _ = site
    finder.fetch = True
    for name, said in (
        (f"{url}/gone.png", "the server says 404"),
        (f"{url}/page.png", "is a web page"),
        ("http://127.0.0.1:1/x.png", "cannot be fetched: .*refused"),
        ("http://a b/x.png", "cannot be fetched"),
        ("http://[/x.png", "cannot be fetched"),
    ):
        with pytest.raises(DataError, match=said):
            finder.find(name, "image", "x")


def test_a_sound_that_datasets_decodes_is_asked_for_as_bytes(finder: Finder) -> None:
    class AudioDecoder: ...

    with pytest.raises(DataError, match="is no picture or sound") as caught:
        finder.find(AudioDecoder(), "audio", "x")
    assert "Audio(decode=False)" in caught.value.hint


@pytest.mark.parametrize("form", ["WAV", "FLAC", "OGG", "MP3", "AIFF", "AU", "CAF", "RF64"])
def test_forms_of_sound_are_told(finder: Finder, form: str) -> None:
    made = io.BytesIO()
    soundfile.write(made, np.sin(np.arange(4000) / 9), 16_000, format=form)
    assert finder.find(made.getvalue(), None, "x").kind == "audio"


@pytest.mark.parametrize("form", ["PNG", "JPEG", "WEBP", "GIF", "TIFF", "BMP", "PPM", "AVIF", "JPEG2000"])
def test_forms_of_pictures_are_told(finder: Finder, form: str) -> None:
    made = io.BytesIO()
    Image.new("RGB", (40, 30), "red").save(made, form)
    found = finder.find(made.getvalue(), None, "x")
    assert found.kind == "image"
    assert np.abs(pixels(Path(found.uri))[10, 10].astype(int) - [255, 0, 0]).max() < 4
