"""What a model's folder has to be, told from its files before any weight is read.

Each sort of folder that people have and that cannot be tuned is refused in its own words: what it is, and
what to take in its place.
"""

from __future__ import annotations

import re
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from pickle import UnpicklingError
from typing import TYPE_CHECKING, Any, cast

import transformers
from huggingface_hub.errors import StrictDataclassError
from safetensors import SafetensorError
from transformers import AutoConfig, PreTrainedConfig
from transformers.models.auto import modeling_auto
from transformers.models.auto.configuration_auto import CONFIG_MAPPING
from transformers.models.auto.modeling_auto import (
    MODEL_FOR_CAUSAL_LM_MAPPING_NAMES,
    MODEL_FOR_MASKED_LM_MAPPING_NAMES,
    MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES,
    MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
)

from espalier.core.errors import DataError, ModelError, nearest
from espalier.core.files import read_json
from espalier.core.signatures import WRITTEN, first_bytes
from espalier.models.files import CONFIG, weight_files

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

POINTER = b"version https://git-lfs"
# Where a configuration says that its weights are quantised, or one of its parts does.
QUANTISED = ("quantization_config", "compression_config")
# Files that a processor's settings are in, of both versions of transformers.
PROCESSOR = ("processor_config.json", "preprocessor_config.json")
RATING = "ForSequenceClassification"
# Ends of the names of models that have another head than one that writes, and what such a model does.
OTHER_HEADS = {
    "ForMaskedLM": "fills gaps in texts",
    "ForMultipleChoice": "chooses among given answers",
    "ForQuestionAnswering": "marks an answer in a text",
    "ForTokenClassification": "labels the words of a text",
    RATING: "puts texts into classes",
}
# What other types do, by words in the names of transformers' lists that they stand in; the first that fits.
OTHER_TYPES = {
    "AUDIO SPEECH FOR_CTC WAVEFORM SPECTROGRAM RNNT TDT": "hears or makes sounds",
    "IMAGE_TEXT MULTIMODAL VISUAL RETRIEVAL": "reads pictures beside text",
    "IMAGE OBJECT MASK_GENERATION SEGMENTATION DEPTH KEYPOINT VIDEO": "looks at pictures",
    "SEQ_TO_SEQ": "is an encoder with a decoder, of which one reads and one writes",
    "MASKED_LM TEXT_ENCODING": "is an encoder: it fills gaps in texts or makes vectors of them",
    "TIME_SERIES": "foretells numbers",
}
# Types that a reward model can be of; those that fill masks read ahead.
RATERS = {*MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES} - {*MODEL_FOR_MASKED_LM_MAPPING_NAMES}
# What transformers and the readers below it raise for a folder that they cannot make sense of.
UNREADABLE = (
    *(AttributeError, ImportError, LookupError, OSError, RuntimeError, TypeError, ValueError),
    *(DataError, SafetensorError, StrictDataclassError, UnpicklingError),
)
# What makes plain weights of quantised ones, by the method; transformers undoes the others while it loads.
PACKAGES = {
    "awq": "gptqmodel",
    "bitsandbytes": "bitsandbytes",
    "compressed-tensors": "compressed-tensors",
    "gptq": "gptqmodel",
    "hqq": "hqq",
    "torchao": "torchao",
}


def check_file(path: Path) -> None:
    """Refuse a file in the place of a folder. Raises ModelError."""
    if path.suffix == ".gguf":
        raise ModelError(
            "It is a GGUF file: weights for llama.cpp, most often rounded to a few bits.",
            where=str(path),
            hint="Take the folder in Hugging Face layout that it was made from; `espalier export --to gguf` "
            "makes such a file of what you have tuned.",
        )
    raise ModelError("It is a file, and a model is a folder.", where=str(path))


def check_folder(folder: Path) -> None:
    """Refuse a folder that lacks a part or is of a sort that cannot be tuned. Raises ModelError."""
    where = str(folder)
    if not (folder / "config.json").exists():
        _refuse_bare(folder)
    config = read_json(folder / "config.json")
    if not isinstance(config, dict):
        raise ModelError("The configuration should be an object {…}.", where=str(folder / "config.json"))
    _check_config(cast("dict[str, Any]", config), where)
    for file in (*weight_files(folder), *_tokenizer_files(folder)):
        if file.is_file() and first_bytes(file).startswith(POINTER):
            what, advice = WRITTEN[POINTER]
            raise ModelError(f"{file.name} is {what}.", where=where, hint=f"{advice}, or download it whole.")
    if not _tokenizer_files(folder):
        raise ModelError(
            "The model folder holds no tokenizer.",
            where=where,
            hint="Save it beside the weights with tokenizer.save_pretrained(FOLDER).",
        )
    if not weight_files(folder):
        others = [
            *folder.glob("*.msgpack"),
            *folder.glob("*.h5"),
            *folder.glob("*.onnx"),
            *folder.glob("*.gguf"),
        ]
        found = f" but {others[0].name}, which transformers does not read" if others else ""
        raise ModelError(f"The model folder holds no weights (*.safetensors){found}.", where=where)


def check_adapter(folder: Path) -> str:
    """Return the name of an adapter's base model. Raises ModelError where the folder does not say it."""
    base = read_json(folder / CONFIG).get("base_model_name_or_path")
    if not base:
        raise ModelError(
            "The folder holds a PEFT adapter, and no model of its own; its base model is not named in it.",
            where=str(folder),
            hint=f"Write the base model's folder or hub id into {CONFIG}, as base_model_name_or_path.",
        )
    return str(base)


def _tokenizer_files(folder: Path) -> list[Path]:
    return [
        path for pattern in ("tokenizer*", "vocab*", "*.model", "*.tiktoken") for path in folder.glob(pattern)
    ]


def load_config(place: str) -> PreTrainedConfig:
    """Return the configuration of a folder. Raises ModelError."""
    with in_words("The model's configuration cannot be loaded", place):
        return AutoConfig.from_pretrained(place, trust_remote_code=False)


def _check_config(config: Mapping[str, Any], where: str) -> None:
    """Refuse a configuration whose model does not write, or whose weights cannot be trained."""
    sort = str(config.get("model_type") or "")
    names = config.get("architectures") or [""]
    if sort not in CONFIG_MAPPING:
        _refuse_unknown(sort, "auto_map" in config, where)
    parts = [config, *(part for part in config.values() if isinstance(part, dict))]
    if how := [part[key] for part in parts for key in QUANTISED if part.get(key)]:
        _refuse_quantised(how[0], where)
    if names[0].endswith(RATING) and sort in RATERS:
        return
    if is_multimodal(config, Path(where)):
        return
    if what := _other_kind(config, sort, names[0]):
        inner = (config.get("text_config") or {}).get("model_type")
        own = f"'{sort}', {names[0] or 'no architecture is named'}"
        raise ModelError(
            f"The model ({own}) {what}, and Espalier tunes those that only go on with a text.",
            where=where,
            hint="One that sees or hears is tuned with its processor (preprocessor_config.json) in the "
            f"folder. Or take the language model that it was built on ('{inner}')."
            if inner in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES
            else "Take a causal language model, such as one of the Llama, Qwen or Gemma families.",
        )


def is_multimodal(config: Mapping[str, Any], folder: Path) -> bool:
    """Say whether a folder holds a model that sees or hears by itself, with its processor."""
    sort, names = str(config.get("model_type")), config.get("architectures") or [""]
    own = cast("dict[str, Any]", MODEL_FOR_MULTIMODAL_LM_MAPPING_NAMES).get(sort)
    takes = {"vision_config", "audio_config"} & config.keys()
    has = any((folder / name).exists() for name in PROCESSOR)
    return bool(takes) and own == names[0] and has and not config.get("is_encoder_decoder")


def _other_kind(config: Mapping[str, Any], sort: str, name: str) -> str:
    """Return what a model does that is no causal language model; '' for one that is."""
    if does := next((does for end, does in OTHER_HEADS.items() if name.endswith(end)), ""):
        return does
    headless = name.endswith("Model") and "LMHead" not in name and sort in MODEL_FOR_MASKED_LM_MAPPING_NAMES
    if sort in MODEL_FOR_CAUSAL_LM_MAPPING_NAMES and not (headless or config.get("is_encoder_decoder")):
        return ""
    named = [name for name, types in vars(modeling_auto).items() if name.endswith("_NAMES") and sort in types]
    named += ["AUDIO"] if "audio_config" in config and "vision_config" not in config else []
    named += ["SEQ_TO_SEQ"] if config.get("is_encoder_decoder") else []
    fits = (does for words, does in OTHER_TYPES.items() for word in words.split() if word in " ".join(named))
    part = "is a part of a larger model, which transformers does not load by itself"
    return next(fits, part if name.endswith("ForCausalLM") else "does not write text")


def _refuse_bare(folder: Path) -> None:
    """Say what a folder is that has no config.json."""
    if found := sorted(folder.glob("*.gguf")):
        check_file(found[0])
    what, hint = "", ""
    inside = sorted(path.parent.name for path in folder.glob("*/config.json"))
    if (folder / "model_index.json").exists():
        what = ": it is a pipeline that makes pictures"
    elif inside:
        hint = f"The folder {inside[-1]} in it is one."
    elif [*folder.glob("adapter_model.*")]:
        what = f": it holds an adapter's weights, and no {CONFIG}, which names their base model"
        hint = f"Copy {CONFIG} from where the adapter was saved."
    elif others := [*folder.glob("*.pth"), *folder.glob("params.json")]:
        what = f" (it has {others[0].name})"
    elif _tokenizer_files(folder):
        what, hint = (
            ": it holds a tokenizer alone",
            "Save the model beside it with model.save_pretrained(FOLDER).",
        )
    raise ModelError(
        f"The folder holds no config.json, so it is not a model folder in Hugging Face layout{what}.",
        where=str(folder),
        hint=hint,
    )


def _refuse_unknown(sort: str, remote: bool, where: str) -> None:
    if remote:
        raise ModelError(
            f"The model ('{sort}') is defined by code in its folder (auto_map), which is not run here.",
            where=where,
            hint=f"Take a model of a type that transformers {transformers.__version__} has itself.",
        )
    if not sort:
        raise ModelError("The configuration names no model_type.", where=where)
    raise ModelError(
        f"transformers {transformers.__version__} knows no model type '{sort}'.",
        where=where,
        hint=nearest(sort, MODEL_FOR_CAUSAL_LM_MAPPING_NAMES).split(" Known:")[0]
        + " A newer transformers may.",
    )


def _refuse_quantised(settings: Mapping[str, Any], where: str) -> None:
    method = str(settings.get("quant_method") or "bitsandbytes")
    package = PACKAGES.get(method)
    plain = (
        f"with `pip install {package}`, transformers can load it" if package else "transformers can load it"
    )
    raise ModelError(
        f"The weights are quantised ({method}), and training needs plain ones.",
        where=where,
        hint="Take the model that it was made from; to train on 4-bit weights, that one with "
        f"train.method = 'qlora'. Or make a plain copy: {plain}, dequantize() and save_pretrained() it.",
    )


def check_tokenizer_packages(folder: Path) -> None:
    """Refuse a tokenizer of which only a file is there that needs a package to be read. Raises ModelError."""
    if (folder / "tokenizer.json").exists():
        return
    for file in sorted([*folder.glob("*.model"), *folder.glob("*.tiktoken")]):
        # SentencePiece's files are protocol buffers, and the first field is a list of pieces.
        sentencepiece = file.suffix == ".model" and file.read_bytes()[:1] == b"\n"
        needed = ("sentencepiece", "protobuf") if sentencepiece else ("tiktoken",)
        missing = [name for name in needed if find_spec({"protobuf": "google"}.get(name, name)) is None]
        if missing:
            raise ModelError(
                f"The tokenizer is in {file.name} alone, and reading it needs {' and '.join(missing)}.",
                where=str(folder),
                hint=f"Install what is missing: pip install {' '.join(missing)}",
            )


@contextmanager
def in_words(what: str, where: str) -> Iterator[None]:
    """Turn what transformers raises inside the block into a ModelError: `what` cannot be done, and why."""
    try:
        yield
    except UNREADABLE as error:
        name = _package(error) if isinstance(error, ImportError) else ""
        why = f"it needs the package {name}, which is not installed." if name else first_line(error)
        hint = f"Install it with: pip install {name}" if name else ""
        raise ModelError(f"{what}: {why}", where=where, hint=hint) from None


def _package(error: ImportError) -> str:
    """Return the name of the package that transformers misses, or '' where it does not say."""
    found = re.search(r"pip install\s+(?:-U\s+)?`?([\w.-]+)|requires the ([\w-]+) library", str(error))
    return next(filter(None, found.groups()), "").lower() if found else ""


def first_line(error: Exception) -> str:
    """Return the line of an error that says most: the first, or the reason that a validation has found."""
    lines = [line.strip() for line in str(error).splitlines() if line.strip()]
    if isinstance(error, StrictDataclassError) and len(lines) > 1:
        return lines[1].partition(": ")[2] or lines[1]
    if isinstance(error, UnpicklingError):
        return "a file of weights holds Python code beside tensors, which is not run."
    return lines[0] if lines else type(error).__name__
