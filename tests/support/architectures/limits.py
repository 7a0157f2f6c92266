"""Architectures whose layers depend on where they were built, and those that cannot loop."""

from __future__ import annotations

from typing import Any

from .description import (
    ATTENTION,
    DECODER,
    EXPERTS,
    GROUPS,
    LATENT,
    LEFT_OUT,
    MAMBA,
    MIXTURE,
    TRANSFORMER,
    Architecture,
    At,
    always,
    bart,
    mixed,
)

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
