"""Vision and audio models of transformers in a size that computes in milliseconds, each with its processor.

The weights are random: they are for shapes, masks, positions and gradients. Each has the ways of its type:
the tokens around a picture, tiles, grids of positions, attention both ways, features for deeper layers.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, cast

import torch
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers
from transformers import (
    AutoConfig,
    AutoModelForMultimodalLM,
    PreTrainedTokenizerFast,
    WhisperFeatureExtractor,
)
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.gemma3.image_processing_pil_gemma3 import Gemma3ImageProcessorPil
from transformers.models.idefics3.image_processing_pil_idefics3 import Idefics3ImageProcessorPil
from transformers.models.llava_next.image_processing_pil_llava_next import LlavaNextImageProcessorPil
from transformers.models.qwen2_vl.image_processing_pil_qwen2_vl import Qwen2VLImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil
from transformers.models.smolvlm.image_processing_pil_smolvlm import SmolVLMImageProcessorPil

if TYPE_CHECKING:
    from pathlib import Path

PICTURES = ("llava", "idefics3", "smolvlm", "qwen2_5_vl", "qwen3_vl", "gemma3")
SOUNDS = ("qwen2_audio", "voxtral")
TYPES = (*PICTURES, *SOUNDS)
OTHERS = ("llava_next", "qwen2_vl", "paligemma")  # of which the program has no word

# Tokens that belong to a type besides those of turns; the first stands for a medium in a conversation.
TOKENS = {
    "llava": ["<image>"],
    "idefics3": ["<image>", "<fake_token_around_image>", "<global-img>", "<end_of_utterance>"],
    "qwen2_5_vl": ["<|image_pad|>", "<|video_pad|>", "<|vision_start|>", "<|vision_end|>"],
    "gemma3": ["<start_of_image>", "<image_soft_token>", "<end_of_image>"],
    "qwen2_audio": ["<|AUDIO|>", "<|audio_bos|>", "<|audio_eos|>"],
    "voxtral": ["[AUDIO]", "[BEGIN_AUDIO]"],
}
TOKENS["idefics3"] += [f"<row_{row}_col_{column}>" for row in range(1, 4) for column in range(1, 4)]
TOKENS["voxtral"] += [f"[SPARE_{number}]" for number in range(20)]  # its processor has [AUDIO] as token 24
TOKENS |= {"smolvlm": TOKENS["idefics3"], "qwen3_vl": TOKENS["qwen2_5_vl"], "qwen2_vl": TOKENS["qwen2_5_vl"]}
TOKENS |= dict.fromkeys(("llava_next", "paligemma"), TOKENS["llava"])
# How a part that is a medium is written by a type's chat template.
SHOWN = {
    "llava": "<image>\n",
    "idefics3": "<image>",
    "smolvlm": "<image>",
    "qwen2_5_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "qwen3_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "gemma3": "<start_of_image>",
    "qwen2_audio": "<|audio_bos|><|AUDIO|><|audio_eos|>\n",
    "voxtral": "[BEGIN_AUDIO][AUDIO]",
    "llava_next": "<image>\n",
    "qwen2_vl": "<|vision_start|><|image_pad|><|vision_end|>",
    "paligemma": "<image>",
}
TEMPLATE = (
    "{%% for message in messages %%}<|im_start|>{{ message['role'] }}\n"
    "{%% if message['content'] is string %%}{{ message['content'] }}{%% else %%}"
    "{%% for part in message['content'] %%}{%% if part['type'] == 'text' %%}{{ part['text'] }}"
    "{%% else %%}%s{%% endif %%}{%% endfor %%}{%% endif %%}<|im_end|>\n{%% endfor %%}"
    "{%% if add_generation_prompt %%}<|im_start|>assistant\n{%% endif %%}"
)
TEXT = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 8,
    "max_position_embeddings": 2048,
    "pad_token_id": 0,
    "bos_token_id": 0,
    "eos_token_id": 0,
    "tie_word_embeddings": False,
}
TOWER = {
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_channels": 3,
}
EARS = {"d_model": 32, "encoder_layers": 2, "encoder_attention_heads": 4, "encoder_ffn_dim": 64}
GRID = {"patch_size": 4, "spatial_merge_size": 2, "temporal_patch_size": 2, "depth": 2, "num_heads": 4}
PINPOINTS = [[24, 48], [48, 24], [48, 48]]
ROPE = {"rope_type": "default", "rope_theta": 1e4, "mrope_section": [2, 1, 1]}


def tokenizer_of(kind: str) -> PreTrainedTokenizerFast:
    """Return a tokenizer of bytes with the tokens of a type, and its chat template."""
    own = TOKENS[kind][::-1] if kind == "voxtral" else TOKENS[kind]
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>", *own]
    vocabulary = {name: at for at, name in enumerate(special)}
    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    vocabulary |= {letter: len(special) + at for at, letter in enumerate(letters)}
    newline = "Ċ"  # two of them are one token, as in real vocabularies
    vocabulary[newline * 2] = len(vocabulary)
    reader = Tokenizer(models.BPE(vocab=vocabulary, merges=[(newline, newline)]))
    reader.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    reader.decoder = decoders.ByteLevel()
    reader.add_special_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    named = (
        {"image_token": "<image_soft_token>", "boi_token": "<start_of_image>", "eoi_token": "<end_of_image>"}
        if kind == "gemma3"
        else {}
    )
    made = PreTrainedTokenizerFast(
        tokenizer_object=reader,
        eos_token="<|im_end|>",
        pad_token="<|endoftext|>",
        extra_special_tokens=named,
    )
    made.chat_template = TEMPLATE % SHOWN[kind]
    return made


def make_media_model(kind: str, folder: Path, *, seed: int = 0) -> Path:
    """Save a model of a type in a folder, with the processor that its type has. Returns the folder."""
    tokenizer = tokenizer_of(kind)
    torch.manual_seed(seed)
    config = AutoConfig.for_model(kind, **_config(kind, tokenizer))
    model = AutoModelForMultimodalLM.from_config(config)
    for weight in model.parameters():  # fresh ones are so small that pictures would make no difference
        if weight.dim() > 1:
            torch.nn.init.normal_(weight, std=weight[0].numel() ** -0.5)
    model.eval().save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    part, settings = _PROCESSORS[kind]
    part.save_pretrained(folder)
    (folder / "processor_config.json").unlink(missing_ok=True)
    (folder / "processor_config.json").write_text(json.dumps(settings))
    return folder


def _config(kind: str, tokenizer: PreTrainedTokenizerFast) -> dict[str, Any]:
    """Return the arguments of a type's configuration."""
    text: dict[str, Any] = {**TEXT, "vocab_size": len(tokenizer)}
    soft = tokenizer.convert_tokens_to_ids("<image_soft_token>" if kind == "gemma3" else TOKENS[kind][0])
    whole: dict[str, Any] = {"text_config": text, "tie_word_embeddings": False}
    whole["audio_token_id" if kind in SOUNDS else "image_token_id"] = soft
    if kind in ("llava", "llava_next"):
        text["model_type"] = "llama"
        tower = {"model_type": "clip_vision_model", **TOWER, "image_size": 24, "patch_size": 6}
        whole |= {"vision_config": tower, "vision_feature_layer": -2}
        whole |= {"vision_feature_select_strategy": "default"}
        whole |= {"image_grid_pinpoints": PINPOINTS} if kind == "llava_next" else {}
    elif kind == "paligemma":
        text["model_type"] = "gemma"
        tower = {"model_type": "siglip_vision_model", **TOWER, "image_size": 24, "patch_size": 6}
        whole |= {"vision_config": {**tower, "projection_dim": 32}, "projection_dim": 32, "hidden_size": 32}
    elif kind in ("idefics3", "smolvlm"):
        text["model_type"] = "llama"
        whole |= {"vision_config": {**TOWER, "image_size": 24, "patch_size": 6}, "scale_factor": 2}
    elif kind in ("qwen2_vl", "qwen2_5_vl", "qwen3_vl"):
        text["rope_parameters"] = ROPE
        tower = {**GRID, "hidden_size": 32, **_QWEN_TOWERS[kind]}
        whole |= {"vision_config": tower, "video_token_id": tokenizer.convert_tokens_to_ids("<|video_pad|>")}
        whole |= {"vision_start_token_id": tokenizer.convert_tokens_to_ids("<|vision_start|>")}
        whole |= {"vision_end_token_id": tokenizer.convert_tokens_to_ids("<|vision_end|>")}
    elif kind == "gemma3":
        text |= {"sliding_window": 1024, "query_pre_attn_scalar": 8}
        tower = {"model_type": "siglip_vision_model", **TOWER, "image_size": 24, "patch_size": 6}
        whole |= {"vision_config": tower, "mm_tokens_per_image": 4}
        whole |= {"boi_token_index": tokenizer.boi_token_id, "eoi_token_index": tokenizer.eoi_token_id}
    elif kind == "qwen2_audio":
        text["model_type"] = "qwen2"
        whole["audio_config"] = {"model_type": "qwen2_audio_encoder", **EARS, "num_mel_bins": 16}
        whole["audio_config"] |= {"max_source_positions": 100}
    else:
        text["model_type"] = "llama"
        ears = {"hidden_size": 32, "intermediate_size": 640, "num_hidden_layers": 2}
        whole["audio_config"] = {**ears, "num_attention_heads": 4, "num_mel_bins": 16}
    return whole


_MERGED = {"intermediate_size": 48, "out_hidden_size": 32}
_QWEN_TOWERS: dict[str, dict[str, Any]] = {
    "qwen2_vl": {"embed_dim": 32, "mlp_ratio": 2},
    "qwen2_5_vl": {**_MERGED, "window_size": 16, "fullatt_block_indexes": [1]},
    "qwen3_vl": {**_MERGED, "num_position_embeddings": 64, "deepstack_visual_indexes": [0, 1]},
}
_QWEN = Qwen2VLImageProcessorPil(patch_size=4, min_pixels=64, max_pixels=64 * 12)
_TILES: Any = {"size": {"longest_edge": 48}, "max_image_size": {"longest_edge": 24}}
_SQUARE: Any = {"size": {"shortest_edge": 24}, "crop_size": {"height": 24, "width": 24}}
_PATCHES = {"patch_size": 6, "vision_feature_select_strategy": "default", "num_additional_image_tokens": 1}
_SIGLIP = SiglipImageProcessorPil(size={"height": 24, "width": 24})
cast("Any", _SIGLIP).image_seq_length = 16
_EARS = WhisperFeatureExtractor(feature_size=16, chunk_length=2)
# The part of a processor that takes media, and the settings of its own.
_PROCESSORS: dict[str, tuple[Any, dict[str, Any]]] = {
    "llava": (CLIPImageProcessorPil(**_SQUARE), _PATCHES),
    "llava_next": (LlavaNextImageProcessorPil(**_SQUARE, image_grid_pinpoints=PINPOINTS), _PATCHES),
    "paligemma": (_SIGLIP, {}),
    "qwen2_vl": (_QWEN, {}),
    "idefics3": (Idefics3ImageProcessorPil(**_TILES), {"image_seq_len": 4}),
    "smolvlm": (SmolVLMImageProcessorPil(**_TILES), {"image_seq_len": 4}),
    "qwen2_5_vl": (_QWEN, {}),
    "qwen3_vl": (_QWEN, {}),
    "gemma3": (Gemma3ImageProcessorPil(size={"height": 24, "width": 24}), {"image_seq_length": 4}),
    "qwen2_audio": (_EARS, {}),
    "voxtral": (_EARS, {}),
}
