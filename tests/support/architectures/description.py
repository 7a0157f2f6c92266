"""How a tiny architecture is described, and the fields that several share."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from typing import Any, NamedTuple

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


TRANSFORMER = "transformer.h"
GEMMA = {"head_dim": 8}
DECODER = "model.decoder.layers"


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
