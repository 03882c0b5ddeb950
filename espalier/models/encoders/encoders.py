"""The encoders by name: what each takes, how many tokens it makes of a medium, and its features.

`model.encoders` names them. A new one is a function here that returns an `Encoder`, or
`kind = "my_module:function"`. They are frozen and in eval mode, so that what they make of a medium is the
same each time and is kept on disk (`features.py`); their weights are loaded when something is to be encoded.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from functools import cache, partial
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

import numpy as np
import torch
from pydantic import Field

from espalier.core.caches import used_cache
from espalier.core.errors import RecipeError
from espalier.core.files import content_hash
from espalier.core.registry import Registry
from espalier.media import pictures, sounds
from espalier.media.kinds import WORDS
from espalier.models.bundled import fetch
from espalier.models.encoders.lite0 import SIZE, WIDTH, Lite0
from espalier.models.encoders.whisper_file import SHAPE
from espalier.models.media import PLAIN, Manner
from espalier.models.places import weights_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence
    from pathlib import Path

    from torch import nn

    from espalier.encode.media import Expansion, Shown
    from espalier.models.media import Grid
    from espalier.models.multimodal.processors import Asked

    Kind = Literal["image", "audio"]
    Found = pictures.Picture | sounds.Sound

RATE = 16_000  # samples a second that Whisper hears
FRAMES = 50  # that its encoder makes of a second
POOLED = 16  # tokens of a picture from which on each is a part of it, and not the whole


@dataclass(frozen=True)
class Encoder:
    """From files of one kind to features.

    Attributes:
        name: as recipes name it.
        kind: of the media.
        width: numbers of a token.
        settings: what its features depend on besides its weights.
        weights: hash of its weights.
        length: how many tokens it makes of a picture or a sound.
        encode: the features [N, width] of each file, fp32.
        longest: seconds that it hears at most; None for pictures.
        dtype: in which its features are kept.
        shown: how a chat template shows media of its kind, where the language model was made for it.
        expansion: what stands in the place of a medium then.
        asked: what a model that sees or hears by itself is given of a file.
        grid: where its tokens are for a model whose positions have several dimensions.
        manner: how the layers of the language model take its media.
    """

    name: str
    kind: Kind
    width: int
    settings: Mapping[str, Any]
    weights: str
    length: Callable[[Found], int]
    encode: Callable[[Sequence[Path]], list[torch.Tensor]] = field(repr=False)
    longest: float | None = None
    dtype: torch.dtype = torch.float16
    shown: Shown | None = None
    expansion: Callable[[Found], Expansion] | None = None
    asked: Callable[[Path], Asked] | None = None
    grid: Callable[[Found], Grid] | None = None
    manner: Manner = PLAIN

    @property
    def key(self) -> str:
        """Hash of all that its features of a file depend on."""
        return content_hash([self.name, self.weights, dict(self.settings)])


def held(made: Any, name: str) -> Encoder:
    """Return what somebody else's factory gives. Raises RecipeError where that is no encoder."""
    if not isinstance(made, Encoder):
        said = "is no Encoder (espalier.models.encoders.encoders)"
    elif made.kind not in WORDS:
        said = f"takes '{made.kind}', and media are {' or '.join(WORDS)}"
    elif not isinstance(made.width, int) or made.width < 1:
        said = f"has tokens of {made.width!r} numbers"
    else:
        return made
    raise RecipeError(f"What '{name}' gives {said}.", where="model.encoders")


encoders: Registry[Encoder] = Registry("encoder", "espalier.models.encoders.huggingface", foreign=held)


@encoders.register("efficientnet-lite0")
def efficientnet_lite0(*, tokens: Literal[49, 16, 4, 2, 1] = 49) -> Encoder:
    """EfficientNet-Lite0's last map of a picture, 7 by 7 `tokens`, pooled to 16, or its mean as 4, 2 or 1.

    Where a picture shows one thing, the mean says what, and few tokens are read as words are. Each of them
    has columns of its own, so that the projector is another map for each (Frozen, arXiv 2106.13884).
    """
    folder = fetch("efficientnet-lite0", used_cache())

    def load() -> Lite0:
        return _loaded(Lite0(), folder).to(memory_format=torch.channels_last)

    return Encoder(
        name="efficientnet-lite0",
        kind="image",
        width=WIDTH * (tokens if tokens < POOLED else 1),
        settings={"tokens": tokens, "pixels": SIZE, "fit": pictures.PADDED},
        weights=weights_hash(folder),
        length=lambda _: tokens,
        encode=partial(_see, cache(load), tokens),
    )


@encoders.register("whisper-tiny.en")
def whisper_tiny(
    *, stack: Annotated[int, Field(ge=1, le=32)] = 8, margin: Annotated[float, Field(ge=0, le=5)] = 0.3
) -> Encoder:
    """The encoder of Whisper tiny.en over a clip's own length, not 30 s; so many frames stacked to a token.

    `margin` are the seconds of silence that it hears behind the clip. Whisper was trained on 30 s throughout;
    what it hears of a clip alone costs less, and may be another.
    """
    folder = fetch("whisper-tiny.en", used_cache())

    def load() -> Any:
        from transformers import WhisperConfig
        from transformers.models.whisper.modeling_whisper import WhisperEncoder

        return _loaded(WhisperEncoder(cast("Any", WhisperConfig)(**SHAPE)), folder)

    return Encoder(
        name="whisper-tiny.en",
        kind="audio",
        width=SHAPE["d_model"] * stack,
        settings={"stack": stack, "margin": margin},
        weights=weights_hash(folder),
        length=partial(_tokens, stack, margin),
        encode=partial(_hear, cache(load), stack, margin),
        longest=30.0 - margin,
    )


def _loaded(model: nn.Module, folder: Path) -> Any:
    from safetensors.torch import load_file

    model.load_state_dict(load_file(folder / "model.safetensors"))
    return model.requires_grad_(False).eval()


@torch.inference_mode()
def _see(load: Callable[[], Lite0], tokens: int, paths: Sequence[Path]) -> list[torch.Tensor]:
    """Return the features of pictures, each fitted into a square and padded with white."""
    batch = torch.from_numpy(np.stack([pictures.squared(pictures.pixels(path), SIZE) for path in paths]))
    maps = load()(batch.permute(0, 3, 1, 2).float().contiguous(memory_format=torch.channels_last))
    if tokens < POOLED:
        return [torch.block_diag(*[whole[None]] * tokens) for whole in maps.mean(1)]
    if tokens < maps.shape[1]:
        side, small = math.isqrt(maps.shape[1]), math.isqrt(tokens)
        square = maps.transpose(1, 2).unflatten(2, (side, side))
        maps = torch.nn.functional.adaptive_avg_pool2d(square, small).flatten(2).transpose(1, 2)
    return list(maps)


def _tokens(stack: int, margin: float, sound: pictures.Picture | sounds.Sound) -> int:
    """Return how many tokens a sound has."""
    assert isinstance(sound, sounds.Sound)
    return math.ceil(_frames(sound.seconds, margin) / stack)


def _frames(seconds: float, margin: float) -> int:
    """Return how many of the encoder's frames cover a clip and the margin."""
    return max(1, math.ceil((round(seconds * RATE) / RATE + margin) * FRAMES))


@torch.inference_mode()
def _hear(load: Callable[[], Any], stack: int, margin: float, paths: Sequence[Path]) -> list[torch.Tensor]:
    """Return the features of sounds, each encoded by itself over its own length."""
    from transformers import WhisperFeatureExtractor

    model, mel = load(), WhisperFeatureExtractor()
    gelu = torch.nn.functional.gelu
    out: list[torch.Tensor] = []
    for path in paths:
        heard = sounds.samples(path, RATE)
        frames = _frames(sounds.look(path).seconds, margin)
        padded = np.zeros(frames * RATE // FRAMES, np.float32)
        padded[: len(heard)] = heard[: len(padded)]
        given = mel(
            padded, sampling_rate=RATE, return_tensors="pt", padding="longest", truncation=False
        ).input_features
        hidden = gelu(model.conv2(gelu(model.conv1(given)))).transpose(1, 2)
        hidden = hidden + model.embed_positions.weight[: hidden.shape[1]]
        for layer in model.layers:
            hidden = layer(hidden, None)
        hidden = model.layer_norm(hidden)[0]
        lacking = -len(hidden) % stack
        hidden = torch.nn.functional.pad(hidden, (0, 0, 0, lacking))
        out.append(hidden.reshape(len(hidden) // stack, -1))
    return out
