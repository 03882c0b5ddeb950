"""Encoders in Hugging Face layout: their processor's values, their last layer, as many tokens as they say."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
import soundfile
import torch
from PIL import Image
from transformers import (
    AutoConfig,
    AutoModel,
    LlamaConfig,
    LlamaForCausalLM,
    Wav2Vec2FeatureExtractor,
    WhisperFeatureExtractor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil

from espalier.core.errors import EspalierError
from espalier.core.recipe import Choice
from espalier.core.records import Media
from espalier.media import pictures, sounds
from espalier.models.encoders.attached import features_of

if TYPE_CHECKING:
    from espalier.models.encoders.encoders import Encoder

TOWER = {"hidden_size": 16, "intermediate_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SEEN = {**TOWER, "image_size": 24, "patch_size": 6}
EYES: dict[str, dict[str, Any]] = {
    "vit": SEEN,
    "dinov2": {**SEEN, "mlp_ratio": 2},
    "clip": {"vision_config": SEEN, "text_config": {**TOWER, "vocab_size": 50}},
    "siglip": {"vision_config": SEEN, "text_config": {**TOWER, "vocab_size": 50}},
}
SMALL: Any = {"hidden_size": 8, "intermediate_size": 8, "num_hidden_layers": 1}
EARS: dict[str, dict[str, Any]] = {
    "whisper": {
        "d_model": 16,
        "encoder_layers": 1,
        "encoder_attention_heads": 2,
        "encoder_ffn_dim": 32,
        "decoder_layers": 1,
        "decoder_attention_heads": 2,
        "decoder_ffn_dim": 32,
        "vocab_size": 50,
        "num_mel_bins": 16,
        "max_source_positions": 100,
        "pad_token_id": 0,
        "decoder_start_token_id": 1,
        "bos_token_id": 0,
        "eos_token_id": 0,
    },
    "wav2vec2": {
        **TOWER,
        "conv_dim": [16] * 7,
        "num_conv_pos_embeddings": 16,
        "num_conv_pos_embedding_groups": 2,
    },
}


def made(kind: str, folder: Path) -> Path:
    """Save a tiny model of a type with its processor."""
    torch.manual_seed(0)
    model = AutoModel.from_config(AutoConfig.for_model(kind, **{**EYES, **EARS}[kind]))
    model.eval().save_pretrained(folder)
    if kind in EYES:
        size = {"height": 24, "width": 24}
        CLIPImageProcessorPil(size={"shortest_edge": 24}, crop_size=size).save_pretrained(folder)
    elif kind == "whisper":
        WhisperFeatureExtractor(feature_size=16, chunk_length=2).save_pretrained(folder)
    else:
        Wav2Vec2FeatureExtractor().save_pretrained(folder)
    return folder


def chosen(folder: Path, stack: int = 1) -> Choice:
    """Return an encoder by its folder, as a recipe names it."""
    return Choice.model_validate({"kind": "huggingface", "name": str(folder), "stack": stack})


def encoder_of(folder: Path, stack: int = 1) -> Encoder:
    """Return the encoder of a folder, by its name in a recipe."""
    (found,) = features_of([chosen(folder, stack)]).encoders.values()
    return found


@pytest.mark.parametrize("kind", EYES)
def test_pictures_are_the_last_layers_patches(kind: str, tmp_path: Path) -> None:
    folder = made(kind, tmp_path / kind)
    path = tmp_path / "one.png"
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (40, 30, 3), np.uint8)).save(path)
    encoder = encoder_of(folder)
    (found,) = encoder.encode([path])
    whole = AutoModel.from_pretrained(folder).eval()
    tower = whole.vision_model if "vision_config" in EYES[kind] else whole
    values = CLIPImageProcessorPil.from_pretrained(folder)(images=[Image.open(path)], return_tensors="pt")
    with torch.no_grad():
        wanted = tower(pixel_values=values["pixel_values"]).last_hidden_state[0, -16:]
    torch.testing.assert_close(found, wanted)
    look = pictures.look(path)
    assert (encoder.length(look), encoder.width) == tuple(found.shape)
    (stacked,) = (other := encoder_of(folder, 2)).encode([path])
    assert (other.length(look), other.width) == tuple(stacked.shape) == (4, 64)
    square = wanted.unflatten(0, (4, 4))[:2, :2].reshape(-1)
    torch.testing.assert_close(stacked[0], square)


@pytest.mark.parametrize("kind", EARS)
def test_sounds_are_the_frames_that_cover_them(kind: str, tmp_path: Path) -> None:
    folder = made(kind, tmp_path / kind)
    for seconds in (0.3, 1.01, 1.9):
        path = tmp_path / f"{seconds}.wav"
        drawn = np.random.default_rng(0).normal(0, 0.1, int(8_000 * seconds)).astype(np.float32)
        soundfile.write(path, drawn, 8_000)
        for stack in (1, 3):
            encoder = encoder_of(folder, stack)
            (found,) = encoder.encode([path])
            assert (encoder.length(sounds.look(path)), encoder.width) == tuple(found.shape)
            assert found.shape[0] == pytest.approx(seconds * 50 / stack, abs=2)


def test_its_features_are_kept_and_of_its_own_weights(tmp_path: Path, own_cache: Path) -> None:
    path = tmp_path / "one.png"
    Image.fromarray(np.full((20, 20, 3), 90, np.uint8)).save(path)
    media = Media("image", str(path), hashlib.sha256(path.read_bytes()).hexdigest())
    features = features_of([chosen(made("vit", tmp_path / "one"))])
    first = features.of(media)
    assert features.encoded == 1
    again = features_of([chosen(tmp_path / "one")])
    assert torch.equal(again.of(media), first)
    assert again.encoded == 0
    assert again.keys == features.keys
    other = made("dinov2", tmp_path / "two")
    assert features_of([chosen(other)]).keys != features.keys


def test_what_encodes_nothing_is_refused(tmp_path: Path) -> None:
    with pytest.raises(EspalierError, match="no such folder"):
        features_of([chosen(tmp_path / "none")])
    config = LlamaConfig(vocab_size=20, num_attention_heads=1, num_key_value_heads=1, **SMALL)
    LlamaForCausalLM(config).save_pretrained(tmp_path / "text")
    with pytest.raises(EspalierError, match="processor cannot be loaded"):
        features_of([chosen(tmp_path / "text")])
