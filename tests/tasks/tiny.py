"""Tiny random models with a byte tokenizer, saved as ordinary checkpoints."""

from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

# Requests that share much and little, options of one and of more tokens.
CONTEXT = list(b"What comes after a, b, c and d, and how often? " * 3)
OTHER = [*CONTEXT[:70], *b"Something else entirely, then"]
OPTIONS = [list(text) for text in (b"e", b"ef", b"eg", b"egh", b"xyz", b"e" * 9)]
PAIRS = [(context, option) for context in (CONTEXT, OTHER, CONTEXT[:50]) for option in OPTIONS]
PAIRS += [(CONTEXT, [*b" and a context", *option]) for option in OPTIONS]

CONFIGS: dict[str, tuple[str, dict[str, Any]]] = {
    # grouped heads, rotary positions
    "llama": ("LlamaConfig", {"num_key_value_heads": 2}),
    # learned positions
    "gpt2": ("GPT2Config", {}),
    # a window shorter than the prompts: branches must not be packed
    "mistral-window": ("MistralConfig", {"num_key_value_heads": 2, "sliding_window": 48}),
    # sliding and full layers in turn, scaled embeddings, soft-capped logits
    "gemma2": ("Gemma2Config", {"num_key_value_heads": 2, "head_dim": 16, "sliding_window": 48}),
    # positions by a bias on the attention scores, not by position ids
    "bloom": ("BloomConfig", {}),
    # parallel attention and MLP, partial rotary
    "gpt_neox": ("GPTNeoXConfig", {}),
}
SWITCH = 150  # tokens; longer texts are read by other positions
ROPE = {"rope_theta": 10000.0, "original_max_position_embeddings": SWITCH}
LONGROPE = {
    "rope_type": "longrope",
    "short_factor": [1.0] * 8,
    "long_factor": [2.0 + i for i in range(8)],
    **ROPE,
}
BY_LENGTH: dict[str, tuple[str, dict[str, Any]]] = {
    # other frequencies from some length on
    "longrope": (
        "Phi3Config",
        {
            "num_key_value_heads": 2,
            "original_max_position_embeddings": SWITCH,
            "rope_parameters": LONGROPE,
        },
    ),
    # frequencies of its own for every length from some on
    "dynamic": (
        "LlamaConfig",
        {
            "num_key_value_heads": 2,
            "max_position_embeddings": SWITCH,
            "rope_parameters": {"rope_type": "dynamic", "rope_theta": 1e4, "factor": 4.0},
        },
    ),
}
NAMES = {"GPT2Config": {"hidden_size": "n_embd", "num_hidden_layers": "n_layer"}}


def save(
    kind: str,
    folder: Path,
    context: int = 2048,
    layers: int = 3,
    merges: Sequence[tuple[str, str]] = (),
) -> Path:
    """A random checkpoint with its tokenizer in ``folder``.

    Args:
        merges: of the tokenizer; they may reach over spaces.
    """
    import torch
    import transformers
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    merged = ["".join(pair) for pair in merges]
    vocabulary = {token: i for i, token in enumerate([*alphabet, "<eos>", *merged])}
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=list(merges)))
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=not merges)
    tokenizer.decoder = decoders.ByteLevel()
    transformers.PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, eos_token="<eos>", bos_token="<eos>", pad_token="<eos>"
    ).save_pretrained(folder)
    name, extra = {**CONFIGS, **BY_LENGTH}[kind]
    sizes: dict[str, Any] = {
        "vocab_size": len(vocabulary),
        "hidden_size": 64,
        "num_hidden_layers": layers,
        "num_attention_heads": 4,
        "intermediate_size": 96,
        "max_position_embeddings": context,
        "bos_token_id": 256,
        "eos_token_id": 256,
        "pad_token_id": 256,
    }
    torch.manual_seed(0)
    config = getattr(transformers, name)(**{**sizes, **extra})
    config.initializer_range = 0.2  # else all options score alike
    model = transformers.AutoModelForCausalLM.from_config(config)
    model.save_pretrained(folder)
    return folder


def saving(folder: Callable[[str], Path]) -> Callable[[str], Path]:
    """``saving(folder)("llama")``: a checkpoint of that kind, made once, in ``folder("llama")``."""
    return functools.cache(lambda kind: save(kind, folder(kind)))
