"""Architectures that get the full set of checks."""

from __future__ import annotations

from typing import Any

from .description import (
    ATTENTION,
    DEPTH,
    EXPERTS,
    GEMMA,
    GROUPS,
    LATENT,
    LEFT_OUT,
    ROUTED,
    SIZES,
    TRANSFORMER,
    Architecture,
    At,
    always,
    mixed,
)


def gemma3(at: At) -> dict[str, Any]:
    text = {**SIZES, "head_dim": 8, "sliding_window": 4, "num_hidden_layers": len(at.layers)}
    vision = {"hidden_size": 16, "intermediate_size": 16, "num_attention_heads": 2}
    return {
        **dict.fromkeys(SIZES, LEFT_OUT),
        "text_config": text | {"layer_types": at(ATTENTION)},
        "vision_config": vision | {"num_hidden_layers": DEPTH, "image_size": 8, "patch_size": 4},
        "mm_tokens_per_image": 4,
        "image_token_index": 97,
        "boi_token_index": 96,
        "eoi_token_index": 95,
    }


ARCHITECTURES: dict[str, Architecture] = {
    "llama": Architecture("LlamaConfig"),
    "mistral": Architecture("MistralConfig", always(sliding_window=None)),
    "mistral, window": Architecture("MistralConfig", always(sliding_window=4)),
    "qwen2": Architecture("Qwen2Config"),
    "qwen2, mixed": Architecture("Qwen2Config", mixed(use_sliding_window=True)),
    "qwen3": Architecture("Qwen3Config", mixed(use_sliding_window=True, **GEMMA)),
    "olmo": Architecture("OlmoConfig"),
    "olmo2": Architecture("Olmo2Config"),
    "olmo3": Architecture("Olmo3Config", mixed()),
    "phi": Architecture("PhiConfig"),
    "phi3": Architecture("Phi3Config", always(sliding_window=4)),
    "gemma": Architecture("GemmaConfig", always(**GEMMA)),
    "gemma2": Architecture("Gemma2Config", mixed(**GEMMA)),
    "gemma3, text": Architecture("Gemma3TextConfig", mixed(**GEMMA)),
    "gemma3": Architecture("Gemma3Config", gemma3, "model.language_model.layers"),
    "smollm3": Architecture("SmolLM3Config", lambda at: {"no_rope_layers": at([1, 0, 1, 0])}),
    "gpt2": Architecture("GPT2Config", path=TRANSFORMER),
    "gpt_neo": Architecture(
        "GPTNeoConfig",
        lambda at: {
            "attention_types": [[[k], 1] for k in at(["global", "local", "global", "local"])],
            "window_size": 4,
        },
        path=TRANSFORMER,
    ),
    "gptj": Architecture("GPTJConfig", always(rotary_dim=4), TRANSFORMER),
    "gpt_neox": Architecture("GPTNeoXConfig", path="gpt_neox.layers"),
    "falcon": Architecture("FalconConfig", path=TRANSFORMER),
    "falcon, new": Architecture(
        "FalconConfig", always(new_decoder_architecture=True, num_kv_heads=2), TRANSFORMER
    ),
    "falcon, alibi": Architecture("FalconConfig", always(alibi=True), TRANSFORMER, static=False),
    "opt": Architecture(
        "OPTConfig", always(ffn_dim=48, word_embed_proj_dim=32), "model.decoder.layers"
    ),
    "bloom": Architecture("BloomConfig", path=TRANSFORMER),
    "mpt": Architecture("MptConfig", path="transformer.blocks", static=False),
    "stablelm": Architecture("StableLmConfig"),
    "starcoder2": Architecture("Starcoder2Config", always(sliding_window=4)),
    "cohere2": Architecture("Cohere2Config", mixed()),
    "granite": Architecture("GraniteConfig"),
    "glm4": Architecture("Glm4Config", always(head_dim=8)),
    "nemotron": Architecture("NemotronConfig"),
    "mixtral": Architecture("MixtralConfig", always(**EXPERTS)),
    "qwen3_moe": Architecture(
        "Qwen3MoeConfig",
        lambda at: {**EXPERTS, "head_dim": 8, "mlp_only_layers": at.where(1)},
    ),
    "olmoe": Architecture("OlmoeConfig", always(**EXPERTS)),
    "exaone4": Architecture("Exaone4Config", mixed()),
    "deepseek_v3": Architecture(
        "DeepseekV3Config", always(**LATENT, **ROUTED, **GROUPS, first_k_dense_replace=1)
    ),
    "gpt_oss": Architecture("GptOssConfig", mixed(**EXPERTS, **GEMMA)),
}
