"""Any encoder in Hugging Face layout: its own processor before it, and its last layer as features.

Of a model of pictures and texts (CLIP, SigLIP) the part for pictures is taken, of Whisper what hears.
"""

from __future__ import annotations

import math
from functools import cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, cast

import torch
from pydantic import Field
from transformers import AutoFeatureExtractor, AutoImageProcessor, AutoModel

from espalier.core.errors import ModelError
from espalier.media import pictures, sounds
from espalier.models.encoders.encoders import Encoder, encoders
from espalier.models.folder import in_words, load_config
from espalier.models.places import from_hub, weights_hash

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from espalier.models.encoders.encoders import Found

Side = Annotated[int, Field(ge=1, le=64)]


@encoders.register("huggingface")
def huggingface(*, name: str, stack: Side = 1) -> Encoder:
    """The encoder of a folder or hub id `name`: ViT, CLIP, SigLIP, DINOv2 …; Whisper, wav2vec 2.0, HuBERT …

    `stack` frames of a sound, or squares of so many patches a side of a picture, are one token, their numbers
    one behind the other (pixel shuffle, arXiv 2209.15001).
    """
    folder = Path(name) if Path(name).is_dir() else from_hub(name)
    config = load_config(str(folder))
    vision = vars(config).get("vision_config", config)
    if "patch_size" in vars(vision) and "audio_config" not in vars(config):
        return _sees(folder, vision, stack)
    return _hears(folder, config, stack)


def _sees(folder: Path, config: Any, stack: int) -> Encoder:
    with in_words("The encoder's processor cannot be loaded", str(folder)):
        processor: Any = AutoImageProcessor.from_pretrained(str(folder), backend="pil")
    patch = int(config.patch_size)

    def load() -> Any:
        return _part(folder, "vision_model")

    def grid(values: torch.Tensor) -> tuple[int, int]:
        """Return rows and columns of patches, cut to whole squares of `stack`."""
        return values.shape[-2] // patch // stack, values.shape[-1] // patch // stack

    @cache
    def sized(width: int, height: int) -> int:
        return math.prod(grid(_given(processor, pictures.pillow("Image").new("RGB", (width, height)))))

    def length(found: Found) -> int:
        assert isinstance(found, pictures.Picture)
        return sized(found.width, found.height)

    return Encoder(
        name="huggingface",
        kind="image",
        width=int(config.hidden_size) * stack**2,
        settings={"processor": processor.to_dict(), "stack": stack},
        weights=weights_hash(folder),
        length=length,
        encode=partial(_see, cache(load), processor, grid, stack),
    )


def _given(processor: Any, image: Any) -> torch.Tensor:
    return processor(images=[image], return_tensors="pt")["pixel_values"]


@torch.inference_mode()
def _see(
    load: Callable[[], Any],
    processor: Any,
    grid: Callable[[torch.Tensor], tuple[int, int]],
    stack: int,
    paths: Sequence[Path],
) -> list[torch.Tensor]:
    model, out = load(), list[torch.Tensor]()
    for path in paths:
        values = _given(processor, pictures.pillow("Image").fromarray(pictures.pixels(path)))
        hidden = model(pixel_values=values).last_hidden_state[0]
        patch = int(model.config.patch_size)
        high, wide = values.shape[-2] // patch, values.shape[-1] // patch
        patches = hidden[len(hidden) - high * wide :].unflatten(0, (high, wide))  # behind what is no patch
        rows, columns = grid(values)
        squares = patches[: rows * stack, : columns * stack]
        squares = squares.unflatten(1, (columns, stack)).unflatten(0, (rows, stack))
        out.append(squares.transpose(1, 2).reshape(rows * columns, -1))
    return out


def _hears(folder: Path, config: Any, stack: int) -> Encoder:
    with in_words("The encoder's processor cannot be loaded", str(folder)):
        extractor: Any = AutoFeatureExtractor.from_pretrained(str(folder))
    rate = int(extractor.sampling_rate)
    seconds = float(vars(extractor)["chunk_length"]) if "chunk_length" in vars(extractor) else None

    def load() -> Any:
        return _part(folder, "encoder")

    def frames(count: int) -> int:
        """Return how many frames the encoder makes of so many samples."""
        if seconds is not None:  # Whisper hears silence behind a clip; frames of that are left out
            return math.ceil(count / rate * config.max_source_positions / seconds)
        for kernel, step in zip(config.conv_kernel, config.conv_stride, strict=True):
            count = (count - kernel) // step + 1
        return count

    def length(found: Found) -> int:
        assert isinstance(found, sounds.Sound)
        return math.ceil(max(1, frames(-(-round(found.seconds * found.rate) * rate // found.rate))) / stack)

    width = config.d_model if "d_model" in vars(config) else config.hidden_size
    return Encoder(
        name="huggingface",
        kind="audio",
        width=int(width) * stack,
        settings={"processor": extractor.to_dict(), "stack": stack},
        weights=weights_hash(folder),
        length=length,
        encode=partial(_hear, cache(load), extractor, frames, stack),
        longest=seconds,
    )


@torch.inference_mode()
def _hear(
    load: Callable[[], Any],
    extractor: Any,
    frames: Callable[[int], int],
    stack: int,
    paths: Sequence[Path],
) -> list[torch.Tensor]:
    model, out = load(), list[torch.Tensor]()
    for path in paths:
        heard = sounds.samples(path, int(extractor.sampling_rate))
        given = extractor(heard, sampling_rate=extractor.sampling_rate, return_tensors="pt")
        values = next(given[name] for name in ("input_features", "input_values") if name in given)
        hidden = model(values).last_hidden_state[0][: max(1, frames(len(heard)))]
        hidden = torch.nn.functional.pad(hidden, (0, 0, 0, -len(hidden) % stack))
        out.append(hidden.reshape(len(hidden) // stack, -1))
    return out


def _part(folder: Path, name: str) -> Any:
    """Return a folder's model in fp32, frozen; of one with other parts besides, the part of that name."""
    with in_words("The encoder cannot be loaded", str(folder)):
        whole: Any = AutoModel.from_pretrained(str(folder), dtype=torch.float32, trust_remote_code=False)
    parts = dict(cast("torch.nn.Module", whole).named_children())
    both = {"text_model", "decoder"} & parts.keys()
    if both and name not in parts:
        raise ModelError(f"The model has no part '{name}' that could encode.", where=str(folder))
    return (parts[name] if both else whole).requires_grad_(False).eval()
