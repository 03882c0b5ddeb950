"""GGUF, llama.cpp's file: a model written into one, and read back out of one by transformers.

Written by hand and not by llama.cpp's converter, which no package ships: the tensor names and the number
formats are those of the `gguf` package, the order of the rotary halves is the converter's.
"""

from __future__ import annotations

import contextlib
import io
import json
from typing import TYPE_CHECKING, Any, cast

import torch
from gguf import (
    MODEL_ARCH,
    MODEL_ARCH_NAMES,
    GGMLQuantizationType,
    GGUFReader,
    GGUFWriter,
    LlamaFileType,
    TokenType,
    get_tensor_name_map,
)
from gguf.quants import quantize

from espalier.core.errors import ModelError

if TYPE_CHECKING:
    from pathlib import Path

    import numpy as np
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

    from espalier.encode.template import Template

# The model types of transformers that can be written. Mistral's tensors are Llama's, and llama.cpp has one
# name for both; a window that is in force is refused.
ARCHITECTURES = {"llama": MODEL_ARCH.LLAMA, "mistral": MODEL_ARCH.LLAMA, "qwen2": MODEL_ARCH.QWEN2}
FILE_TYPES = {
    "f32": LlamaFileType.ALL_F32,
    "f16": LlamaFileType.MOSTLY_F16,
    "bf16": LlamaFileType.MOSTLY_BF16,
    "q8_0": LlamaFileType.MOSTLY_Q8_0,
}
CONVERTER = "Export it with --to hf and convert the folder with llama.cpp's convert_hf_to_gguf.py."
# How a byte-level tokenizer cuts text before its merges, and llama.cpp's name for it.
WORDS = (
    r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|%s| ?[^\s\p{L}\p{N}]+[\r\n]*|"
    r"\s*[\r\n]+|\s+(?!\S)|\s+"
)
CUTS = {
    ("words",): "gpt-2",
    ("digits", "words"): "smollm",
    (WORDS % r"\p{N}", "bytes"): "qwen2",
    (WORDS % r"\p{N}{1,3}", "bytes"): "llama-bpe",
}


def write_gguf(
    path: Path, model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, template: Template, kind: str
) -> None:
    """Write a model with its tokenizer, chat template and stop tokens; matrices in the number format `kind`.

    Vectors stay in F32, as llama.cpp wants them, and so does a matrix whose rows Q8_0 cannot cut in blocks.

    Raises:
        ModelError: the architecture, its rotary embedding or the tokenizer is not one that can be written.
    """
    config: Any = model.config
    _check_architecture(config)
    arch = ARCHITECTURES[config.model_type]
    writer = GGUFWriter(path, MODEL_ARCH_NAMES[arch])
    writer.add_name(path.stem)
    writer.add_file_type(FILE_TYPES[kind])
    _add_settings(writer, config)
    _add_tokenizer(writer, tokenizer, template, config.vocab_size)
    names = get_tensor_name_map(arch, config.num_hidden_layers)
    for name, tensor in model.state_dict().items():
        if name == "lm_head.weight" and config.tie_word_embeddings:
            continue
        written = names.get_name(name, try_suffixes=(".weight", ".bias"))
        if written is None:
            raise ModelError(f"llama.cpp's {MODEL_ARCH_NAMES[arch]} has no tensor for '{name}'.")
        array = tensor.detach().float().cpu().numpy()
        if arch is MODEL_ARCH.LLAMA and (".attn_q." in written or ".attn_k." in written):
            array = _interleaved(array, config, written)
        form = GGMLQuantizationType[kind.upper()]
        if array.ndim == 1 or (kind == "q8_0" and array.shape[-1] % 32):
            form = GGMLQuantizationType.F32
        writer.add_tensor(written, quantize(array, form), raw_dtype=form)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def read_gguf(path: Path) -> PreTrainedModel:
    """Return the model of a GGUF file in fp32, as transformers reads it."""
    from transformers import AutoModelForCausalLM

    with contextlib.redirect_stderr(io.StringIO()):  # the reader draws a bar of its own
        loaded = AutoModelForCausalLM.from_pretrained(
            path.parent, gguf_file=path.name, dtype=torch.float32, attn_implementation="sdpa"
        )
    config = loaded.config
    # Loaded from GGUF, a model counts as quantised and refuses to be saved; its weights are plain fp32, so
    # a fresh model of the same class takes them over without the flags.
    vars(config).pop("quantization_config", None)
    plain = type(loaded)(config)
    plain.load_state_dict(loaded.state_dict())
    plain.tie_weights()
    return plain.eval()


def stop_ids(path: Path) -> frozenset[int]:
    """Return the tokens that end an answer, as a GGUF file names them."""
    fields = GGUFReader(path).fields
    keys = ("tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id")
    return frozenset(int(fields[key].contents()) for key in keys if key in fields)


def _check_architecture(config: Any) -> None:
    if config.model_type not in ARCHITECTURES:
        raise ModelError(
            f"A '{config.model_type}' model cannot be written as GGUF here; supported: "
            f"{', '.join(ARCHITECTURES)}.",
            hint=CONVERTER,
        )
    settings = config.to_dict()
    rope = settings["rope_parameters"]["rope_type"]
    windowed = settings.get("use_sliding_window", True) and settings.get("sliding_window")
    for what, is_so in ((f"'{rope}' rotary scaling", rope != "default"), ("a sliding window", windowed)):
        if is_so:
            raise ModelError(
                f"This {config.model_type} model uses {what}, which is not written to GGUF here.",
                hint=CONVERTER,
            )


def _add_settings(writer: GGUFWriter, config: Any) -> None:
    heads = config.num_attention_heads
    size = config.to_dict().get("head_dim") or config.hidden_size // heads
    writer.add_vocab_size(config.vocab_size)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_block_count(config.num_hidden_layers)
    writer.add_head_count(heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(size)
    writer.add_value_length(size)
    writer.add_rope_dimension_count(size)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)


def _add_tokenizer(
    writer: GGUFWriter, tokenizer: PreTrainedTokenizerBase, template: Template, size: int
) -> None:
    """Add vocabulary, merges, special tokens and the chat template of a byte-level BPE tokenizer."""
    content = json.loads(cast("Any", tokenizer).backend_tokenizer.to_str())
    model = content["model"]
    if model["type"] != "BPE" or model["byte_fallback"]:
        raise ModelError("The tokenizer is not a byte-level BPE, the only sort that is written to GGUF here.")
    added = {token["id"]: token for token in content["added_tokens"]}
    names = {number: name for name, number in tokenizer.get_vocab().items()}
    types = {
        number: TokenType.CONTROL if token["special"] else TokenType.USER_DEFINED
        for number, token in added.items()
    }
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(_cut(content["pre_tokenizer"]))
    writer.add_token_list([names.get(number, f"[PAD{number}]") for number in range(size)])
    writer.add_token_types(
        [
            types.get(number, TokenType.NORMAL if number in names else TokenType.UNUSED)
            for number in range(size)
        ]
    )
    writer.add_token_merges(
        [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    )
    vocabulary = tokenizer.get_vocab()
    writer.add_eos_token_id(vocabulary[str(tokenizer.eos_token or template.stop)])
    writer.add_eot_token_id(vocabulary[template.stop])
    for token, add in (
        (tokenizer.bos_token, writer.add_bos_token_id),
        (tokenizer.unk_token, writer.add_unk_token_id),
        (tokenizer.pad_token, writer.add_pad_token_id),
    ):
        if token is not None:
            add(vocabulary[str(token)])
    # As the tokenizer itself does it; most chat templates write the token themselves.
    writer.add_add_bos_token(cast("Any", tokenizer)("a")["input_ids"][0] == tokenizer.bos_token_id)
    writer.add_chat_template(str(tokenizer.chat_template))


def _cut(pre: Any) -> str:
    """Return llama.cpp's name for how a tokenizer cuts text into words. Raises ModelError."""
    steps: list[dict[str, Any]] = pre["pretokenizers"] if pre and pre["type"] == "Sequence" else [pre or {}]
    found: list[str] = []
    for step in steps:
        match step:
            case {"type": "ByteLevel", "use_regex": False}:
                found.append("bytes")
            case {"type": "ByteLevel", "add_prefix_space": False}:
                found.append("words")
            case {"type": "Digits", "individual_digits": True}:
                found.append("digits")
            case {"type": "Split", "pattern": {"Regex": regex}, "behavior": "Isolated"}:
                found.append(str(regex))
            case _:
                found.append(str(step.get("type", "nothing")))
    if tuple(found) not in CUTS:
        raise ModelError(
            f"The tokenizer cuts text in a way that has no name in GGUF here: {', '.join(found)}.",
            hint=CONVERTER,
        )
    return CUTS[tuple(found)]


def _interleaved(array: np.ndarray, config: Any, name: str) -> np.ndarray:
    """Reorder a projection's rows from rotary halves, transformers' order, to pairs, llama.cpp's."""
    heads = config.num_attention_heads if ".attn_q." in name else config.num_key_value_heads
    return array.reshape(heads, 2, -1, *array.shape[1:]).swapaxes(1, 2).reshape(array.shape)
