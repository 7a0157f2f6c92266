"""Architectures that get the main checks."""

from __future__ import annotations

from .description import (
    ATTENTION,
    CONVOLUTION,
    DECODER,
    DELTA,
    EXPERTS,
    GROUPS,
    INDEXER,
    LATENT,
    LEFT_OUT,
    LINEAR,
    MAMBA,
    MIXTURE,
    ROUTED,
    TRANSFORMER,
    Architecture,
    always,
    bart,
    bert,
    hybrid,
    latent,
    mixed,
)

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
