"""Each distinct file is opened once, by one run; what cannot be used has a reason, and nothing is lost."""

from __future__ import annotations

import json
import os
import resource
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
from PIL import Image

from espalier.core.errors import MissingExtra, RunError
from espalier.core.records import Media
from espalier.media import inspection
from espalier.media.inspection import NAME, Refused, inspect
from espalier.media.pictures import Picture
from espalier.media.sounds import Sound
from tests.media.conftest import flag, tone

if TYPE_CHECKING:
    from espalier.media.finding import Finder


@pytest.fixture
def opened(monkeypatch: pytest.MonkeyPatch) -> Counter[str]:
    """How often each file was opened, by its name."""
    count: Counter[str] = Counter()
    slow = inspection._look
    monkeypatch.setattr(
        inspection, "_look", lambda medium: (count.update([Path(medium.uri).name]), slow(medium))[1]
    )
    return count


@pytest.fixture
def media(finder: Finder) -> list[Media]:
    """Three pictures and a sound."""
    for number in range(3):
        flag(6 + number, 4).save(finder.base / f"{number}.png")
    soundfile.write(finder.base / "tone.wav", tone(8_000, 0.5), 8_000)
    return [finder.find(name, None, "x") for name in ("0.png", "1.png", "2.png", "tone.wav")]


def test_what_files_hold_by_their_sha256(media: list[Media], tmp_path: Path) -> None:
    found = inspect(media, tmp_path)
    assert [found[one.sha256] for one in media] == [
        *(Picture(6 + number, 4, "RGB", "PNG") for number in range(3)),
        Sound(8_000, 1, 0.5, "WAV"),
    ]


def test_each_file_is_opened_once_however_many_rows_and_runs(
    media: list[Media], tmp_path: Path, opened: Counter[str]
) -> None:
    told: list[tuple[int, int]] = []
    first = inspect((one for one in media * 50), tmp_path, say=lambda *now: told.append(now))
    assert told == [(1, 4), (2, 4), (3, 4), (4, 4)]
    assert set(opened.values()) == {1}
    assert inspect(reversed(media), tmp_path, say=lambda *now: told.append(now)) == first
    assert (len(told), opened.total()) == (4, 4)


def test_a_picture_under_a_thousand_names_is_opened_once(
    finder: Finder, png: Path, tmp_path: Path, opened: Counter[str]
) -> None:
    names = [f"{number}.png" for number in range(1000)]
    for name in names:
        os.link(png, finder.base / name)
    assert len(inspect((finder.find(name, "image", "x") for name in names), tmp_path)) == 1
    assert opened.total() == 1


def test_a_file_that_was_touched_is_hashed_and_one_that_changed_refused(
    media: list[Media], tmp_path: Path, opened: Counter[str]
) -> None:
    first = inspect(media, tmp_path)
    os.utime(media[0].uri)
    flag(9, 9).save(media[1].uri)
    Path(media[2].uri).unlink()
    opened.clear()
    second = inspect(media, tmp_path)
    assert sorted(opened) == ["0.png", "1.png", "2.png"]
    assert second[media[0].sha256] == first[media[0].sha256]
    changed, gone = second[media[1].sha256], second[media[2].sha256]
    assert isinstance(changed, Refused)
    assert "The file has changed" in changed.reason
    assert isinstance(gone, Refused)
    assert "No such file" in gone.reason
    opened.clear()
    inspect(media, tmp_path)
    assert "0.png" not in opened


def test_a_change_that_keeps_size_and_time_is_seen(media: list[Media], tmp_path: Path) -> None:
    inspect(media, tmp_path)
    path = Path(media[0].uri)
    state, data = path.stat(), bytearray(path.read_bytes())
    data[-20] ^= 1
    path.write_bytes(data)
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert isinstance(inspect(media, tmp_path)[media[0].sha256], Refused)


def test_a_change_between_finding_and_inspection_is_seen(media: list[Media], tmp_path: Path) -> None:
    flag(9, 9).save(media[1].uri)
    assert isinstance(inspect(media, tmp_path)[media[1].sha256], Refused)


def test_what_cannot_be_used_has_its_reason_and_no_path(finder: Finder, tmp_path: Path) -> None:
    def given(name: str, data: bytes) -> Media:
        (finder.base / name).write_bytes(data)
        return finder.find(name, None, name)

    flag(60, 40).save(finder.base / "whole.png")
    cut = given("cut.png", (finder.base / "whole.png").read_bytes()[:80])
    Image.new("L", (1, 20_000)).save(finder.base / "line.png")
    soundfile.write(finder.base / "still.wav", np.zeros(800), 8_000)
    soundfile.write(finder.base / "none.wav", np.zeros(0), 8_000)
    soundfile.write(finder.base / "nan.wav", np.full(800, np.nan), 8_000, subtype="FLOAT")
    names = {
        "line.png": "a line",
        "still.wav": "silent throughout",
        "none.wav": "has no samples",
        "nan.wav": "no numbers",
    }
    expected = {cut.sha256: "is cut off"} | {finder.find(n, None, n).sha256: why for n, why in names.items()}
    media = [cut, *(finder.find(name, None, name) for name in [*names, "whole.png"])]
    found = inspect(media, tmp_path)
    assert found[media[-1].sha256] == Picture(60, 40, "RGB", "PNG")
    for sha256, why in expected.items():
        refused = found[sha256]
        assert isinstance(refused, Refused)
        assert why in refused.reason
        assert refused.hint
        assert str(tmp_path) not in refused.reason + refused.hint


def test_a_sound_that_is_longer_than_is_heard_is_refused_for_this_encoder_only(
    finder: Finder, tmp_path: Path, opened: Counter[str]
) -> None:
    soundfile.write(finder.base / "long.wav", tone(1_000, 31), 1_000)
    soundfile.write(finder.base / "fits.wav", tone(1_000, 30), 1_000)
    media = [finder.find(name, "audio", "x") for name in ("long.wav", "fits.wav")]
    long, fits = inspect(media, tmp_path, longest=30).values()
    assert long == Refused(
        "The sound is 31.0 s long, and 30 s are heard.",
        "Cut it into pieces of at most 30 s, with a row for each.",
    )
    assert fits == Sound(1_000, 1, 30.0, "WAV")
    assert all(isinstance(one, Sound) for one in inspect(media, tmp_path).values())
    assert opened.total() == 2


def test_what_was_refused_is_looked_at_again(finder: Finder, tmp_path: Path, monkeypatch: Any) -> None:
    (finder.base / "x.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    media = [finder.find("x.png", "image", "x")]
    assert isinstance(inspect(media, tmp_path)[media[0].sha256], Refused)
    monkeypatch.setitem(inspection.LOOKS, "image", lambda path: Picture(1, 1, "RGB", "NEW"))
    assert inspect(media, tmp_path)[media[0].sha256] == Picture(1, 1, "RGB", "NEW")


@pytest.mark.parametrize(("cut", "lost"), [(1, 0), (30, 1), (300, 2)])
def test_a_ledger_that_was_torn_loses_its_last_line_only(
    media: list[Media], tmp_path: Path, opened: Counter[str], cut: int, lost: int
) -> None:
    first = inspect(media, tmp_path)
    ledger = tmp_path / NAME
    ledger.write_bytes(ledger.read_bytes()[:-cut])
    opened.clear()
    for _ in range(3):
        assert inspect(media, tmp_path) == first
    assert opened.total() == lost


@pytest.mark.parametrize(
    "line",
    ["null", "[]", "{}", '{"sha256": "a", "state": 3}', '{"sha256": "a", "state": [1], "kind": "x"}', "\0"],
)
def test_lines_of_a_ledger_that_say_nothing_are_passed_over(
    media: list[Media], tmp_path: Path, line: str
) -> None:
    first = inspect(media, tmp_path)
    with (tmp_path / NAME).open("a") as file:
        file.write(line + "\n")
    assert inspect(media, tmp_path) == first


def test_a_full_disk_is_said_and_keeps_what_was_complete(
    finder: Finder, tmp_path: Path, opened: Counter[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(inspection, "BATCH", 5)
    for number in range(10):
        flag(6 + number, 4).save(finder.base / f"{number}.png")
    media = [finder.find(f"{number}.png", "image", "x") for number in range(10)]
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1_500, before[1]))
    try:
        with pytest.raises(RunError, match="cannot be written down") as caught:
            inspect(media, tmp_path)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.where == str(tmp_path / NAME)
    opened.clear()
    assert len(inspect(media, tmp_path)) == 10
    assert 0 < opened.total() <= 5


def test_the_ledger_holds_no_path_and_one_line_a_file(media: list[Media], tmp_path: Path) -> None:
    inspect(media, tmp_path)
    text = (tmp_path / NAME).read_text()
    assert str(tmp_path) not in text
    lines = [json.loads(line) for line in text.splitlines() if line]
    assert [line["sha256"] for line in lines] == [one.sha256 for one in media]


def test_no_media_need_no_ledger_and_no_package(tmp_path: Path) -> None:
    assert inspect([], tmp_path / "nowhere") == {}
    assert not (tmp_path / "nowhere").exists()


def test_a_package_that_is_missing_ends_it(media: list[Media], tmp_path: Path, monkeypatch: Any) -> None:
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(MissingExtra, match=r"espalier-lm\[media\]"):
        inspect(media, tmp_path)


@pytest.mark.parametrize("workers", [1, 7])
def test_the_number_of_threads_changes_nothing(media: list[Media], tmp_path: Path, workers: int) -> None:
    found = inspect(media, tmp_path / str(workers), workers=workers)
    assert [*found] == [one.sha256 for one in media]
    assert found == inspect(media, tmp_path / "slow")
