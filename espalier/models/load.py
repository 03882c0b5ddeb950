"""Models from their folders: whole ones, and adapters on their bases; `places.py` finds them by name."""

from __future__ import annotations

import copy
import shutil
import sys
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import torch
from safetensors import SafetensorError
from torch import nn
from transformers import (
    AutoModelForCausalLM,
    AutoModelForMultimodalLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)
from transformers.utils import logging

from espalier.core.errors import ModelError, TemplateError
from espalier.core.files import content_hash, read_json
from espalier.core.records import message
from espalier.core.text import counted
from espalier.encode.template import Template
from espalier.models.adapters import ADAPTER, CONFIG, add_weights, is_plain, merged, save_weights
from espalier.models.encoders.attached import (
    attach,
    chosen_beside,
    features_of,
    fresh_hash,
    read_beside,
    template_for,
)
from espalier.models.folder import (
    RATING,
    check_folder,
    check_tokenizer_packages,
    first_line,
    in_words,
    load_config,
)
from espalier.models.media import media_embedding
from espalier.models.multimodal.attached import (
    attach_own,
    cap_pictures,
    copy_processor,
    own_features,
    processor_template,
    sees_itself,
)
from espalier.models.places import Place, adapted_hash, weights_hash
from espalier.models.precision import PLAIN, Formats
from espalier.models.reward import padding, rates, reward_model
from espalier.models.sharing import Sharing
from espalier.models.soft_prompt import virtual_ids
from espalier.models.support import check_causal

if TYPE_CHECKING:
    from collections.abc import Sequence

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from espalier.core.recipe import Choice
    from espalier.models.encoders.features import KeptFeatures


@dataclass(frozen=True)
class Loaded:
    """A model in fp32 with its tokenizer and template.

    Attributes:
        place: where it was loaded from.
        weights: hash of the weight files, part of every generation's key.
        formats: what it is trained and decoded in.
        pixels: most of a picture that it is shown; None for as many as its processor takes.
    """

    place: Place
    model: PreTrainedModel
    tokenizer: PreTrainedTokenizerBase
    template: Template
    weights: str
    formats: Formats = PLAIN
    pixels: int | None = None

    @cached_property
    def sharing(self) -> Sharing:
        """Whether its rows share prefixes."""
        return Sharing(self.model)


def load_tokenizer(place: str) -> PreTrainedTokenizerBase:
    """Return the tokenizer of a model folder. Raises ModelError."""
    check_tokenizer_packages(Path(place))
    with in_words("The tokenizer cannot be loaded", place):
        tokenizer = AutoTokenizer.from_pretrained(place, trust_remote_code=False)
    tokenizer.chat_template = processor_template(Path(place)) or tokenizer.chat_template
    return tokenizer


def load_template(place: Place | str, encoders: Sequence[Choice] = (), pixels: int | None = None) -> Template:
    """Return the rendering of a model, without its weights; with media where `encoders` or its own take them.

    Raises:
        ModelError, TemplateError, RecipeError: a part cannot be loaded.
    """
    place = _as_place(place)
    tokenizer = load_tokenizer(place.words)
    template = _template(place.root, tokenizer)
    if sees_itself(Path(place.root)):
        return template.seeing(own_features(Path(place.root), tokenizer, pixels=pixels).takes)
    chosen = encoders or chosen_beside(Path(place.folder))
    return template.seeing(features_of(chosen).takes) if chosen else template


def _template(place: str, tokenizer: PreTrainedTokenizerBase) -> Template:
    config = load_config(place).get_text_config()
    try:  # not from its dictionary: GPT-2 and others have another name for it there
        context = config.max_position_embeddings or sys.maxsize
    except AttributeError:
        context = sys.maxsize
    return Template(cast("Any", tokenizer), context)


def load_model(place: Place | str, device: torch.device | str = "cpu") -> Loaded:
    """Load a model in fp32 onto a device, ready for training or decoding; or a reward model.

    It attends as transformers would have it: through torch's own kernel where its code can. Adapters are
    folded into their bases, so that one can be tuned further and nothing of the first training is lost.

    Raises:
        ModelError: the weights cannot be loaded or are not complete, or the model does not write text.
        TemplateError: the tokenizer has no usable chat template.
    """
    place = _as_place(place)
    return _loaded(place, place.words, device)


def with_pixels(loaded: Loaded, pixels: int | None) -> Loaded:
    """Return a model that is shown pictures of so many pixels at most. Raises RecipeError."""
    if pixels is None:
        return loaded
    features = cap_pictures(loaded.model, loaded.tokenizer, pixels)
    template = loaded.template.seeing(features.takes)
    weights = content_hash([loaded.weights, pixels])
    return replace(loaded, template=template, weights=weights, pixels=pixels)


def with_encoders(loaded: Loaded, choices: Sequence[Choice], seed: int = 0) -> Loaded:
    """Return a model with encoders before it, and fresh projectors, which follow the seed, where it has none.

    Raises:
        ModelError: the model has other encoders.
    """
    features = features_of(choices)
    embedding = media_embedding(loaded.model)
    if embedding is not None:
        if cast("KeptFeatures", embedding.features).keys != features.keys:
            raise ModelError(
                "The model has other encoders than the recipe names.",
                where=loaded.place.folder,
                hint="Leave model.encoders out: they are saved with the model.",
            )
        return loaded
    model = attach(loaded.model, features, seed)
    template = template_for(loaded.template, model)
    weights = fresh_hash(loaded.weights, features, seed)
    return replace(loaded, model=model, template=template, weights=weights)


def _as_place(place: Place | str) -> Place:
    return place if isinstance(place, Place) else Place(place)


def _loaded(place: Place, words: str, device: torch.device | str) -> Loaded:
    """Return a model with the tokenizer of the folder `words`, every adapter folded in."""
    if place.base is None:
        return _load_whole(place.folder, words, device)
    loaded = _adapted(Path(place.folder), place.base, words, device)
    model = merged(loaded.model)
    if not is_plain(model):
        raise ModelError(
            "What the model's method adds to its base cannot be folded into it, so nothing can be tuned on "
            "top of it.",
            where=place.folder,
            hint="Take the model that it was made from, or tune that by lora, which can be folded in.",
        )
    model.name_or_path = place.folder
    return replace(loaded, model=model)


def _load_whole(place: str, words: str, device: torch.device | str) -> Loaded:
    tokenizer = load_tokenizer(words)
    template = _template(place, tokenizer)
    logging.disable_progress_bar()
    logging.set_verbosity_error()  # what is wrong with a folder is said in one sentence, not in its tables
    names = read_json(Path(place) / "config.json").get("architectures") or [""]
    sees = sees_itself(Path(place))
    kind: Any = AutoModelForMultimodalLM if sees else AutoModelForCausalLM
    kind = AutoModelForSequenceClassification if names[0].endswith(RATING) else kind
    with in_words("The model cannot be loaded", place):
        model, found = kind.from_pretrained(
            place, dtype=torch.float32, output_loading_info=True, trust_remote_code=False
        )
    missing = sorted(found["missing_keys"])
    if missing:
        # transformers would fill them with random numbers and say so in a log line.
        raise ModelError(
            f"The weights lack {len(missing)} of the model's tensors, such as {missing[0]}.", where=place
        )
    _check_vocabulary(model, tokenizer, template, place)
    template.context = min(template.context, _places(model))
    nn.Module.to(model.eval(), device)
    if not rates(model):
        check_causal(model)
    model = attach_own(model, Path(place), tokenizer) if sees else read_beside(model, Path(place))
    template = template_for(template, model)
    return Loaded(Place(place), model, tokenizer, template, weights_hash(Path(place)))


def _check_vocabulary(
    model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, template: Template, place: str
) -> None:
    """Refuse a tokenizer with tokens that the model has no embedding of and that a row may have.

    A special token of which the template makes no use is none: quoted, it is no token at all.
    """
    rows = len(cast("nn.Embedding", model.get_input_embeddings()).weight)
    special = {number for number, token in tokenizer.added_tokens_decoder.items() if token.special}
    used = f"{tokenizer.chat_template} {tokenizer.bos_token} {tokenizer.eos_token}"
    try:
        turns = [message("system", "Hi"), message("user", "Hi"), message("assistant", "Hi", trained=True)]
        asked = set(template.answered(turns).ids)
    except TemplateError:
        asked = set()  # what a template cannot render is told with the rows
    beyond = sorted(
        (number, token)
        for token, number in tokenizer.get_vocab().items()
        if number >= rows and (number not in special or number in asked or token in used)
    )
    if beyond:
        many, first = counted(len(beyond), "token"), ", ".join(repr(token) for _, token in beyond[:3])
        raise ModelError(
            f"The tokenizer has {many} that the model has no embedding of ({first}): its ids go up to "
            f"{beyond[-1][0]}, and the model has {rows} embeddings.",
            where=place,
            hint="Take the tokenizer that belongs to the model, or enlarge the model with "
            "model.resize_token_embeddings(len(tokenizer)) and save it again.",
        )


def _places(model: PreTrainedModel) -> int:
    """Return for how many tokens a model has learned places; some begin to count behind the padding's."""
    counts = [
        part.num_embeddings - (part.padding_idx + 1 if part.padding_idx is not None else 0)
        for name, part in model.named_modules()
        if isinstance(part, nn.Embedding) and name.endswith("position_embeddings")
    ]
    return min(counts, default=sys.maxsize)


def save_tuned(model: PreTrainedModel, base: Loaded, folder: Path) -> None:
    """Save a tuned model with its tokenizer, all or nothing; an adapter stays an adapter.

    Raises:
        ModelError: the disk is full or the folder cannot be written.
    """
    partial = folder.with_name(f".{folder.name}.partial")
    logging.disable_progress_bar()
    try:
        shutil.rmtree(partial, ignore_errors=True)
        save_weights(model, partial)
        tokenizer = base.tokenizer
        if rates(model):  # what pads must not be what ends an answer
            tokenizer = copy.deepcopy(tokenizer)
            tokenizer.pad_token_id = padding(tokenizer, base.template.stop_ids)
        tokenizer.save_pretrained(str(partial))
        if (partial / "config.json").exists():  # an adapter's base has it
            copy_processor(model, partial)
        for file in partial.iterdir():
            file.chmod(0o644)  # safetensors makes files that only their owner can read
        shutil.rmtree(folder, ignore_errors=True)
        partial.rename(folder)
    except (OSError, SafetensorError) as error:
        raise ModelError(
            f"The tuned model cannot be saved: {first_line(error)}",
            where=str(folder),
            hint="Free some space and run the same command again; it goes on from the last checkpoint.",
        ) from None
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def load_tuned(folder: Path, base: Place | str, device: torch.device | str = "cpu") -> Loaded:
    """Load what `save_tuned` saved; `base` is where an adapter's base model is.

    A soft prompt's virtual tokens are the template's prefix.

    Raises:
        ModelError: a part is missing or cannot be loaded.
        MissingExtra: the adapter is one to 4-bit weights, and bitsandbytes is not installed.
    """
    if not (folder / ADAPTER).exists():
        check_folder(folder)
        return load_model(str(folder), device)
    base = _as_place(base)
    return _adapted(folder, base, base.words, device)


def _adapted(folder: Path, base: Place, words: str, device: torch.device | str) -> Loaded:
    loaded = _loaded(base, words, device)
    with in_words("The adapter cannot be loaded", str(folder)):
        if read_json(folder / CONFIG).get("task_type") == "SEQ_CLS":
            rating = reward_model(loaded.model, loaded.tokenizer, loaded.template.stop_ids)
            loaded = replace(loaded, model=rating)
        model = add_weights(loaded.model, folder).eval()
    both = adapted_hash(loaded.weights, folder)
    template = template_for(loaded.template, model).prefixed(virtual_ids(model))
    return replace(loaded, place=Place(str(folder), base), model=model, template=template, weights=both)
