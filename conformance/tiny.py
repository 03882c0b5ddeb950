"""Models of every type in a size that computes in milliseconds, from their own configuration classes.

A configuration says its sizes under many names, and most of them follow a few patterns: `SIZES` holds these,
and `SPECIAL` what single types need besides. Lists with an entry for each layer keep one layer of every kind.
"""

from __future__ import annotations

import dataclasses
import re
from typing import TYPE_CHECKING, Any, cast

from transformers.models.auto.configuration_auto import CONFIG_MAPPING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from transformers import PreTrainedConfig

    Values = Mapping[str, Any]

HIDDEN, HEADS, HEAD, INNER = 32, 4, 8, 48
LAYERS = 2
MOST_LAYERS = 6
POSITIONS = 128

# The size of a field by the pattern of its name; the first that fits counts.
SIZES: tuple[tuple[str, int], ...] = (
    (
        r"(backbone_|out_|output_)?hidden_(size|dim)(_global)?|d_model|n_embd|emb(edding)?_dim|embed_dim",
        HIDDEN,
    ),
    (
        r"lru_width|dim_model_base|(input_|output_)?embedding_size|word_embed_proj_dim|adapter_.*(dim|size)",
        HIDDEN,
    ),
    (r"(mm_|text_|vision_|projector_)?(input|output)_dim|mamba_d_ssm|attention_hidden_size", HIDDEN),
    (
        r".*intermediate_size(_mlp)?|.*ffn_dim|.*ffn_hidden_size|feed_forward_size|dff|dim_ff|mlp_dim|d_inner",
        INNER,
    ),
    (r".*attention_heads|n_heads?|num_heads", HEADS),
    (r"(attention_|swa_|swa_v_|v_|qk_nope_|index_|linear_(key_|value_)?|kda_)?head_dim", HEAD),
    (r"dim_head|d_head|attention_head_size|kv_channels|(hidden_size_per_layer_input|ple_embed_dim)", HEAD),
    (r"mamba_(n|num)_heads", 8),
    (r"mamba_(d_head|head_?dim)", HEAD),
    (r"qk_rope_head_dim|rotary_dim", HEAD // 2),
    (r"qk_head_dim", HEAD + HEAD // 2),
    (r"index_n_heads|linear_num_(key_|value_)?heads", 2),
    (r".*lora_rank|gated_norm_rank|hc_lowrank|laurel_rank|adapter_rank|d_rel", 8),
    (r"num_(local_)?experts|n_routed_experts|moe_num_experts", 4),
    (r"num_experts_per_tok(en)?|moe_top_?k|moe_k|zero_expert_num", 2),
    (r"n_group|num_expert_group|topk_group|.*n_shared_experts|.*num_shared_experts", 1),
    (r"first_k_dense_replace|num_dense_layers|moe_layer_start_index|(mamba_)?n_?groups", 1),
    (r"mamba_d_state|(ssm_)?state_size|(mamba_)?dt_rank|time_step_rank", 8),
    (r"(mamba_)?chunk_size|(index_)?block_size|router_hidden_size", 8),
    # Indexed attention sees all of a row that is no longer than this; beyond it transformers' is not causal.
    (r"index_topk", POSITIONS),
    (r"max_position_embeddings|n_positions|n_ctx|max_seq_len|max_target_positions|context_length", POSITIONS),
    (r"encoder_hash_byte_group_vocab|(pronunciation|shape)_vocab_size|(pronunciation|shape)_embed_dim", 40),
    (r".*channel(_size)?s?|upsample_groups|window_tokens", HEAD),
)
KEY_HEADS = r"(swa_)?num_key_value_heads|num_kv_heads|kv_n_heads"
DEPTHS = r"(num_|n_)?(hidden_|encoder_|decoder_|global_|.*_hidden_)?layers?|depth|num_blocks"
WINDOWS = r"sliding_window(_size)?|attention_(window|chunk)_size|window_size|local_attention"

DECODER = {"given": {"is_decoder": True}}
MAMBA = {"mamba_n_heads": 8, "mamba_d_head": 8}
HEAD_DIM = {"set": {"head_dim": HEAD}}
QSA = {
    "set": {
        "indexer_n_heads": 2,
        "indexer_kv_heads": 1,
        "indexer_head_dim": 8,
        "indexer_budget": 8,
        "indexer_compress_ratio": 2,
    }
}
GEMMA_4 = {"set": {"global_head_dim": 2 * HEAD}}
SHARED_KEYS = {
    "num_hidden_layers": 4,
    "layer_types": ["sliding_attention", "full_attention"] * 2,
    "num_kv_shared_layers": 2,
}
GEMMA_3N = {
    "set": {
        **SHARED_KEYS,
        "intermediate_size": [INNER] * 4,
        "activation_sparsity_pattern": [0.95, 0.0, 0.0, 0.0],
    }
}
ROPE = {"rope_type": "default", "rope_theta": 1e4}
BY_KIND = {"full_attention": ROPE, "sliding_attention": ROPE}

# What single types need: fields that are `given` to the default configuration, and those that are `set` to
# the tiny one; the same for the parts of a configuration, by their names.
SPECIAL: dict[str, Values] = {
    **dict.fromkeys(
        (
            *("bert", "bert-generation", "big_bird", "camembert", "data2vec-text", "electra", "ernie"),
            *("megatron-bert", "rembert", "roberta", "roberta-prelayernorm", "roc_bert", "roformer"),
            *("xlm-roberta", "xlm-roberta-xl"),
        ),
        DECODER,
    ),
    "bamba": {"set": {**MAMBA, "attn_layer_indices": [1]}},
    "blt": {"set": {"encoder_hash_byte_group_size": [3, 4]}},
    "cohere_compass_text": {"given": {"rope_parameters": BY_KIND}},
    "dbrx": {"attn_config": {"given": {"rope_theta": 1e4, "clip_qkv": 8.0}}},
    "deepseek_v2": {"set": {"n_group": 1, "topk_group": 1, "num_experts_per_tok": 2}},
    "dots1": {"set": {"n_routed_experts": 4, "n_shared_experts": 1, "num_experts_per_tok": 2}},
    "falcon_h1": {"set": {**MAMBA, "mamba_d_ssm": 64}},
    "gemma3n": {"text_config": GEMMA_3N},
    "gemma3n_text": GEMMA_3N,
    "gemma4": {"text_config": GEMMA_4},
    "gemma4_assistant": {
        "given": {"text_config": {"hidden_size_per_layer_input": 0}},
        "text_config": {"set": {"hidden_size_per_layer_input": 0, "global_head_dim": 2 * HEAD}},
    },
    "gemma4_text": GEMMA_4,
    "gemma4_unified": {"text_config": GEMMA_4},
    "gemma4_unified_text": GEMMA_4,
    "gpt_neo": {"set": {"attention_types": [[["global", "local"], 1]]}},
    "granitemoehybrid": {"set": {**MAMBA, "layer_types": ["linear_attention", "full_attention"]}},
    "hunyuan_v1_dense": HEAD_DIM,
    "hunyuan_v1_moe": HEAD_DIM,
    "jamba": {"set": {"attn_layer_period": 2, "attn_layer_offset": 1}},
    "lfm2": {
        "set": {"num_hidden_layers": 2, "layer_types": ["conv", "full_attention"], "full_attn_idxs": None}
    },
    "lfm2_moe": {"set": {"layer_types": ["conv", "full_attention"]}},
    "longcat_flash": {"set": {"head_dim": HEAD // 2}},
    "mamba2": {"set": {"num_heads": 8}},
    "ministral": HEAD_DIM,
    "nemotron": {"set": {"num_key_value_heads": 2}},
    "qwen4_exp": {"text_config": QSA},
    "qwen4_exp_text": QSA,
    "reformer": {
        **DECODER,
        "set": {"axial_pos_embds_dim": [16, 16], "axial_pos_shape": [8, 16]},
    },
    "xmod": {"given": {"is_decoder": True, "default_language": "en_XX"}},
    "zamba": {
        "set": {
            "num_hidden_layers": 3,
            "layers_block_type": ["linear_attention", "hybrid", "hybrid"],
            "attention_hidden_size": 2 * HIDDEN,
            "attention_head_dim": 2 * HEAD,
        }
    },
}


def tiny_config(model_type: str, vocabulary: int, tokens: Mapping[str, int], window: int) -> PreTrainedConfig:
    """Return a small configuration of a type that has all of its kinds of layers.

    Args:
        model_type: a key of transformers' configurations.
        vocabulary: number of token ids.
        tokens: ids by field, such as `eos_token_id`, in the place of the type's own.
        window: tokens that a sliding window sees.
    """
    return _shrunken(CONFIG_MAPPING[model_type], vocabulary, tokens, window, SPECIAL.get(model_type, {}))


def _shrunken(
    kind: type[PreTrainedConfig], vocabulary: int, tokens: Values, window: int, special: Values
) -> PreTrainedConfig:
    given = special.get("given", {})
    full = kind(**given)
    parts = {
        name: _shrunken(type(part), vocabulary, tokens, window, special.get(name, {}))
        for name in full.sub_configs
        if (part := vars(full)[name]) is not None
    }
    stored = vars(full)
    names = {field.name for field in dataclasses.fields(cast("Any", kind))} - {*parts, *given}
    values = {
        name: stored[full.attribute_map.get(name, name)]
        for name in sorted(names)
        if full.attribute_map.get(name, name) in stored
    }
    return kind(**{**given, **parts, **_sizes(values, vocabulary, tokens, window), **special.get("set", {})})


def _sizes(values: Values, vocabulary: int, tokens: Values, window: int) -> dict[str, Any]:
    depth = _first(values, DEPTHS)
    lists = {
        n: v for n, v in values.items() if isinstance(v, list | tuple) and depth and len(v) == depth > LAYERS
    }
    kept = _one_of_each(list(zip(*lists.values(), strict=True))) if lists else list(range(LAYERS))
    sizes: dict[str, Any] = {
        name: [_scalar(name, held[place], INNER) for place in kept] for name, held in lists.items()
    }
    for name, value in values.items():
        if isinstance(value, bool) or not isinstance(value, int) or value <= 0:
            continue
        if re.fullmatch(r".*token_(id|index)", name):
            sizes[name] = tokens.get(name, min(value, vocabulary - 1))
        elif (
            re.fullmatch(r"(.*_)?vocab_size(_per_layer_input)?", name)
            and "type" not in name
            and not re.fullmatch(SIZES[-2][0], name)
        ):
            sizes[name] = vocabulary
        elif re.fullmatch(DEPTHS, name):
            sizes[name] = min(value, len(kept))
        elif re.fullmatch(WINDOWS, name):
            sizes[name] = window
        elif re.fullmatch(KEY_HEADS, name):
            heads = _first(values, r"(num_attention_|n_|num_)heads?|n_head")
            sizes[name] = HEADS if value == heads else 1 if value == 1 else 2
        else:
            sizes[name] = _scalar(name, value, value)
    return sizes


def _scalar(name: str, value: Any, default: Any) -> Any:
    if not isinstance(value, int):
        return value
    size = next((size for pattern, size in SIZES if re.fullmatch(pattern, name)), default)
    return min(size, value)


def _first(values: Values, pattern: str) -> Any:
    return next(
        (value for name, value in values.items() if re.fullmatch(pattern, name) and isinstance(value, int)),
        None,
    )


def _one_of_each(layers: Sequence[tuple[Any, ...]]) -> list[int]:
    """Return the places of the first layer of every kind, and of one more where all are equal."""
    first: dict[str, int] = {}
    for place, layer in enumerate(layers):
        first.setdefault(str(layer), place)
    places = sorted(first.values())[:MOST_LAYERS]
    return places if len(places) >= LAYERS else sorted({*places, *range(LAYERS)})[:LAYERS]
