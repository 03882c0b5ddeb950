"""The bundled encoders, with random weights: how many tokens they make is what is said beforehand."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

import numpy as np
import pytest
import torch
from PIL import Image
from transformers import WhisperConfig
from transformers.models.whisper.modeling_whisper import WhisperEncoder

from espalier.core.records import Media
from espalier.media import sounds
from espalier.media.inspection import ledger
from espalier.models.encoders.encoders import Encoder, _hear, _see, _tokens
from espalier.models.encoders.features import KeptFeatures
from espalier.models.encoders.lite0 import WIDTH, Lite0

if TYPE_CHECKING:
    from pathlib import Path


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100])
def test_a_sound_has_as_many_tokens_as_is_said_of_it(rate: int, tmp_path: Path, one_thread: None) -> None:
    shape = {"d_model": 8, "encoder_layers": 1, "encoder_attention_heads": 2, "encoder_ffn_dim": 8}
    model = WhisperEncoder(WhisperConfig(**shape)).eval()  # pyright: ignore[reportArgumentType]
    soundfile = sounds.soundfile()
    for count in (rate // 7, rate // 5 + 1, rate // 2, rate - 1, rate + 1):
        path = tmp_path / f"{count}.wav"
        soundfile.write(path, 0.5 * np.sin(np.arange(count) / 5), rate)
        for stack in (1, 8):
            (made,) = _hear(lambda: model, stack, 0.3, [path])
            assert made.shape == (_tokens(stack, 0.3, sounds.look(path)), 8 * stack)


@pytest.mark.parametrize("tokens", [49, 16, 4, 2, 1])
def test_a_picture_has_as_many_tokens_as_are_asked_for(tokens: int, tmp_path: Path, one_thread: None) -> None:
    torch.manual_seed(0)
    path = tmp_path / "wide.png"
    Image.new("RGB", (90, 20), "red").save(path)
    model = Lite0().eval()
    (made,) = _see(lambda: model, tokens, [path])
    if tokens >= 16:
        assert made.shape == (tokens, WIDTH)
        return
    (whole,) = _see(lambda: model, 49, [path])
    assert made.shape == (tokens, tokens * WIDTH)
    for place, token in enumerate(made):  # the picture's mean, in columns of its own
        assert torch.equal(token.view(tokens, WIDTH)[place], whole.mean(0))
        assert int(token.count_nonzero()) == int(whole.mean(0).count_nonzero())


def test_features_are_the_same_whoever_asks_for_them_first(tmp_path: Path, one_thread: None) -> None:
    """In bf16 a model asks for what is then kept for every other one."""
    weight = torch.linspace(0.1, 1, 12).view(3, 4)

    def encode(paths: list[Path]) -> list[torch.Tensor]:
        return [torch.full((1, 3), 1 / 3) @ weight for _ in paths]

    path = tmp_path / "red.png"
    Image.new("RGB", (4, 4), "red").save(path)
    media = Media("image", str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    found: list[torch.Tensor] = []
    for number, reduced in enumerate((False, True)):
        encoder = Encoder("one", "image", 4, {"number": number}, "none", lambda _: 1, encode)  # pyright: ignore[reportArgumentType]
        with torch.autocast("cpu", torch.bfloat16, enabled=reduced):
            found.append(KeptFeatures(tmp_path / "features", {"image": encoder}).of(media))
    assert torch.equal(*found)


def test_the_ledger_is_read_once_however_often_files_are_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[Path] = []
    monkeypatch.setattr("espalier.models.encoders.features.ledger", lambda at: read.append(at) or ledger(at))
    media: list[Media] = []
    for shade in range(3):
        path = tmp_path / f"{shade}.png"
        Image.new("L", (4, 4), shade).save(path)
        media.append(Media("image", str(path), hashlib.sha256(path.read_bytes()).hexdigest()))
    encoder = Encoder("one", "image", 4, {}, "none", lambda found: found.width, lambda _: [])  # pyright: ignore
    for _ in range(2):  # the second time all of it is known
        features = KeptFeatures(tmp_path, {"image": encoder})
        assert [features.length(one) for one in media] == [4, 4, 4]
    assert len(read) == 2
    assert len(ledger(tmp_path)) == 3
