"""Tiny checkpoints of real classes: as small as each class goes, with random weights. The table is the whole of it.

Imports nothing but the standard library and its neighbour: what builds checkpoints runs in an engine's environment, with
this directory as its first place to import from.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent))  # the tests import this from the repository's root

from formats import (
    CHATML,
    DEEPSEEK,
    ERNIE,
    GEMMA3,
    GEMMA4,
    GLM,
    HARMONY,
    HUNYUAN,
    INTERNVL,
    KIMI,
    MINIMAX,
    Format,
)

VOCABULARY = 1024


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """One checkpoint."""

    title: str
    """As the table in the documentation names it."""
    config: str
    """The class of its configuration, in transformers."""
    model: str
    format: Format
    options: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Of the configuration; of its text part where it has two."""
    eyes: Mapping[str, Any] | None = None
    """Of the part that sees; None: it reads text alone."""
    tokens: Mapping[str, str] = field(default_factory=dict[str, str])
    """Options that are ids of tokens."""
    beside: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Other options beside the two parts."""
    written: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """Put into config.json afterwards: other engines read it, and transformers does not write it."""
    transposed: tuple[str, ...] = ()
    """Tensors whose last two dimensions are exchanged after saving, by the end of their names."""


BASE: Mapping[str, Any] = {
    "vocab_size": VOCABULARY,
    "hidden_size": 128,
    "intermediate_size": 256,
    "num_hidden_layers": 2,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 2048,
}
_HEADS = {"head_dim": 32}
_EXPERTS = {**_HEADS, "num_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 64}
_ROUTED = {
    **_HEADS,
    "n_routed_experts": 4,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 64,
    "first_k_dense_replace": 1,
    "n_group": 1,
    "topk_group": 1,
}
_SLIDING = {**_HEADS, "num_hidden_layers": 6, "sliding_window": 128, "tie_word_embeddings": True}
_LATENT = {  # vLLM's kernels know only the dimensions of the real ones
    "q_lora_rank": 64,
    "kv_lora_rank": 512,
    "qk_nope_head_dim": 128,
    "qk_rope_head_dim": 64,
    "v_head_dim": 128,
    "num_key_value_heads": 4,
    "moe_intermediate_size": 64,
    "first_k_dense_replace": 1,
    "n_shared_experts": 1,
    "num_experts_per_tok": 2,
    "routed_scaling_factor": 2.5,
    "norm_topk_prob": True,
}
_SIGMOID = {"topk_method": "noaux_tc", "scoring_func": "sigmoid"}
_LINEAR = {
    "num_hidden_layers": 4,
    "head_dim": 64,
    "linear_num_key_heads": 2,
    "linear_num_value_heads": 4,
    "linear_key_head_dim": 64,
    "linear_value_head_dim": 64,
}
_ROPE = {"rope_type": "default", "rope_theta": 10000.0}
_QWEN_ROPE = {"rope_parameters": {**_ROPE, "mrope_section": [8, 4, 4], "mrope_interleaved": True}}
_GLM_ROPE = {"rope_parameters": {**_ROPE, "mrope_section": [4, 2, 2], "partial_rotary_factor": 0.5}}
_QWEN_EYES = {
    "depth": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_heads": 4,
    "patch_size": 16,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": 128,
    "num_position_embeddings": 64,
    "deepstack_visual_indexes": [0],
}
_GLM_EYES = {
    "depth": 2,
    "hidden_size": 64,
    "intermediate_size": 128,
    "num_heads": 4,
    "patch_size": 14,
    "image_size": 56,
    "spatial_merge_size": 2,
    "temporal_patch_size": 2,
    "out_hidden_size": 128,
}
_VIT = {"hidden_size": 64, "intermediate_size": 128, "num_attention_heads": 4, "num_hidden_layers": 2}
_INTERN_EYES = {**_VIT, "image_size": [56, 56], "patch_size": [14, 14]}
_INTERN_BESIDE = {"image_seq_length": 4, "downsample_ratio": 0.5}
_QWEN_TOKENS = {
    "image_token_id": "<|image_pad|>",
    "video_token_id": "<|video_pad|>",
    "vision_start_token_id": "<|vision_start|>",
    "vision_end_token_id": "<|vision_end|>",
}
_GLM_TOKENS = {
    "image_token_id": "<|image|>",
    "video_token_id": "<|video|>",
    "image_start_token_id": "<|begin_of_image|>",
    "image_end_token_id": "<|end_of_image|>",
    "video_start_token_id": "<|begin_of_video|>",
    "video_end_token_id": "<|end_of_video|>",
}
_GEMMA_TOKENS = {
    "image_token_index": "<image_soft_token>",
    "boi_token_index": "<start_of_image>",
    "eoi_token_index": "<end_of_image>",
}


def _text(title: str, kind: str, format: Format, options: Mapping[str, Any], **more: Any) -> Recipe:
    """A recipe of a class that reads text alone, whose names follow from one."""
    config, model = more.pop("config", f"{kind}Config"), f"{kind}ForCausalLM"
    return Recipe(title=title, config=config, model=model, format=format, options=options, **more)


def _eyes(title: str, kind: str, format: Format, options: Mapping[str, Any], **more: Any) -> Recipe:
    """A recipe of a class that sees too."""
    model = f"{kind}ForConditionalGeneration"
    return Recipe(title=title, config=f"{kind}Config", model=model, format=format, options=options, **more)


_MINIMAX = _text(
    "MiniMax-M2",
    "MiniMaxM2",
    MINIMAX,
    {**_HEADS, "num_local_experts": 4, "num_experts_per_tok": 2, "rotary_dim": 16},
    written={"rotary_dim": 16, "use_qk_norm": True, "scoring_func": "sigmoid", "use_routing_bias": True},
)
_QWEN3_VL_MOE = _eyes(
    "Qwen3-VL-MoE, as transformers saves it",
    "Qwen3VLMoe",
    CHATML,
    {**_EXPERTS, "decoder_sparse_step": 1, **_QWEN_ROPE},
    eyes=_QWEN_EYES,
    tokens=_QWEN_TOKENS,
    written={"text_config": {"norm_topk_prob": True}},
)
RECIPES: Mapping[str, Recipe] = {
    "qwen2": _text("Qwen2, Qwen2.5", "Qwen2", CHATML, {}),
    "qwen3": _text("Qwen3", "Qwen3", CHATML, _HEADS),
    "qwen3-moe": _text("Qwen3-MoE", "Qwen3Moe", CHATML, {**_EXPERTS, "decoder_sparse_step": 1, "norm_topk_prob": True}),
    "qwen3-next": _text(
        "Qwen3-Next",
        "Qwen3Next",
        CHATML,
        {**_EXPERTS, **_LINEAR, "shared_expert_intermediate_size": 64, "decoder_sparse_step": 1},
    ),
    "gpt-oss": _text(
        "gpt-oss",
        "GptOss",
        HARMONY,
        {**_HEADS, "num_local_experts": 4, "num_experts_per_tok": 2, "sliding_window": 128},
    ),
    "deepseek-v3": _text(
        "DeepSeek-V3, R1",
        "DeepseekV3",
        DEEPSEEK,
        {**_LATENT, "n_routed_experts": 4, "n_group": 2, "topk_group": 1},
        written=_SIGMOID,
    ),
    "kimi-k2": _text(
        "Kimi K2",
        "DeepseekV3",
        KIMI,
        {**_LATENT, "n_routed_experts": 8, "n_group": 1, "topk_group": 1},
        written=_SIGMOID,
    ),
    "glm4": _text("GLM-4", "Glm4", GLM, _HEADS),
    "glm4-moe": _text("GLM-4.5", "Glm4Moe", GLM, {**_ROUTED, "use_qk_norm": True}),
    "minimax-m2": _MINIMAX,
    "minimax-m2-softmax": replace(
        _MINIMAX, title="MiniMax-M2, with softmax routing", written={**_MINIMAX.written, "scoring_func": "softmax"}
    ),
    "gemma3": _text(
        "Gemma 3, text", "Gemma3", GEMMA3, {**_SLIDING, "query_pre_attn_scalar": 32}, config="Gemma3TextConfig"
    ),
    "gemma4": _text(
        "Gemma 4, text",
        "Gemma4",
        GEMMA4,
        {
            **_SLIDING,
            "global_head_dim": 32,
            "vocab_size_per_layer_input": VOCABULARY,
            "hidden_size_per_layer_input": 32,
            "num_kv_shared_layers": 0,
        },
        config="Gemma4TextConfig",
        written={"global_head_dim": 32},
    ),
    "hunyuan-dense": _text("Hunyuan dense", "HunYuanDenseV1", HUNYUAN, _HEADS),
    "hunyuan-moe": _text(
        "Hunyuan MoE",
        "HunYuanMoEV1",
        HUNYUAN,
        {**_HEADS, "num_experts": 4, "moe_topk": 2},
        written={
            "moe_intermediate_size": [256, 256],
            "moe_topk": [2, 2],
            "num_shared_expert": [1, 1],
            "use_mixed_mlp_moe": True,
        },
    ),
    "ernie4_5": _text("ERNIE 4.5 dense", "Ernie4_5", ERNIE, _HEADS),
    "ernie4_5-moe": _text(
        "ERNIE 4.5 MoE",
        "Ernie4_5_Moe",
        ERNIE,
        {
            "moe_num_experts": 4,
            "moe_k": 2,
            "moe_intermediate_size": 64,
            "moe_num_shared_experts": 1,
            "moe_layer_start_index": 1,
        },
    ),
    "qwen3-vl": _eyes("Qwen3-VL", "Qwen3VL", CHATML, {**_HEADS, **_QWEN_ROPE}, eyes=_QWEN_EYES, tokens=_QWEN_TOKENS),
    "qwen3-vl-moe": _QWEN3_VL_MOE,
    "qwen3-vl-moe-released": replace(
        _QWEN3_VL_MOE,
        title="Qwen3-VL-MoE, experts turned",
        transposed=("experts.gate_up_proj", "experts.down_proj"),
    ),
    "glm4_5v": _eyes(
        "GLM-4.5V",
        "Glm4vMoe",
        GLM,
        {**_ROUTED, **_GLM_ROPE},
        eyes=_GLM_EYES,
        tokens=_GLM_TOKENS,
        written={"text_config": {"use_qk_norm": False}},
    ),
    "internvl": _eyes(
        "InternVL",
        "InternVL",
        INTERNVL,
        {"model_type": "qwen2"},
        eyes=_INTERN_EYES,
        tokens={"image_token_id": "<IMG_CONTEXT>"},
        beside=_INTERN_BESIDE,
    ),
    "qianfan-ocr": _eyes(
        "QianfanOCR",
        "QianfanOCR",
        INTERNVL,
        {"model_type": "qwen3", **_HEADS},
        eyes=_INTERN_EYES,
        tokens={"image_token_id": "<IMG_CONTEXT>"},
        beside=_INTERN_BESIDE,
        written={"vision_config": {"image_size": 56, "patch_size": 14}},
    ),
    "gemma3-vl": _eyes(
        "Gemma 3, with images",
        "Gemma3",
        GEMMA3,
        {**_HEADS, "sliding_window": 128, "num_hidden_layers": 6},
        eyes={**_VIT, "image_size": 56, "patch_size": 14, "model_type": "siglip_vision_model"},
        tokens=_GEMMA_TOKENS,
        beside={"mm_tokens_per_image": 4},
    ),
}
"""By the name of its directory."""
