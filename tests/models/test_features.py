"""What encoders made of media, kept on disk: held to what they say of themselves, and never an old file's."""

from __future__ import annotations

import hashlib
import resource
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import torch
from PIL import Image

from espalier.core.errors import DataError, ModelError, RecipeError, RunError
from espalier.core.records import Media
from espalier.encode.media import block
from espalier.models.encoders.encoders import Encoder, encoders
from espalier.models.encoders.features import KeptFeatures

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

TOKENS, WIDTH = 3, 4


def picture(path: Path, colour: str = "red") -> Media:
    Image.new("RGB", (8, 6), colour).save(path)
    return Media("image", str(path), hashlib.sha256(path.read_bytes()).hexdigest())


def encoder(encode: Callable[..., Any] | None = None, length: Any = TOKENS) -> Encoder:
    made = encode or (lambda paths: [torch.rand(TOKENS, WIDTH) for _ in paths])
    return Encoder("mine", "image", WIDTH, {}, "none", lambda _: length, made)


def features(folder: Path, mine: Encoder) -> KeptFeatures:
    return KeptFeatures(folder / "features", {"image": mine})


WRONG: list[tuple[Any, str]] = [
    (lambda paths: [torch.rand(TOKENS + 1, WIDTH)], r"made \[4, 4\] of red.png; expected \[3, 4\]"),
    (lambda paths: [torch.rand(TOKENS, WIDTH + 1)], r"made \[3, 5\] of red.png"),
    (lambda paths: [torch.rand(1, TOKENS, WIDTH)], r"made \[1, 3, 4\] of red.png"),
    (lambda paths: [], "gave 'list' for 1 file"),
    (lambda paths: [torch.rand(TOKENS, WIDTH)] * 2, "gave 2 results for 1 file"),
    (lambda paths: None, "gave 'NoneType' for 1 file"),
    (lambda paths: [np.zeros((TOKENS, WIDTH))], "made ndarray of red.png"),
    (lambda paths: [torch.full((TOKENS, WIDTH), torch.nan)], "made NaN or infinite numbers of red.png"),
    (lambda paths: [torch.full((TOKENS, WIDTH), 1e6)], "made numbers past 65,504 of red.png"),
]


@pytest.mark.parametrize(("encode", "told"), WRONG, ids=[told for _, told in WRONG])
def test_an_encoder_that_makes_another_thing_than_it_says_is_told(
    encode: Any, told: str, tmp_path: Path
) -> None:
    kept = features(tmp_path, encoder(encode))
    with pytest.raises(ModelError, match=f"The encoder 'mine' {told}"):
        kept.make([picture(tmp_path / "red.png")])
    assert not [*tmp_path.rglob("*.npy")]


def test_a_length_that_is_no_whole_number_is_told(tmp_path: Path) -> None:
    with pytest.raises(ModelError, match=r"says that red.png has 2.5 tokens; expected a whole number"):
        features(tmp_path, encoder(length=2.5)).length(picture(tmp_path / "red.png"))


@pytest.mark.parametrize(
    ("made", "told"),
    [
        (lambda: 3, "is no Encoder"),
        (lambda: Encoder("x", "video", 3, {}, "", len, list), "takes 'video'"),  # pyright: ignore
        (lambda: Encoder("x", "image", 0, {}, "", len, list), "tokens of 0 numbers"),  # pyright: ignore
    ],
)
def test_what_is_no_encoder_is_told(made: Any, told: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "made_here", made)
    with pytest.raises(RecipeError, match=told):
        encoders.build(f"{__name__}:made_here", {}, "model.encoders.0")


@pytest.mark.parametrize("left", [0, 60, 140], ids=["nothing", "part of its head", "half of its numbers"])
def test_a_file_of_the_cache_that_is_cut_is_made_again(left: int, tmp_path: Path) -> None:
    kept, media = features(tmp_path, encoder()), picture(tmp_path / "red.png")
    kept.make([media])
    (file,) = tmp_path.rglob("*.npy")
    whole = file.read_bytes()
    file.write_bytes(whole[:left])
    again = features(tmp_path, encoder())
    assert again.of(media).shape == (TOKENS, WIDTH)
    assert again.encoded == 1
    assert len(file.read_bytes()) == len(whole)


def test_features_of_another_length_than_the_encoder_says_now_are_made_again(tmp_path: Path) -> None:
    media = picture(tmp_path / "red.png")
    features(tmp_path, encoder()).make([media])
    longer = features(tmp_path, encoder(lambda paths: [torch.rand(5, WIDTH) for _ in paths], 5))
    longer.open([media])
    assert longer.of(media).shape == (5, WIDTH)


def test_a_full_disk_is_told_and_leaves_nothing_behind(tmp_path: Path) -> None:
    kept, media = features(tmp_path, encoder()), picture(tmp_path / "red.png")
    kept.open([media])
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (130, before[1]))  # less than a file of features has
    try:
        with pytest.raises(RunError, match="cannot be written: File too large") as caught:
            kept.make([media])
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.where.endswith(".npy")
    assert not [path for path in (tmp_path / "features").rglob("*") if ".npy" in path.name]
    kept.make([media])
    assert kept.of(media).shape == (TOKENS, WIDTH)


def test_a_file_that_changed_is_refused_and_never_answered_with_the_old_ones(tmp_path: Path) -> None:
    path = tmp_path / "red.png"
    old = picture(path)
    kept = features(tmp_path, encoder())
    kept.make([old])
    new = picture(path, "blue")  # the next run finds it with its own sha256
    again = features(tmp_path, encoder())
    again.make([new])
    assert again.encoded == 1
    assert not torch.equal(again.of(new), again.of(old))
    picture(path, "green")
    last = features(tmp_path, encoder(lambda paths: pytest.fail("it is not the file of the row")))
    with pytest.raises(DataError, match="The file has changed"):
        last.make([Media("image", str(path), "0" * 64)])


@pytest.mark.model
def test_pictures_that_differ_in_one_pixel_have_ids_and_features_of_their_own(
    tmp_path: Path, one_thread: None
) -> None:
    kept = features(tmp_path, encoders.build("efficientnet-lite0", {}))
    pixels = np.full((64, 64, 3), 90, np.uint8)
    media: list[Media] = []
    for number, value in enumerate((90, 94)):
        pixels[30, 40, 1] = value
        path = tmp_path / f"{number}.png"
        Image.fromarray(pixels).save(path)
        media.append(Media("image", str(path), hashlib.sha256(path.read_bytes()).hexdigest()))
    assert not set(block(media[0], 49)) & set(block(media[1], 49))
    assert not torch.equal(kept.of(media[0]), kept.of(media[1]))
