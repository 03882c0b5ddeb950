"""What a model's own processor makes of one medium: the tokens in its place, and what the encoder is given.

The processor is transformers', with Pillow behind it, so that torchvision is not needed; of a type that also
takes videos, the part for these is left out. It is asked about each medium alone: the tokens that it puts in
the place of one do not depend on the rest of a conversation.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from functools import cached_property
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
import torch
import transformers
from transformers import AutoFeatureExtractor, AutoImageProcessor
from transformers.models.auto import processing_auto

from espalier.core.errors import TemplateError
from espalier.core.files import content_hash
from espalier.encode.media import SOFT, Expansion, Shown
from espalier.media import pictures, sounds
from espalier.media.pictures import Picture
from espalier.media.sounds import Sound
from espalier.models.folder import PROCESSOR, in_words, load_config

if TYPE_CHECKING:
    from collections.abc import Mapping

    Kind = Literal["image", "audio"]

# Its processor renders conversations in one way of its own, and hears sounds part by part.
VOXTRAL = "voxtral"
# The processor's attribute, by kind of media.
PARTS = {"image": "image_processor", "audio": "feature_extractor"}


@dataclass(frozen=True)
class Asked:
    """What a model is given of a medium alone, with a token behind it.

    Attributes:
        inputs: of its forward, by name.
        places: where the medium's own tokens are among the T [T].
    """

    inputs: Mapping[str, Any]
    places: torch.Tensor


class Processor:
    """A model folder's processor, asked about one medium at a time.

    Args:
        folder: of the model.
        tokenizer: of transformers, as loaded from it.
        most: pixels of a picture; a larger one is made smaller before the processor has it.

    Raises:
        ModelError: it cannot be loaded, or is of a type that is not known here.
    """

    def __init__(self, folder: Path, tokenizer: Any, most: int | None = None) -> None:
        self._folder, self._tokenizer, self._most = folder, tokenizer, most
        self._config: Any = load_config(str(folder))  # its file may leave out what is usual
        self._own = _loaded(folder, self.name, tokenizer)
        self._expansions: dict[tuple[Any, ...], Expansion] = {}

    @property
    def name(self) -> str:
        """The type of its model."""
        return str(self._config.model_type)

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """Return the kinds of media that it takes."""
        found = [kind for kind in PARTS if vars(self._own).get(PARTS[kind]) is not None]
        return tuple(cast("list[Kind]", found))

    @cached_property
    def settings(self) -> str:
        """Hash of all that its inputs depend on."""
        parts = [vars(self._own)[PARTS[kind]].to_dict() for kind in self.kinds]
        own = {name: value for name, value in vars(self._own).items() if isinstance(value, int | str)}
        known = [parts, own, transformers.__version__, *([self._most] if self._most else [])]
        return content_hash(json.loads(json.dumps(known, default=str)))

    @property
    def rate(self) -> int:
        """Samples a second that its encoder hears."""
        return int(self._own.feature_extractor.sampling_rate)

    @property
    def longest(self) -> float | None:
        """Seconds that its encoder hears at most: what is longer would be cut; None where it is not."""
        heard = vars(self._own.feature_extractor).get("chunk_length")
        return None if heard is None or self.name == VOXTRAL else float(heard)

    def placeholder(self, kind: Kind) -> str:
        """Return what the chat template writes in the place of a medium."""
        return str(getattr(self._own, f"{kind}_token"))

    def soft(self, kind: Kind) -> int:
        """Return the token that stands for each of a medium's own."""
        known = self._config.to_dict()
        return int(next(known[name] for name in (f"{kind}_token_id", f"{kind}_token_index") if name in known))

    def never(self, kind: Kind) -> tuple[int, ...]:
        """Return the tokens that stand for media of a kind."""
        placeholder = self._tokenizer.convert_tokens_to_ids(self.placeholder(kind))
        return tuple(sorted({int(placeholder), self.soft(kind)}))

    def shown(self, kind: Kind) -> Shown:
        """Return how a chat template shows a medium."""
        probe = self.expansion(kind, self.sample(kind))
        return Shown(self.placeholder(kind), probe.before, probe.after)

    def expansion(self, kind: Kind, found: Picture | Sound) -> Expansion:
        """Return what stands in the place of a medium of this size.

        Raises:
            TemplateError: the processor takes none of this size.
        """
        size = self._size(found)
        if (kind, *size) not in self._expansions:
            self._expansions[kind, *size] = self._expanded(kind, _blank(kind, size))
        return self._expansions[kind, *size]

    def asked(self, kind: Kind, path: Path) -> Asked:
        """Return what the model is given of a file. Raises DataError, TemplateError."""
        if kind == "image":
            return self._asked(kind, pictures.pillow("Image").fromarray(pictures.pixels(path, self._most)))
        return self._asked(kind, sounds.samples(path, self.rate))

    def blank(self, kind: Kind, found: Picture | Sound) -> Asked:
        """Return what the model is given of a medium of this size in which there is nothing."""
        return self._asked(kind, _blank(kind, self._size(found)))

    def drawn(self, kind: Kind) -> Asked:
        """Return what the model is given of a medium of some size in which there is something."""
        size = self._size(self.sample(kind))
        drawn = np.random.default_rng(0)
        if kind == "audio":
            return self._asked(kind, drawn.normal(0, 0.1, size[0]).astype(np.float32))
        colours = drawn.integers(1, 255, (size[1], size[0], 3), np.uint8)
        return self._asked(kind, pictures.pillow("Image").fromarray(colours))

    def sample(self, kind: Kind) -> Picture | Sound:
        """Return the size of a medium that a model is tried with."""
        return Picture(64, 48, "RGB", "PNG") if kind == "image" else Sound(self.rate, 1, 1.0, "WAV")

    def _size(self, found: Picture | Sound) -> tuple[int, ...]:
        """Return a picture's width and height, or how many samples the encoder hears of a sound."""
        if isinstance(found, Picture):
            size = found.width, found.height
            large = self._most is not None and size[0] * size[1] > self._most
            return pictures.fitting(*size, cast("int", self._most)) if large else size
        return (-(-round(found.seconds * found.rate) * self.rate // found.rate),)

    def _asked(self, kind: Kind, value: Any) -> Asked:
        inputs = self._called(kind, self.placeholder(kind) + str(self._tokenizer.eos_token), value)
        return Asked(inputs, inputs["input_ids"][0] == self.soft(kind))

    def _called(self, kind: Kind, text: str, value: Any) -> Mapping[str, Any]:
        own = self._own
        try:
            if self.name == VOXTRAL:
                return _voxtral(own, self._config, text, value)
            given: dict[str, Any] = {"images": [[value]]}
            if kind == "audio":
                given = {"audio": [value], "sampling_rate": self.rate}
            return dict(own(text=[text], return_tensors="pt", add_special_tokens=False, **given))
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            raise TemplateError(
                f"The model's processor ({type(self._own).__name__}) refuses it: {str(error).rstrip('.')}.",
                where=str(self._folder),
            ) from None

    def _expanded(self, kind: Kind, value: Any) -> Expansion:
        ids = self._called(kind, self.placeholder(kind), value)["input_ids"][0].tolist()
        added, soft = self._tokenizer.added_tokens_decoder, self.soft(kind)
        marks = [at for at, token in enumerate(ids) if token in added]
        first, last = marks[0], marks[-1] + 1
        around = [self._tokenizer.decode(part) for part in (ids[:first], ids[last:])]
        core = tuple(SOFT if token == soft else token for token in ids[first:last])
        return Expansion(core, *around)


def _loaded(folder: Path, sort: str, tokenizer: Any) -> Any:
    """Return transformers' processor of a folder, without a part for videos."""
    with in_words("The model's processor cannot be loaded", str(folder)):
        kind = _class(sort)
        parts: dict[str, Any] = {"tokenizer": tokenizer, "video_processor": None}
        if "image_processor" in kind.get_attributes():
            parts["image_processor"] = AutoImageProcessor.from_pretrained(str(folder), backend="pil")
        if "feature_extractor" in kind.get_attributes():
            parts["feature_extractor"] = AutoFeatureExtractor.from_pretrained(str(folder))
        settings = kind.get_processor_dict(str(folder))[0] if (folder / PROCESSOR[0]).exists() else {}
        return kind.from_args_and_dict([parts[name] for name in kind.get_attributes()], settings)


def _class(sort: str) -> Any:
    """Return the class of a type's processor, which does without a part for videos."""
    name = str(processing_auto.__dict__["PROCESSOR_MAPPING_NAMES"][sort])
    own: Any = getattr(import_module(f"transformers.models.{sort}"), name)

    def check(self: Any, name: str, part: Any) -> Any:
        return None if part is None else own.check_argument_for_proper_class(self, name, part)

    return type(own.__name__, (own,), {"check_argument_for_proper_class": check})


def _voxtral(own: Any, config: Any, text: str, value: Any) -> Mapping[str, Any]:
    """Return what Voxtral is given: its processor makes that in its way to render conversations alone."""
    kwargs = own._merge_kwargs()["audio_kwargs"]
    heard = own._retrieve_input_features([value], kwargs.pop("max_source_positions"), **kwargs)
    ears = config.audio_config
    many = len(heard) * ears.max_source_positions * ears.hidden_size // ears.intermediate_size
    ids = own.tokenizer(text.replace(own.audio_token, own.audio_token * many), add_special_tokens=False)
    return {"input_ids": torch.tensor([ids["input_ids"]]), "input_features": heard}


def _blank(kind: Kind, size: tuple[int, ...]) -> Any:
    if kind == "image":
        return pictures.pillow("Image").new("RGB", size)
    return np.zeros(size[0], np.float32)
