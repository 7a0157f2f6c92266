"""Tiny random models of every architecture, plain and physically unrolled.

An architecture is a function of the layers to build: ``at`` picks what the config says about each
layer, so ``config(kind, [0, 1, 1])`` describes a model with two copies of layer 1. Nothing here
imports growloop.
"""

from __future__ import annotations

import copy
import functools
from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

import torch
import transformers
from torch import Tensor, nn

DEPTH = 4
LOOPED = "1-2x2-1"
IRREGULAR = "0,3,1,1"  # one skipped, two out of order, one twice in a row
SCHEDULES = {LOOPED: (0, 1, 2, 1, 2, 3), IRREGULAR: (0, 3, 1, 1)}

SIZES: dict[str, Any] = {
    "vocab_size": 99,
    "hidden_size": 32,
    "intermediate_size": 48,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "max_position_embeddings": 64,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
}
LEFT_OUT = object()  # a size that an architecture wants at its default


class At:
    """The layers to build."""

    def __init__(self, layers: Iterable[int]) -> None:
        self.layers = tuple(layers)

    def __call__(self, values: Sequence[Any]) -> list[Any]:
        """What is said of each layer, for the layers to build."""
        return [values[layer] for layer in self.layers]

    def where(self, *wanted: int, first: int = 0) -> list[int]:
        """The places where the wanted layers are built, counted from ``first``."""
        return [i for i, layer in enumerate(self.layers, first) if layer in wanted]


class Architecture(NamedTuple):
    """How to build one.

    Args:
        config: a config class of transformers.
        fields: what the config says beyond ``SIZES``.
        path: where the layers are.
        static: whether it takes a static cache.
        model: its class, where the config is that of a larger model's text part.
    """

    config: str
    fields: Callable[[At], dict[str, Any]] = lambda at: {}
    path: str = "model.layers"
    static: bool = True
    model: str | None = None


def always(**fields: Any) -> Callable[[At], dict[str, Any]]:
    return lambda at: fields


# no architecture's own pattern, and both are in the looped block
ATTENTION = ("sliding_attention", "sliding_attention", "full_attention", "full_attention")
MIXTURE = ("dense", "sparse", "dense", "sparse")
LINEAR = ("full_attention", "linear_attention", "full_attention", "linear_attention")
CONVOLUTION = ("full_attention", "conv", "full_attention", "conv")


def mixed(**fields: Any) -> Callable[[At], dict[str, Any]]:
    """Sliding and full layers; the window is shorter than the texts."""
    return lambda at: {"layer_types": at(ATTENTION), "sliding_window": 4, **fields}


EXPERTS: dict[str, Any] = {
    "num_experts": 4,
    "num_local_experts": 4,
    "num_experts_per_tok": 2,
    "moe_intermediate_size": 16,
    "shared_expert_intermediate_size": 16,
}
ROUTED = {"n_routed_experts": 4, "num_experts_per_tok": 2, "moe_intermediate_size": 16}
LATENT = {
    "num_key_value_heads": 4,
    "q_lora_rank": 16,
    "kv_lora_rank": 16,
    "qk_nope_head_dim": 8,
    "qk_rope_head_dim": 4,
    "v_head_dim": 8,
    "head_dim": LEFT_OUT,
}
GROUPS = {"n_group": 1, "topk_group": 1}
INDEXER = {"index_n_heads": 2, "index_head_dim": 8, "index_topk": 6, "head_dim": 4}
MAMBA = {
    "mamba_n_heads": 4,
    "mamba_d_head": 16,
    "mamba_n_groups": 1,
    "mamba_d_state": 8,
    "mamba_chunk_size": 4,
    "mamba_expand": 2,
}
DELTA = {
    "linear_num_value_heads": 4,
    "linear_num_key_heads": 2,
    "linear_key_head_dim": 8,
    "linear_value_head_dim": 8,
    "head_dim": 8,
}


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


TRANSFORMER = "transformer.h"
GEMMA = {"head_dim": 8}

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
"""Those that get the full set of checks."""


def bart(at: At) -> dict[str, Any]:
    """The decoder of an encoder-decoder, whose config counts the layers of both."""
    return {
        "encoder_layers": len(at.layers),
        "decoder_layers": len(at.layers),
        "decoder_attention_heads": 4,
        "decoder_ffn_dim": 48,
        "is_decoder": True,
        "is_encoder_decoder": False,
        "scale_embedding": True,
        "num_key_value_heads": LEFT_OUT,
        "intermediate_size": LEFT_OUT,
    }


def bert(config: str, path: str, **fields: Any) -> Architecture:
    return Architecture(config, always(is_decoder=True, **fields), path)


def latent(config: str, **fields: Any) -> Architecture:
    """Latent attention and experts in some layers."""
    more = {**LATENT, **ROUTED, **GROUPS, **fields}
    return Architecture(config, lambda at: {"mlp_layer_types": at(MIXTURE), **more})


def hybrid(config: str, kinds: Sequence[str], **fields: Any) -> Architecture:
    return Architecture(config, lambda at: {"layer_types": at(kinds), **fields})


DECODER = "model.decoder.layers"
OTHERS: dict[str, Architecture] = {
    "afmoe": Architecture(
        "AfmoeConfig", mixed(**EXPERTS, head_dim=8, num_dense_layers=1, n_group=1, topk_group=1)
    ),
    "apertus": Architecture("ApertusConfig"),
    "arcee": Architecture("ArceeConfig"),
    "aria_text": Architecture("AriaTextConfig", always(moe_num_experts=4, moe_topk=2)),
    "axk1": latent("AXK1Config"),
    "axk2": latent("AXK2Config", **INDEXER),
    "bailing_hybrid": Architecture(
        "BailingHybridConfig",
        lambda at: {
            **LATENT,
            **EXPERTS,
            **GROUPS,
            "head_dim": 8,
            "layer_types": at(LINEAR),
            "mlp_layer_types": at(MIXTURE),
        },
    ),
    "bart": Architecture("BartConfig", bart, DECODER),
    "bert": bert("BertConfig", "bert.encoder.layer"),
    "bert-generation": bert("BertGenerationConfig", "bert.encoder.layer"),
    "big_bird": bert("BigBirdConfig", "bert.encoder.layer", attention_type="original_full"),
    "bigbird_pegasus": Architecture("BigBirdPegasusConfig", bart, DECODER),
    "biogpt": Architecture("BioGptConfig", path="biogpt.layers"),
    "bitnet": Architecture("BitNetConfig"),
    "blenderbot": Architecture("BlenderbotConfig", bart, DECODER),
    "blenderbot-small": Architecture("BlenderbotSmallConfig", bart, DECODER),
    "bloom, residual": Architecture(
        "BloomConfig", always(apply_residual_connection_post_layernorm=True), TRANSFORMER
    ),
    "camembert": bert("CamembertConfig", "roberta.encoder.layer"),
    "codegen": Architecture("CodeGenConfig", always(rotary_dim=4), TRANSFORMER),
    "cohere": Architecture("CohereConfig"),
    "cohere2_moe": Architecture("Cohere2MoeConfig", mixed(**EXPERTS, head_dim=8)),
    "cpmant": Architecture(
        "CpmAntConfig", always(dim_head=8, dim_ff=48, prompt_length=4), "cpmant.encoder.layers"
    ),
    "ctrl": Architecture("CTRLConfig", always(dff=48), TRANSFORMER),
    "cwm": Architecture("CwmConfig", mixed(head_dim=8)),
    "data2vec-text": bert("Data2VecTextConfig", "data2vec_text.encoder.layer"),
    "dbrx": Architecture(
        "DbrxConfig",
        always(
            attn_config={"kv_n_heads": 2, "rope_theta": 1e4, "clip_qkv": 8.0},
            ffn_config={"ffn_hidden_size": 32, "moe_num_experts": 4, "moe_top_k": 2},
        ),
        "transformer.blocks",
    ),
    "deepseek_v2": latent("DeepseekV2Config", first_k_dense_replace=1, mlp_layer_types=LEFT_OUT),
    "deepseek_v4": Architecture(
        "DeepseekV4Config",
        lambda at: {
            **ROUTED,
            "layer_types": at(["heavily_compressed_attention", "compressed_sparse_attention"] * 2),
            "mlp_layer_types": at(["hash_moe", "hash_moe", "moe", "moe"]),
            **INDEXER,
            "head_dim": 8,
            "q_lora_rank": 16,
            "sliding_window": 4,
        },
    ),
    "deepseek_v32": latent("DeepseekV32Config", **INDEXER),
    "doge": Architecture("DogeConfig"),
    "dots1": Architecture(
        "Dots1Config", mixed(**ROUTED, n_shared_experts=1, first_k_dense_replace=1)
    ),
    "electra": bert("ElectraConfig", "electra.encoder.layer", embedding_size=32),
    "emu3": Architecture("Emu3TextConfig", model="Emu3ForCausalLM"),
    "ernie": bert("ErnieConfig", "ernie.encoder.layer"),
    "ernie4_5": Architecture("Ernie4_5Config", always(head_dim=8)),
    "exaone_moe": Architecture(
        "ExaoneMoeConfig",
        lambda at: {**mixed(**EXPERTS, **GROUPS)(at), "mlp_layer_types": at(MIXTURE)},
    ),
    "falcon, sequential": Architecture(
        "FalconConfig", always(parallel_attn=False, multi_query=False, bias=True), TRANSFORMER
    ),
    "falcon_h1": Architecture("FalconH1Config", always(**MAMBA, mamba_d_ssm=64)),
    "falcon_mamba": Architecture(
        "FalconMambaConfig", always(state_size=8, use_mambapy=False), "backbone.layers"
    ),
    "flex_olmo": Architecture("FlexOlmoConfig", always(**EXPERTS)),
    "git": Architecture(
        "GitConfig",
        always(
            vision_config={"hidden_size": 16, "intermediate_size": 16, "num_hidden_layers": 2}
            | {"num_attention_heads": 2, "image_size": 8, "patch_size": 4}
        ),
        "git.encoder.layer",
    ),
    "glm": Architecture("GlmConfig", always(head_dim=8)),
    "glm4_moe": Architecture(
        "Glm4MoeConfig", always(**ROUTED, **GROUPS, head_dim=8, first_k_dense_replace=1)
    ),
    "glm4_moe_lite": latent("Glm4MoeLiteConfig"),
    "glm_moe_dsa": Architecture(
        "GlmMoeDsaConfig",
        lambda at: {
            **LATENT,
            **ROUTED,
            **GROUPS,
            **INDEXER,
            "mlp_layer_types": at(MIXTURE),
            "indexer_types": at(["full", "shared", "full", "shared"]),
        },
    ),
    "gpt_bigcode": Architecture("GPTBigCodeConfig", path=TRANSFORMER),
    "gpt2, upcast": Architecture("GPT2Config", always(reorder_and_upcast_attn=True), TRANSFORMER),
    "granite_swa": Architecture(
        "GraniteSWAConfig", lambda at: {**mixed()(at), "layer_rope_theta": at([1e4, 0, 10.0, 0])}
    ),
    "granitemoe": Architecture("GraniteMoeConfig", always(**EXPERTS)),
    "granitemoehybrid": hybrid(
        "GraniteMoeHybridConfig", LINEAR, **MAMBA, **EXPERTS, shared_intermediate_size=16
    ),
    "granitemoeshared": Architecture(
        "GraniteMoeSharedConfig", always(**EXPERTS, shared_intermediate_size=16)
    ),
    "inkling_text": Architecture(
        "InklingTextConfig",
        lambda at: {
            **ROUTED,
            "layer_types": at(["hybrid_sliding", "hybrid_sliding", "hybrid", "hybrid"]),
            "mlp_layer_types": at(MIXTURE),
            "sliding_window": 4,
            "head_dim": 8,
            "swa_head_dim": 8,
            "swa_num_attention_heads": 4,
            "swa_num_key_value_heads": 2,
        },
    ),
    "helium": Architecture("HeliumConfig", always(head_dim=8)),
    "hunyuan_v1_dense": Architecture("HunYuanDenseV1Config", always(head_dim=8)),
    "hunyuan_v1_moe": Architecture(
        "HunYuanMoEV1Config", always(num_experts=4, moe_topk=2, head_dim=8)
    ),
    "hy_v4": Architecture(
        "HYV4Config",
        lambda at: {
            **LATENT,
            **ROUTED,
            **GROUPS,
            **INDEXER,
            "head_dim": 8,
            "mlp_layer_types": at(MIXTURE),
            "indexer_types": at(["full", "shared", "full", "shared"]),
        },
    ),
    "hy_v3": latent("HYV3Config", head_dim=8, num_experts=4),
    "hyperclovax": Architecture("HyperCLOVAXConfig"),
    "jais2": Architecture("Jais2Config"),
    "jetmoe": Architecture(
        "JetMoeConfig", always(num_local_experts=4, kv_channels=8, num_key_value_heads=2)
    ),
    "kimi_linear": Architecture(
        "KimiLinearConfig",
        lambda at: {
            **LATENT,
            **EXPERTS,
            **GROUPS,
            "linear_head_dim": 8,
            "linear_num_heads": 4,
            "layer_types": at(LINEAR),
            "mlp_layer_types": at(MIXTURE),
        },
    ),
    "laguna": Architecture(
        "LagunaConfig",
        lambda at: {
            **mixed(**EXPERTS, head_dim=8)(at),
            "mlp_layer_types": at(MIXTURE),
            "num_attention_heads_per_layer": at([4, 8, 4, 8]),
        },
    ),
    "lfm2": hybrid("Lfm2Config", CONVOLUTION, block_auto_adjust_ff_dim=False),
    "lfm2_moe": Architecture(
        "Lfm2MoeConfig",
        lambda at: {**EXPERTS, "layer_types": at(CONVOLUTION), "num_dense_layers": 1},
    ),
    "llama4": Architecture(
        "Llama4TextConfig",
        lambda at: {
            **EXPERTS,
            "head_dim": 8,
            "intermediate_size_mlp": 16,
            "attention_chunk_size": 4,
            "layer_types": at([kind.replace("sliding", "chunked") for kind in ATTENTION]),
            "no_rope_layers": at([1, 0, 1, 0]),
            "moe_layers": at.where(1, 3),
        },
    ),
    "mamba": Architecture("MambaConfig", always(state_size=8), "backbone.layers"),
    "mamba2": Architecture(
        "Mamba2Config",
        always(num_heads=4, head_dim=16, n_groups=1, state_size=8, chunk_size=4),
        "backbone.layers",
    ),
    "marian": Architecture("MarianConfig", bart, DECODER),
    "mbart": Architecture("MBartConfig", bart, DECODER),
    "megatron-bert": bert("MegatronBertConfig", "bert.encoder.layer"),
    "mellum": Architecture(
        "MellumConfig", lambda at: {**mixed(**EXPERTS)(at), "mlp_layer_types": at(MIXTURE)}
    ),
    "mimo_v2_flash": Architecture(
        "MiMoV2FlashConfig",
        lambda at: {**mixed(**ROUTED, **GROUPS, head_dim=8)(at), "mlp_layer_types": at(MIXTURE)},
    ),
    "minimax": hybrid("MiniMaxConfig", LINEAR, **EXPERTS, block_size=4, head_dim=8),
    "minimax_m2": Architecture("MiniMaxM2Config", always(**EXPERTS, head_dim=8)),
    "minimax_m3_vl_text": Architecture(
        "MiniMaxM3VLTextConfig",
        lambda at: {
            **EXPERTS,
            "layer_types": at(["full_attention", "minimax_m3_sparse"] * 2),
            "mlp_layer_types": at(MIXTURE),
            **INDEXER,
            "head_dim": 8,
        },
    ),
    "ministral": Architecture("MinistralConfig", mixed(head_dim=8)),
    "ministral3": Architecture("Ministral3Config", always(head_dim=8)),
    "modernbert-decoder": Architecture("ModernBertDecoderConfig", mixed()),
    "moshi": Architecture("MoshiConfig", always(ffn_dim=48, head_dim=8)),
    "mvp": Architecture("MvpConfig", bart, DECODER),
    "nanochat": Architecture("NanoChatConfig"),
    "nemotron_h": Architecture(
        "NemotronHConfig",
        lambda at: {
            **ROUTED,
            **GROUPS,
            "layers_block_type": at(["full_attention", "linear_attention", "moe", "moe"]),
            "mamba_num_heads": 4,
            "mamba_head_dim": 16,
            "n_groups": 1,
            "ssm_state_size": 8,
            "chunk_size": 4,
            "head_dim": 8,
            "moe_shared_expert_intermediate_size": 16,
            "use_mamba_kernels": False,
        },
    ),
    "olmo_hybrid": hybrid("OlmoHybridConfig", LINEAR, **DELTA),
    "openai-gpt": Architecture("OpenAIGPTConfig", path=TRANSFORMER),
    "opt, 350m": Architecture(
        "OPTConfig", always(ffn_dim=48, word_embed_proj_dim=16, do_layer_norm_before=False), DECODER
    ),
    "pegasus": Architecture("PegasusConfig", bart, DECODER),
    "persimmon": Architecture("PersimmonConfig"),
    "phimoe": Architecture("PhimoeConfig", always(**EXPERTS, sliding_window=None)),
    "plbart": Architecture("PLBartConfig", bart, DECODER),
    "qwen2_moe": Architecture(
        "Qwen2MoeConfig", lambda at: {**EXPERTS, "mlp_only_layers": at.where(1)}
    ),
    "qwen3_5": hybrid("Qwen3_5TextConfig", LINEAR, **DELTA),
    "qwen3_5_moe": hybrid("Qwen3_5MoeTextConfig", LINEAR, **DELTA, **EXPERTS),
    "qwen3_next": Architecture(
        "Qwen3NextConfig",
        lambda at: {
            **DELTA,
            **EXPERTS,
            "layer_types": at(LINEAR),
            "mlp_only_layers": at.where(1),
        },
    ),
    "rembert": bert(
        "RemBertConfig", "rembert.encoder.layer", input_embedding_size=16, output_embedding_size=16
    ),
    "roberta": bert("RobertaConfig", "roberta.encoder.layer"),
    "roberta-prelayernorm": bert("RobertaPreLayerNormConfig", "roberta_prelayernorm.encoder.layer"),
    "roc_bert": bert(
        "RoCBertConfig",
        "roc_bert.encoder.layer",
        pronunciation_vocab_size=9,
        shape_vocab_size=9,
        pronunciation_embed_dim=8,
        shape_embed_dim=8,
    ),
    "roformer": bert("RoFormerConfig", "roformer.encoder.layer", embedding_size=32),
    "seed_oss": Architecture("SeedOssConfig", always(head_dim=8)),
    "solar_open": Architecture("SolarOpenConfig", always(**ROUTED, **GROUPS, head_dim=8)),
    "stablelm, parallel": Architecture(
        "StableLmConfig", always(use_parallel_residual=True, qk_layernorm=True)
    ),
    "trocr": Architecture(
        "TrOCRConfig",
        lambda at: {
            "decoder_layers": len(at.layers),
            "decoder_ffn_dim": 48,
            "num_key_value_heads": LEFT_OUT,
            "intermediate_size": LEFT_OUT,
        },
        DECODER,
    ),
    "vaultgemma": Architecture("VaultGemmaConfig", mixed(head_dim=8)),
    "xglm": Architecture("XGLMConfig", always(ffn_dim=48)),
    "xlm-roberta": bert("XLMRobertaConfig", "roberta.encoder.layer"),
    "xlm-roberta-xl": bert("XLMRobertaXLConfig", "roberta.encoder.layer"),
    "xmod": bert("XmodConfig", "roberta.encoder.layer", default_language="en_XX"),
    "youtu": Architecture("YoutuConfig", always(**LATENT)),
    "zaya": Architecture("ZayaConfig", always(num_experts=4, moe_intermediate_size=16, head_dim=8)),
}
"""Those that get the main checks."""

BEAM = {**EXPERTS, "head_dim": 8, **GROUPS}
KEPT: dict[str, Architecture] = {
    # attention divided by the number of the layer
    "gpt2, scaled": Architecture(
        "GPT2Config", always(scale_attn_by_inverse_layer_idx=True), TRANSFORMER
    ),
    # a share of noise to subtract that grows with the number of the layer
    "diffllama": Architecture("DiffLlamaConfig"),
    # residuals scaled by the number of the layer
    "beam": Architecture(
        "BeamConfig",
        lambda at: {**BEAM, **mixed()(at), "mlp_layer_types": at(MIXTURE)},
    ),
    # residuals scaled by the depth
    "minicpm3": Architecture("MiniCPM3Config", always(**LATENT)),
    # experts in a range of layers
    "ernie4_5_moe": Architecture(
        "Ernie4_5_MoeConfig", always(**EXPERTS, moe_num_experts=4, moe_k=2, moe_layer_start_index=1)
    ),
}
"""Those whose layers depend on where they were built."""


def gemma_parts(at: At) -> dict[str, Any]:
    return {
        "layer_types": at(ATTENTION),
        "sliding_window": 4,
        "head_dim": 8,
        "global_head_dim": 8,
        "num_global_key_value_heads": 2,
        "hidden_size_per_layer_input": 8,
        "vocab_size_per_layer_input": 99,
        "num_kv_shared_layers": 0,
    }


def gemma3n(at: At, shared: int = 0) -> dict[str, Any]:
    return {
        **gemma_parts(at),
        "layer_types": at(["sliding_attention", "full_attention"] * 2),
        "intermediate_size": [48] * len(at.layers),
        "laurel_rank": 4,
        "activation_sparsity_pattern": [0.0] * len(at.layers),
        "num_kv_shared_layers": shared,
    }


REFUSED: dict[str, Architecture] = {
    # a part of the embedding for each layer, picked by step
    "gemma3n": Architecture("Gemma3nTextConfig", gemma3n),
    "gemma4": Architecture("Gemma4TextConfig", gemma_parts),
    # layers that read the keys and values of earlier ones
    "gemma3n, shared": Architecture("Gemma3nTextConfig", lambda at: gemma3n(at, shared=2)),
    # counts the layers when it is built: from that step on, the prompt is cut
    "gemma4_unified": Architecture("Gemma4UnifiedTextConfig", gemma_parts),
    # keeps the state of the recurrence in the layer: loops would share it
    "recurrent_gemma": Architecture(
        "RecurrentGemmaConfig",
        always(
            block_types=["attention", "recurrent"],
            num_key_value_heads=1,
            lru_width=32,
            attention_window_size=4,
        ),
    ),
    # only layer 0 normalises its input; weights are scaled by step
    "rwkv": Architecture("RwkvConfig", path="rwkv.blocks"),
    # leaves out the steps whose number is that of a cross-attention layer
    "mllama": Architecture(
        "MllamaTextConfig", always(cross_attention_layers=[1]), model="MllamaForCausalLM"
    ),
    # num_hidden_layers counts the layers of the encoder
    "whisper": Architecture(
        "WhisperConfig",
        lambda at: {**bart(at), "max_target_positions": 64, "max_source_positions": 8},
        DECODER,
    ),
    "prophetnet": Architecture(
        "ProphetNetConfig",
        lambda at: {
            "num_encoder_layers": len(at.layers),
            "num_decoder_layers": len(at.layers),
            "num_encoder_attention_heads": 4,
            "num_decoder_attention_heads": 4,
            "encoder_ffn_dim": 32,
            "decoder_ffn_dim": 32,
            "num_hidden_layers": LEFT_OUT,
            "is_decoder": True,
            "is_encoder_decoder": False,
            "add_cross_attention": False,
        },
        "prophetnet.decoder.layers",
    ),
    # the kinds of layers are worked out from their number
    "bamba": Architecture("BambaConfig", always(**MAMBA, attn_layer_indices=[0, 2])),
    "jamba": Architecture(
        "JambaConfig",
        always(
            **EXPERTS,
            attn_layer_period=2,
            attn_layer_offset=0,
            expert_layer_period=2,
            expert_layer_offset=1,
            use_mamba_kernels=False,
        ),
    ),
    # no list of layers
    "xlm": Architecture("XLMConfig", always(causal=True), "transformer.attentions"),
    # two attentions a layer
    "longcat_flash": Architecture(
        "LongcatFlashConfig",
        always(
            **LATENT,
            num_layers=4,
            n_routed_experts=4,
            moe_topk=2,
            zero_expert_num=2,
            expert_ffn_hidden_size=16,
        ),
    ),
    # two stacks, looped already
    "hrm_text": Architecture(
        "HrmTextConfig", always(num_layers_per_stack=2, H_cycles=1, L_cycles=1, head_dim=8)
    ),
    # layers that share their attention
    "zamba2": Architecture(
        "Zamba2Config",
        always(
            layers_block_type=["hybrid", "mamba", "hybrid", "mamba"],
            n_mamba_heads=4,
            mamba_d_state=8,
            use_mamba_kernels=False,
        ),
    ),
}
"""Those that cannot loop."""


def installed(table: Iterable[str]) -> list[str]:
    """Those of a table that the installed transformers has."""
    return [kind for kind in table if hasattr(transformers, architecture(kind).config)]


def architecture(kind: str) -> Architecture:
    return (ARCHITECTURES | OTHERS | KEPT | REFUSED)[kind]


def config(kind: str, layers: Iterable[int] = range(DEPTH)) -> Any:
    """The config of a model with these layers."""
    name, fields, *_ = architecture(kind)
    made = getattr(transformers, name)
    at, default = At(layers), made()
    sizes = SIZES | {"num_hidden_layers": len(at.layers)}
    given = {name: size for name, size in sizes.items() if hasattr(default, name)} | fields(at)
    named = {made.attribute_map.get(name, name): value for name, value in given.items()}
    found = made(**{name: value for name, value in named.items() if value is not LEFT_OUT})
    for part in (found, found.get_text_config(decoder=True)):
        for name, value in vars(part).items():
            if "drop" in name and isinstance(value, float):
                setattr(part, name, 0.0)
    return found


def _made(kind: str, layers: Iterable[int] = range(DEPTH)) -> Any:
    name, described = architecture(kind).model, config(kind, layers)
    if name is None:
        return transformers.AutoModelForCausalLM.from_config(described)
    return getattr(transformers, name)(described)


@functools.cache
def _template(kind: str) -> Any:
    torch.manual_seed(0)
    model = _made(kind)
    with torch.no_grad():
        for weight in model.parameters():  # states that move, so that mistakes show
            if weight.dim() > 1:
                weight.normal_(std=0.2)
            else:
                weight.add_(0.1 * torch.randn_like(weight))
    return model.eval()


def plain(kind: str) -> Any:
    """A model of ``DEPTH`` layers, the same each time."""
    return copy.deepcopy(_template(kind))


SCALED = ("llama", "phi3", "phi", "gpt_neox", "phimoe", "minicpm3", "glm4", "gemma3, text")
"""Those that are tried with positions that depend on the length of a text."""
SWITCH = 12  # tokens; longer texts are read by other positions


def scaled(kind: str, rope_type: str) -> Any:
    """A small model of an architecture, its positions scaled by length."""
    described = config(kind)
    text = described.get_text_config(decoder=True)
    head = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads

    def with_scaling(plain: dict[str, Any]) -> dict[str, Any]:
        share = max(0.5, plain.get("partial_rotary_factor", 1.0))
        pairs = int(head * share) // 2
        return {
            **plain,
            "partial_rotary_factor": share,
            "rope_type": rope_type,
            "factor": 4.0,
            "original_max_position_embeddings": SWITCH,
            "short_factor": [1.0] * pairs,
            "long_factor": [3.0] * pairs,
            "short_mscale": 1.0,
            "long_mscale": 1.3,
        }

    text.max_position_embeddings = text.original_max_position_embeddings = SWITCH
    plain = text.rope_parameters
    if "rope_theta" in plain:
        text.rope_parameters = with_scaling(plain)
    else:  # by kind of layer
        text.rope_parameters = {name: with_scaling(own) for name, own in plain.items()}
    torch.manual_seed(0)
    model = transformers.AutoModelForCausalLM.from_config(described).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.normal_(std=0.2)
    return model


def layer_of(kind: str, name: str) -> tuple[int, str] | None:
    """The layer that a weight belongs to, and its name in there."""
    before, mark, after = name.partition(architecture(kind).path + ".")
    if before or not mark:
        return None
    layer, _, rest = after.partition(".")
    return int(layer), rest


def unrolled(kind: str, layers: Sequence[int]) -> Any:
    """An ordinary model with a copy of a layer of ``plain(kind)`` for each step."""
    weights: dict[str, Tensor] = _template(kind).state_dict()
    model = _made(kind, layers)
    copied = {}
    for name in model.state_dict():
        place = layer_of(kind, name)
        if place is None:
            copied[name] = weights[name]
        else:
            step, rest = place
            copied[name] = weights[f"{architecture(kind).path}.{layers[step]}.{rest}"]
    model.load_state_dict(copied)
    return model.eval()


def copied(kind: str, layers: Sequence[int]) -> Any:
    """``plain(kind)`` with layers that were built in its own places; without a cache only."""
    model, described = plain(kind), config(kind, layers)
    above, _, name = architecture(kind).path.rpartition(".")
    owner = model.get_submodule(above)
    stack = [copy.deepcopy(getattr(owner, name)[layer]) for layer in layers]
    setattr(owner, name, nn.ModuleList(stack))
    for field in ("layer_types", "mlp_layer_types", "num_hidden_layers"):
        if hasattr(described, field):
            setattr(model.config, field, getattr(described, field))
    return model.eval()


def tokens(rows: int = 2, length: int = 9) -> Tensor:
    return torch.randint(5, 90, (rows, length), generator=torch.Generator().manual_seed(1))


def left_padded(ids: Tensor, gap: int = 3) -> dict[str, Tensor]:
    """A batch whose first text is shorter."""
    mask = torch.ones_like(ids)
    mask[0, :gap] = 0
    return {"input_ids": ids * mask, "attention_mask": mask}
